"""Every version of a table reads whole, without the people, and is the version that it was."""

from __future__ import annotations

import json
import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import erasure_world as world
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from erasure_world import HER

from vidtopics.contracts import CLICKS, IMPRESSIONS, TABLES, USER_STATISTICS, VIDEO_STATISTICS
from vidtopics.erasure import history
from vidtopics.erasure.ids import Ids
from vidtopics.errors import BusyError, TableError
from vidtopics.failpoints import POINTS, Crash, armed
from vidtopics.tables.pins import Snapshot, reopen
from vidtopics.tables.schemas import STATS_COLUMNS, configuration
from vidtopics.tables.tail import LOG

SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string()),
        pa.field("day", pa.string()),
        pa.field("n", pa.int64()),
        pa.field("at", pa.timestamp("us", "UTC")),
        pa.field("list", pa.list_(pa.float32())),
    ]
)
IDS = Ids.of([HER])
FRIEND = "friend-nr-2"
Rows = list[dict[str, Any]]


def part(number: int, *users: str) -> pa.Table:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)
    rows = [
        {"user_id": u, "day": f"d{number % 2} ä", "n": None if i else number, "at": at, "list": [i]}
        for i, u in enumerate(users)
    ]
    return pa.Table.from_pylist(rows, SCHEMA)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten versions with ids in their statistics: appends, a compaction, a delete, a checkpoint."""
    folder = tmp_path_factory.mktemp("table") / "t"
    users = [(HER, "a"), (FRIEND, HER), ("a", FRIEND), (HER,), ("c", "d")]
    for number, names in enumerate(users):
        write_deltalake(folder, part(number, *names), mode="append", partition_by=["day"])
    DeltaTable(folder).optimize.compact()
    DeltaTable(folder).create_checkpoint()
    write_deltalake(folder, part(6, HER, "e"), mode="append")
    DeltaTable(folder).delete(f"user_id = '{HER}' AND n = 6")
    write_deltalake(folder, part(7, "f", HER), mode="append")
    DeltaTable(folder).create_checkpoint()
    write_deltalake(folder, part(8, HER), mode="append")
    return folder


@pytest.fixture
def table(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "t"))


def versions(folder: Path) -> list[Rows]:
    last = DeltaTable(folder).version()
    return [
        sorted(DeltaTable(folder, version=v).to_pyarrow_table().to_pylist(), key=repr)
        for v in range(last + 1)
    ]


def without(rows: Rows) -> Rows:
    return [row for row in rows if row["user_id"] != HER]


def test_versions_stay_without_her(table):
    before = versions(table)
    commits = [c | {"operationParameters": 0} for c in DeltaTable(table).history()]
    times = [path.stat().st_mtime_ns for path in sorted((table / LOG).glob("*.json"))]
    found = history.find(table, IDS)
    assert sum(found.rows.values()) > 6
    assert history.erase(table, IDS, found) == len(found.rows)
    assert versions(table) == [without(rows) for rows in before]
    assert [c | {"operationParameters": 0} for c in DeltaTable(table).history()] == commits
    assert [p.stat().st_mtime_ns for p in sorted((table / LOG).glob("*.json"))] == times
    assert world.traces(table, HER) == []
    for version in range(len(before)):
        delta = DeltaTable(table, version=version)
        counts = pa.table(delta.get_add_actions(flatten=True))["num_records"].to_pylist()
        assert sum(counts) == len(without(before[version]))
        later = [r for r in without(before[version]) if r["n"] is not None and r["n"] >= 2]
        read = delta.to_pyarrow_table(filters=[("n", ">=", 2)]).to_pylist()
        assert sorted(read, key=repr) == sorted(later, key=repr)
    assert history.find(table, IDS).rows == {}


def test_a_second_person_is_erased_too_and_the_table_goes_on(table):
    for user in (HER, FRIEND, "a"):
        ids = Ids.of([user])
        history.erase(table, ids, history.find(table, ids))
    write_deltalake(table, part(9, "z"), mode="append")
    DeltaTable(table).optimize.compact()
    DeltaTable(table).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    DeltaTable(table).create_checkpoint()
    users = sorted(DeltaTable(table).to_pyarrow_table()["user_id"].to_pylist())
    assert users == ["c", "d", "e", "f", "z"]
    assert world.traces(table, FRIEND) == world.traces(table, HER) == []


ERASE = [point for point in POINTS if point in ("erase.file", "erase.removes", "erase.log")]


@pytest.mark.parametrize("point", ERASE)
def test_dead_at_any_point_every_version_reads_whole(table, point):
    before = versions(table)
    with armed(point), pytest.raises(Crash):
        history.erase(table, IDS, history.find(table, IDS))
    for now, then in zip(versions(table), before, strict=True):
        assert without(now) == without(then)
        assert len(now) in (len(then), len(without(then)))
    history.erase(table, IDS, history.find(table, IDS))
    assert versions(table) == [without(rows) for rows in before]
    assert world.traces(table, HER) == []
    assert not [*table.rglob("*.part")]


@pytest.mark.slow
def test_each_step_alone_leaves_versions_whole(table, monkeypatch):
    """Dead after each single change of a file."""
    before = versions(table)
    changes = 0
    for limit in range(60):
        folder = table.with_name(f"copy{limit}")
        shutil.copytree(table, folder)
        left = [limit]
        original = history.place, history._unlink

        def place(*arguments: Any, original=original, left=left, **options: Any) -> None:
            if not left[0]:
                raise Crash("place")
            left[0] -= 1
            original[0](*arguments, **options)

        def unlink(path: Path, original=original, left=left) -> None:
            if not left[0]:
                raise Crash("unlink")
            left[0] -= 1
            original[1](path)

        with monkeypatch.context() as patch:
            patch.setattr(history, "place", place)
            patch.setattr("vidtopics.erasure.rows.place", place)
            patch.setattr(history, "_unlink", unlink)
            try:
                history.erase(folder, IDS, history.find(folder, IDS))
            except Crash:
                changes += 1
            else:
                break
        for now, then in zip(versions(folder), before, strict=True):
            assert without(now) == without(then)
        history.erase(folder, IDS, history.find(folder, IDS))
        assert world.traces(folder, HER) == []
        assert versions(folder) == [without(rows) for rows in before]
    assert changes > 20


def test_a_pin_of_before_opens_and_sees_the_others(table):
    delta = DeltaTable(table, version=3)
    pin = Snapshot.of_delta(delta)
    history.erase(table, IDS, history.find(table, IDS))
    opened, gone = reopen(DeltaTable(table), pin, "t")
    assert (opened.version(), gone) == (3, False)
    assert set(opened.to_pyarrow_table()["user_id"].to_pylist()) == {"a", FRIEND}


def test_a_writer_s_file_that_no_version_names_yet_is_waited_for(table):
    pq.write_table(part(1, HER), table / "part-of-a-writer.parquet")
    with pytest.raises(BusyError, match="expected no commit under way"):
        history.erase(table, IDS, history.find(table, IDS))
    old = time.time() - 2 * history.YOUNG_S
    os.utime(table / "part-of-a-writer.parquet", (old, old))
    history.erase(table, IDS, history.find(table, IDS))
    assert world.traces(table, HER) == []


def test_a_log_that_is_not_known_is_refused(table):
    (table / LOG / "_sidecars").mkdir()
    with pytest.raises(TableError, match="classic checkpoints, found _sidecars"):
        history.erase(table, IDS, history.find(table, IDS))


def test_new_tables_have_no_ids_in_their_log(tmp_path):
    personal = {"user_id", "event_id", "request_id", "entry", "event", "detail"}
    for contract in TABLES.values():
        columns = configuration(contract).get(STATS_COLUMNS)
        names = {c.name for c in contract.columns}
        assert (columns is not None) == bool(names & personal), contract.name
        assert not set((columns or "").split(",")) & personal
    assert configuration(USER_STATISTICS)[STATS_COLUMNS].split(",")[:2] == [
        "user_exposures",
        "user_clicks",
    ]
    assert configuration(VIDEO_STATISTICS).get(STATS_COLUMNS) is None
    home = world.SmallHome(tmp_path)
    home.deliver(world.log(world.now_us() - 60_000_000, "a-"))
    for log in (IMPRESSIONS, CLICKS):
        text = "".join(p.read_text() for p in (home.tables.path(log) / LOG).glob("*.json"))
        assert HER not in text
        assert json.dumps(HER)[1:-1] not in text
        assert "minValues" in text
