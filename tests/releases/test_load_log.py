"""The load log: when each release went live where."""

from pathlib import Path

from vidtopics.releases.loads import Load, live_now, read_loads, record
from vidtopics.tables import Tables


def test_loads_are_entered_once_and_the_latest_of_each_store_is_live(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    assert read_loads(tables) == []
    for _ in range(2):  # a run that died after it had entered the first enters it again
        record(tables, 1, "a/vt", 7, 100)
    record(tables, 2, "a/vt", 8, 200)
    record(tables, 1, "b/vt", 1, 150)
    record(tables, 1, "a/vt", 7, 300)  # a rollback's switch: an older load is live again
    loads = [Load(100, "a/vt", 7, 1), Load(150, "b/vt", 1, 1), Load(200, "a/vt", 8, 2)]
    assert read_loads(tables) == [*loads, Load(300, "a/vt", 7, 1)]
    assert {store: load.release_id for store, load in live_now(read_loads(tables)).items()} == {
        "a/vt": 1,
        "b/vt": 1,
    }


def test_a_load_by_a_clock_that_is_ahead_is_entered_with_its_time(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    record(tables, 1, "a/vt", 7, 2**52)
    assert read_loads(tables) == [Load(2**52, "a/vt", 7, 1)]
