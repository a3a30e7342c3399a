"""Each benchmark once at its smallest, in one process: both sides answer alike (a run checks that itself), and the figures can be."""

import pytest


def smoke(name):
    from benchmarks import run

    return run([name], "smoke")


def test_online_client_is_faster_than_feast():
    p50, p99 = smoke("online")
    assert [p50.unit, p99.unit] == ["ms", "ms"]
    assert 0.05 < p50.ours <= p99.ours
    assert p50.ratio > 2
    assert [len(p50.ours_rounds), len(p50.peer_rounds)] == [2, 2]
    assert (p50.target, p99.target) == ("≤ 1 ms, ≥ 20x as fast", "≤ 2 ms")


def test_feast_reads_through_both_stores():
    (found,) = smoke("feast-read")
    assert 0.5 < found.ours < found.peer


@pytest.mark.usefixtures("one_process")
def test_materialize_counts_unique_keys():
    found = smoke("materialize")
    assert [f.unit for f in found] == ["keys/s", "MB"] * 2
    assert all(50 < f.ours < 1_000_000 and f.peer > 10 for f in found)
    assert found[0].ours_rounds == found[2].ours_rounds  # one measurement, two peers
    assert {f.peer_name.rpartition(", ")[2] for f in found} == {"our Delta store", "DuckDB on Parquet"}


def test_memory_is_what_a_packed_value_can_take():
    full, mixed, two, four = smoke("memory")
    # 97 bytes of value and 20 of key, at least; 2,048 + 512 bytes of vectors
    assert 117 < full.ours < 500
    assert abs(full.ours - mixed.ours) < 30  # fixed width: unused slots cost the same
    assert mixed.peer > full.peer + 30  # Feast stores -1 in ten bytes
    assert two.ours > full.ours
    assert 2_560 < four.ours < 5_000


@pytest.mark.usefixtures("one_process")
def test_each_client_beside_the_plain_one():
    found = smoke("clients")
    assert [f.unit for f in found] == ["ms"] * 4
    assert {f.peer for f in found} == {found[0].peer}
    assert all(f.ours > 0 and f.target == "" for f in found)


def test_join_is_the_same_everywhere():
    found = smoke("join")
    assert [f.unit for f in found] == ["s", "s", "s", "s", "GB", "s", "GB", "s"]
    assert all(f.ours > 0 for f in found)
    assert [f.compare for f in found[:4]] == ["share", "share", "share", "faster"]


def test_a_reader_that_is_wrong_ends_the_run(monkeypatch):
    from benchmarks import online
    from vidtopics.errors import StoreError

    monkeypatch.setattr(online, "as_lists", lambda response: [[], []])
    with pytest.raises(StoreError, match="online: values"):
        smoke("online")
