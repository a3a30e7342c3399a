"""Each benchmark once at its smallest, in one process.

A run checks itself that both sides answer alike; here its figures have to be possible.
"""

import pyarrow as pa
import pytest
import redis
from deltalake import write_deltalake


def smoke(name):
    from benchmarks import run

    return run([name], "smoke")


@pytest.mark.usefixtures("writers_here")
def test_online_client_beside_feast_and_a_bare_mget():
    *figures, rollback = smoke("online")
    reads = [f for f in figures if f.peer_name.startswith("Feast")]
    p99s = [f for f in figures if f.name.endswith("p99")]
    (bare,) = [f for f in figures if "MGET" in f.peer_name]
    assert len(figures) == 13  # alone, during --full and rollbacks; 1 and 8 threads; p50 and p99
    assert ["8 threads" in f.name for f in reads] == [False, True] * 3
    assert ["2 runs of --full" in f.note for f in reads] == [False, False, True, True, False, False]
    assert ["2 rollbacks" in f.note for f in reads] == [False] * 4 + [True] * 2
    assert all(0 < p50.ours <= p99.ours for p50, p99 in zip(reads, p99s, strict=True))
    assert all(len(f.ours_rounds) == len(f.peer_rounds) == 2 for f in reads)
    assert (reads[0].target, p99s[0].target) == ("≤ 1 ms, ≥ 20x as fast", "≤ 2 ms")
    assert (bare.target, bare.unit) == ("≤ 160%", "ms")
    assert (rollback.unit, rollback.target) == ("s", "≤ 1 s")
    assert rollback.ours > 0


def test_feast_reads_through_both_stores():
    (figure,) = smoke("feast-read")
    assert figure.ours > 0
    assert figure.peer > 0


@pytest.mark.usefixtures("one_process")
def test_materialize_counts_unique_keys():
    figures = smoke("materialize")
    assert [f.unit for f in figures] == ["keys/s", "MB"] * 2
    assert all(f.ours > 0 and f.peer > 0 for f in figures)
    assert figures[0].ours_rounds == figures[2].ours_rounds  # one measurement, two peers
    assert {f.peer_name.rpartition(", ")[2] for f in figures} == {
        "our Delta store",
        "DuckDB on Parquet",
    }


def test_memory_is_what_a_packed_value_can_take():
    full, mixed, two, four, users, expiring = smoke("memory")
    # 97 bytes of value and 20 of key, at least; 2,048 + 512 bytes of vectors
    assert 117 < full.ours < 500
    assert abs(full.ours - mixed.ours) < 30  # fixed width: unused slots cost the same
    assert mixed.peer > full.peer + 30  # Feast stores -1 in ten bytes
    assert two.ours > full.ours
    assert 2_560 < four.ours < 5_000
    assert 2_000 < users.ours < 5_000  # 64 ids and times, 24 topics of 16 bytes
    assert (
        expiring.peer + 8 < expiring.ours < expiring.peer + 100
    )  # a time of eight bytes, and its entry in a table


@pytest.mark.usefixtures("one_process")
def test_each_client_beside_the_plain_one():
    figures = smoke("clients")
    assert [f.unit for f in figures] == ["ms"] * 4
    assert {f.peer for f in figures} == {figures[0].peer}
    assert all(f.ours > 0 and f.target == "" for f in figures)


@pytest.mark.usefixtures("one_process")
def test_join_is_the_same_everywhere():
    figures = smoke("join")
    assert [f.unit for f in figures] == ["s", "s", "s", "s", "GB", "s", "GB", "s"]
    assert all(f.ours > 0 for f in figures)
    assert [f.compare for f in figures[:4]] == ["share", "share", "share", "faster"]


def test_rounds_beside_the_first_load():
    first, memory, *after, peak = smoke("rounds")
    assert [f.unit for f in after] == ["s"] * 6
    assert [f.target for f in after] == [""] * 5 + ["≤ 150%"]
    assert {f.peer for f in after} == {first.ours}
    # 97 bytes of value and 20 of key, at least, of 5,000 videos
    assert 0.5 < memory.ours < 2.5
    assert peak.peer == memory.ours < peak.ours < 4 * memory.ours


@pytest.mark.slow
def test_training_is_the_same_on_spark():
    warm, cold, memory = smoke("training")
    assert min(warm.ours, warm.peer, cold.ours, cold.peer) > 0
    assert 0.05 < memory.ours < 1


@pytest.mark.usefixtures("one_process")
def test_wide_gives_the_same_vectors_three_ways():
    figures = smoke("wide")
    assert [f.unit for f in figures] == ["s", "MB"] * 3
    assert [f.compare for f in figures] == ["faster", "share"] * 3
    assert all(f.ours > 0 and f.peer > 0 for f in figures[::2])
    small, large = (int(f.note.split()[0]) for f in figures[:4:2])
    assert 0 < small <= 10 < large < 300  # some rows of each spine have features
    assert figures[5].peer == figures[3].peer


def test_a_load_that_is_wrong_ends_the_run(monkeypatch):
    from benchmarks import rounds
    from vidtopics.errors import StoreError

    monkeypatch.setattr(
        rounds, "backfill", lambda *_: [rounds.Moved("video_topics", 2, read=25_050, written=50)]
    )
    with pytest.raises(
        StoreError, match="rounds: range, keys: expected the peer's 5000, found 4950"
    ):
        smoke("rounds")


@pytest.mark.usefixtures("one_process")
def test_vectors_in_another_order_end_the_run(monkeypatch):
    from benchmarks import wide
    from vidtopics.errors import StoreError

    def backwards(rows, path):
        made = rows.read_all()
        other = made.set_column(0, "event_id", made["event_id"][::-1])
        return written(other.to_reader(), path)

    written = wide.write
    monkeypatch.setattr(wide, "write", backwards)
    with pytest.raises(StoreError, match="wide: 300 rows, stream"):
        smoke("wide")


def test_a_training_set_with_one_wrong_row_is_told(tmp_path):
    from benchmarks.training import check_same
    from vidtopics.errors import StoreError

    made = pa.table({"event_id": [1, 2, 3], "topic_ids": [[5], None, [6]]})
    write_deltalake(tmp_path / "ours", made)
    write_deltalake(tmp_path / "same", made.take([2, 0, 1]))
    write_deltalake(tmp_path / "wrong", made.set_column(1, "topic_ids", pa.array([[5], None, [7]])))
    write_deltalake(tmp_path / "short", made.slice(1))
    check_same(tmp_path / "ours", tmp_path / "same")
    with pytest.raises(StoreError, match="topic_ids as Spark's"):
        check_same(tmp_path / "ours", tmp_path / "wrong")
    with pytest.raises(StoreError, match="training: rows"):
        check_same(tmp_path / "ours", tmp_path / "short")


def test_a_writer_beside_the_readers_that_fails_ends_the_run(tmp_path):
    from benchmarks.writers import FULL, beside
    from vidtopics.errors import MachineError

    wrong = "benchmark writer, --full: expected status 0"
    with (
        pytest.raises(MachineError, match=wrong),
        beside(FULL, tmp_path, "redis://127.0.0.1:1"),
    ):
        pass


def test_a_reader_that_is_wrong_ends_the_run(monkeypatch):
    from benchmarks import online
    from vidtopics.errors import StoreError

    monkeypatch.setattr(online, "as_lists", lambda response: [[], []])
    with pytest.raises(StoreError, match="online: values"):
        smoke("online")


def test_the_parts_of_a_read_are_the_read(monkeypatch):
    """By parts and by the client, the same bytes are sent."""
    from benchmarks.read_parts import measure

    sent, real = [], redis.Connection.send_packed_command

    def send(self, command, *arguments, **options):
        sent.append(b"".join(command))
        return real(self, command, *arguments, **options)

    monkeypatch.setattr(redis.Connection, "send_packed_command", send)
    parts, whole = measure(reads=200, videos=1_000)
    assert min(whole, *parts.values()) > 0
    reads = [command for command in sent if b"MGET" in command][-400:]
    assert set(reads[::2]) == set(reads[1::2])


@pytest.mark.usefixtures("one_process")
def test_an_aged_home_is_read_from_its_end():
    figures = smoke("age")
    assert [f.unit for f in figures] == ["ms"] * 6
    round_ = figures[1]
    assert round_.ours > 0
    assert int(round_.note.split()[0].replace(",", "")) < 500


def test_encoding_beside_the_bare_models():
    figures = smoke("encoding")
    assert [f.unit for f in figures] == ["covers/s", "covers/s", "titles/s", "titles/s"]
    assert [f.target for f in figures] == ["≥ 0.85x as fast"] * 3 + [""]
    assert "oneDNN" not in figures[3].peer_name
    assert all(f.ours > 0 and f.peer > 0 and len(f.ours_rounds) == 2 for f in figures)
