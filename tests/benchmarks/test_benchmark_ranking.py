"""The training loop learns what a plain torch loop learns, bit for bit; the benchmark runs."""

from benchmarks import ranking


def test_our_loop_and_the_plain_one_end_in_the_same_weights(monkeypatch):
    monkeypatch.setattr(ranking, "ROUNDS", 1)
    figures = ranking.run(rows=600)  # compares the weights of both sides, or raises
    assert [f.name.split(",")[1].strip() for f in figures] == ["none", "topics"]
    assert all(f.peer_name == "plain torch loop" and f.ratio for f in figures)


def test_weights_that_differ_are_told(monkeypatch):
    import pytest

    from vidtopics.errors import StoreError

    monkeypatch.setattr(ranking, "ROUNDS", 1)
    plain = ranking.plain_epoch

    def other_seed(*arguments):
        monkeypatch.setattr(ranking, "SEED", 8)
        try:
            return plain(*arguments)
        finally:
            monkeypatch.setattr(ranking, "SEED", 7)

    monkeypatch.setattr(ranking, "plain_epoch", other_seed)
    with pytest.raises(StoreError, match="weights of wide_and_deep, none"):
        ranking.run(rows=300)
