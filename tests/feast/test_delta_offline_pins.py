"""A result says what it was made of, and can be made again from that."""

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from delta_shop import KEPT, append, day, income_view, incomes, shop, spine, values
from deltalake import DeltaTable, write_deltalake
from feast.types import String

from vidtopics.errors import TableError
from vidtopics.stores.delta import pinned
from vidtopics.stores.delta import sources as delta_sources
from vidtopics.stores.delta import tables as delta_tables
from vidtopics.times import micros

DAY_US = 86_400_000_000
SPINE = spine(("a", 9), ("b", 3), ("a", 2), ("c", 9))
FIRST = incomes(("a", 1, 1, 1), ("a", 2, 5, 5), ("b", 3, 2, 4), ("b", 4, 8, 8), ("late", 5, 20, 20))
INCOMES = [2, 3, 1, None]


@pytest.fixture
def store(tmp_path):
    append(tmp_path, FIRST)
    return shop(tmp_path)


def job(store, frame=SPINE):
    return store.get_historical_features(frame, ["incomes:income"])


def table_bytes(table: pa.Table) -> bytes:
    """The whole result, its schema and metadata included."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return sink.getvalue().to_pybytes()


def move_on(folder: Path) -> None:
    """What a pinned join must not see: a late value that held at the spine's time, a new one."""
    append(folder, incomes(("a", 100, 6, 30)))
    append(folder, incomes(("c", 101, 8, 31)))


def vacuum(folder: Path) -> None:
    """Rewrites the table's files and removes the old ones, whatever the table promised."""
    delta = DeltaTable(folder / "incomes")
    delta.optimize.compact()
    delta.vacuum(0, dry_run=False, enforce_retention_duration=False)


def aged(pins: dict, days: float) -> dict:
    """The pins as if they had been made some days ago."""
    plain = json.loads(json.dumps(pins))
    plain["views"]["incomes"]["pinned_us"] -= int(days * DAY_US)
    return plain


def test_the_pins_name_table_version_cut_and_count(store, tmp_path):
    done = job(store)
    metadata = done.to_arrow().schema.metadata[b"vidtopics.pins"]
    assert json.loads(metadata) == done.pins
    pin = done.pins["views"]["incomes"]
    delta = DeltaTable(tmp_path / "incomes")
    assert (pin["table_id"], pin["version"]) == (str(delta.metadata().id), 0)
    # The spine's last time is day 9: four rows hold by then, the last of them known on day 8.
    assert (pin["until_us"], pin["known_by_us"], pin["rows"]) == (micros(day(9)), micros(day(8)), 4)


def test_pins_are_there_once_the_result_is(store):
    with pytest.raises(TableError, match="expected a finished join"):
        _ = job(store).pins


def test_one_snapshot_for_the_whole_job(store, tmp_path):
    waiting = job(store)
    move_on(tmp_path)
    assert values(waiting) == INCOMES
    assert values(job(store)) == [100, 3, 1, 101]


def test_two_views_of_one_table_see_one_version(tmp_path, monkeypatch):
    """Between the opening of the first view's table and the second's, the table moves on."""
    append(tmp_path, FIRST)
    store = shop(tmp_path, income_view(), income_view("again", path="incomes", feature="income"))
    opened = delta_sources.open_table

    def open_and_move_on(*args):
        delta = opened(*args)
        append(tmp_path, incomes(("a", 100, 6, 6)))
        return delta

    monkeypatch.setattr(delta_sources, "open_table", open_and_move_on)
    joined = store.get_historical_features(
        SPINE, ["incomes:income", "again:income"], full_feature_names=True
    ).to_arrow()
    assert joined["incomes__income"].to_pylist() == joined["again__income"].to_pylist() == INCOMES


@pytest.mark.parametrize("kept_as", ["table", "parquet", "json", "mapping", "yaml"])
def test_the_pinned_version_gives_the_same_bytes(store, tmp_path, kept_as):
    done = job(store)
    first = done.to_arrow()
    saved = {
        "table": first,
        "mapping": done.pins,
        "parquet": tmp_path / "train.parquet",
        "json": str(tmp_path / "pins.json"),
    }
    pq.write_table(first, tmp_path / "train.parquet")
    (tmp_path / "pins.json").write_text(json.dumps(done.pins))
    move_on(tmp_path)
    if kept_as == "yaml":
        again = job(shop(tmp_path, pins=str(tmp_path / "pins.json"))).to_arrow()
    else:
        with pinned(saved[kept_as]):
            again = job(store).to_arrow()
    assert table_bytes(again) == table_bytes(first)
    assert values(job(store)) != INCOMES


def test_the_order_in_which_the_log_lists_files_changes_no_byte(tmp_path, monkeypatch):
    """Of equal keys and times the last row wins, however a checkpoint orders the files."""
    for n in range(6):
        append(tmp_path, incomes(("a", n, 1, 1)))
    store = shop(tmp_path)
    first = job(store).to_arrow()
    scan = delta_tables.scan

    def reversed_scan(delta):
        dataset = scan(delta)
        fragments = list(dataset.get_fragments())[::-1]
        return ds.FileSystemDataset(fragments, dataset.schema, dataset.format, dataset.filesystem)

    monkeypatch.setattr(delta_tables, "scan", reversed_scan)
    with pinned(first):
        assert table_bytes(job(store).to_arrow()) == table_bytes(first)


@pytest.mark.parametrize("gone", ["files", "log"])
def test_where_the_version_is_gone_the_cut_gives_the_same_bytes(store, tmp_path, gone):
    first = job(store).to_arrow()
    move_on(tmp_path)
    if gone == "files":
        vacuum(tmp_path)
    else:
        DeltaTable(tmp_path / "incomes").create_checkpoint()
        for n in range(2):
            (tmp_path / "incomes" / "_delta_log" / f"{n:020d}.json").unlink()
    with pinned(first):
        assert table_bytes(job(store).to_arrow()) == table_bytes(first)


def test_the_cut_holds_for_known_by_and_ttl_too(tmp_path):
    append(tmp_path, FIRST)
    store = shop(tmp_path, known_by=True)
    first = job(store).to_arrow()
    assert first["income"].to_pylist() == [
        2,
        None,
        1,
        None,
    ]  # b's row of day 2 became known on day 4
    move_on(tmp_path)
    vacuum(tmp_path)
    with pinned(first):
        assert table_bytes(job(store).to_arrow()) == table_bytes(first)


@pytest.mark.parametrize("gone", [False, True], ids=["the version opens", "by the cut"])
@pytest.mark.parametrize(
    ("known_by", "ttl", "expected", "found"),
    [(True, 0, "known_by False", "known_by True"), (False, 2, "ttl_us 0", f"ttl_us {2 * DAY_US}")],
    ids=["known_by", "TTL"],
)
def test_other_rules_than_the_result_was_made_by_are_refused_by_name(
    store, tmp_path, known_by, ttl, expected, found, gone
):
    first = job(store).to_arrow()
    if gone:
        move_on(tmp_path)
        vacuum(tmp_path)
    other = shop(tmp_path, income_view(ttl=timedelta(days=ttl)), known_by=known_by)
    with (
        pinned(first),
        pytest.raises(
            TableError,
            match=f"pin of view incomes: expected {expected}, .* found {found}. Mend: ask as then",
        ),
    ):
        job(other).to_arrow()


def test_a_column_that_was_widened_since_is_refused_where_the_version_is_gone(tmp_path):
    """int32 to int64, in the log alone: delta-rs can't widen."""
    append(tmp_path, FIRST.set_column(1, "income", FIRST["income"].cast(pa.int32())))
    store = shop(tmp_path)
    first = job(store).to_arrow()
    assert first["income"].type == pa.int32()
    log = tmp_path / "incomes" / "_delta_log"
    (meta,) = (
        line for line in (log / f"{0:020d}.json").read_text().splitlines() if "metaData" in line
    )
    (log / f"{1:020d}.json").write_text(meta.replace('\\"integer\\"', '\\"long\\"'))
    with pinned(first):
        assert table_bytes(job(store).to_arrow()) == table_bytes(first)  # the version still opens
        move_on(tmp_path)
        vacuum(tmp_path)
        with pytest.raises(
            TableError,
            match=r"pin of view incomes: expected type of income int32, .* "
            r"found type of income int64",
        ):
            job(store).to_arrow()


def test_other_features_of_a_pinned_view_may_be_asked_for(tmp_path):
    append(tmp_path, FIRST.append_column("tax", FIRST["user_id"]))
    done = shop(tmp_path, income_view(feature="tax", dtype=String)).get_historical_features(
        SPINE, ["incomes:tax"]
    )
    done.to_arrow()
    with pinned(done.pins):
        assert values(job(shop(tmp_path))) == INCOMES


@pytest.mark.parametrize("lacking", ["files_digest", "rules"])
def test_pins_of_an_earlier_version_are_refused(store, lacking):
    done = job(store)
    done.to_df()
    pins = json.loads(json.dumps(done.pins))
    del pins["views"]["incomes"][lacking]
    with pytest.raises(TableError, match=f"{lacking}.*make the result anew"), pinned(pins):
        pass


@pytest.mark.parametrize(
    ("late", "deleted", "found"),
    [
        (("c", 9, 1, 2), None, "5 rows"),
        (None, "user_id = 'b' AND income = 3", "3 rows"),
        (("c", 9, 2, 5), "user_id = 'b' AND income = 3", "4 rows"),
    ],
    ids=["a late row with an early created time", "a deleted row", "one for another"],
)
def test_a_cut_that_no_longer_holds_is_refused_by_name(store, tmp_path, late, deleted, found):
    first = job(store).to_arrow()
    if late:
        append(tmp_path, incomes(late))
    if deleted:
        DeltaTable(tmp_path / "incomes").delete(deleted)
    with pinned(first):
        assert table_bytes(job(store).to_arrow()) == table_bytes(first)  # the version still opens
        vacuum(tmp_path)
        with pytest.raises(
            TableError,
            match=rf"pin of view incomes, version 0 is gone: expected the 4 rows .* found {found}",
        ):
            job(store).to_arrow()


def test_a_later_spine_wants_the_version_itself(store, tmp_path):
    first = job(store).to_arrow()
    move_on(tmp_path)
    later = spine(("late", 25), ("a", 9))
    with pinned(first):
        assert values(job(store, later)) == [5, 2]
        vacuum(tmp_path)
        with pytest.raises(
            TableError, match="expected no time of the spine after those that it was made for"
        ):
            job(store, later).to_arrow()
        assert values(job(store, spine(("b", 3)))) == [3]


def test_another_table_under_the_path_is_refused_by_name(store, tmp_path):
    first = job(store).to_arrow()
    shutil.rmtree(tmp_path / "incomes")
    append(tmp_path, FIRST)
    table_id = DeltaTable(tmp_path / "incomes").metadata().id
    with (
        pinned(first),
        pytest.raises(
            TableError,
            match=rf"pin of view incomes: expected the table .*, found the table {table_id}",
        ),
    ):
        job(store)


@pytest.mark.parametrize("gone", [False, True])
def test_a_pin_past_the_horizon_is_refused_by_name(store, tmp_path, gone):
    done = job(store)
    done.to_df()
    move_on(tmp_path)
    if gone:
        vacuum(tmp_path)
    with pinned(aged(done.pins, 399.9)):
        assert values(job(store)) == INCOMES
    with (
        pinned(aged(done.pins, 400.1)),
        pytest.raises(
            TableError, match="pin of view incomes: expected one not older than 400 days"
        ),
    ):
        job(store)


@pytest.mark.parametrize(
    ("configuration", "days", "name"),
    [
        ({}, 7, "deletedFileRetention"),
        ({**KEPT, "delta.logRetentionDuration": "interval 2 weeks"}, 14, "logRetention"),
        (
            {**KEPT, "delta.deletedFileRetentionDuration": "interval 36 hours"},
            1.5,
            "deletedFileRetention",
        ),
    ],
)
def test_the_horizon_is_the_shorter_retention(tmp_path, configuration, days, name):
    write_deltalake(tmp_path / "incomes", FIRST, configuration=configuration)
    store = shop(tmp_path)
    done = job(store)
    done.to_df()
    with pinned(aged(done.pins, days - 0.01)):
        assert values(job(store)) == INCOMES
    with pinned(aged(done.pins, days + 0.01)), pytest.raises(TableError, match=name):
        job(store)


def test_a_view_without_a_pin_is_refused_by_name(tmp_path):
    append(tmp_path, FIRST)
    append(tmp_path, incomes(("a", 1, 1, 1), name="spent"), "outgoings")
    store = shop(tmp_path, income_view(), income_view("outgoings", feature="spent"))
    with (
        pinned(job(store).to_arrow()),
        pytest.raises(TableError, match=r"view outgoings: expected a pin, .* pins of incomes"),
    ):
        store.get_historical_features(SPINE, ["incomes:income", "outgoings:spent"])


def test_what_holds_no_pins_is_refused(store, tmp_path):
    (tmp_path / "pins.json").write_text('{"incomes": {"version": 0}}')
    with (
        pytest.raises(TableError, match="expected pins in its metadata, found none"),
        pinned(FIRST),
    ):
        pass
    with pytest.raises(TableError, match=r"vidtopics.pins"), pinned(tmp_path / "pins.json"):
        pass


def test_pins_end_with_their_block(store, tmp_path):
    first = job(store).to_arrow()
    move_on(tmp_path)
    with pinned(first):
        pass
    assert values(job(store)) == [100, 3, 1, 101]


def test_a_restored_table_is_noticed(store, tmp_path):
    append(tmp_path, incomes(("c", 7, 7, 7)))
    first = job(store).to_arrow()
    assert first["income"].to_pylist() == [2, 3, 1, 7]
    DeltaTable(tmp_path / "incomes").restore(0)
    vacuum(tmp_path)
    with (
        pinned(first),
        pytest.raises(TableError, match=r"expected the 5 rows that it saw, .* found 4 rows"),
    ):
        job(store).to_arrow()


def another_way(folder: Path, name: str, lost: pa.Table, kept: pa.Table) -> Iterator[None]:
    """A backup is put back, and the table's next version is another one under the same number."""
    shutil.copytree(folder / name, folder / "backup")
    write_deltalake(folder / name, lost, mode="append")
    yield
    shutil.rmtree(folder / name)
    shutil.copytree(folder / "backup", folder / name)
    write_deltalake(folder / name, kept, mode="append")
    yield


@pytest.mark.parametrize("days", [6, 7], ids=["same times", "other times"])
def test_a_version_that_is_another_one_since_a_backup_was_put_back_is_refused(
    store, tmp_path, days
):
    steps = another_way(
        tmp_path, "incomes", incomes(("c", 8, 6, 6)), incomes(("c", 99, days, days))
    )
    next(steps)
    first = job(store).to_arrow()
    assert first["income"].to_pylist() == [2, 3, 1, 8]
    next(steps)
    assert values(job(store)) == [2, 3, 1, 99]
    with (
        pinned(first),
        pytest.raises(
            TableError, match=r"pin of view incomes: .* found another version of this number"
        ),
    ):
        job(store)


def test_the_tables_of_a_select_are_told_apart_too(store, tmp_path):
    visits = pa.table(
        {"user_id": ["a"], "event_timestamp": pa.array([day(9)], pa.timestamp("us", "UTC"))}
    )
    append(tmp_path, visits, "visits")
    steps = another_way(
        tmp_path, "visits", visits, visits.set_column(0, "user_id", pa.array(["b"]))
    )
    next(steps)
    sql = "SELECT user_id, event_timestamp FROM visits"
    first = job(store, sql).to_arrow()
    assert first["income"].to_pylist() == [2, 2]
    next(steps)
    with (
        pinned(first),
        pytest.raises(
            TableError,
            match=r"pin of entity_df, table visits: .* found another version of this number",
        ),
    ):
        job(store, sql)


@pytest.mark.parametrize("name", ["train.parquet", "pins.json"])
def test_a_file_of_pins_that_is_missing_or_broken_is_named(store, tmp_path, name):
    for content in (None, b"no such", b"\xff{"):
        if content:
            (tmp_path / name).write_bytes(content)
        with (
            pytest.raises(TableError, match=rf"pins .*{name}: expected a Parquet file"),
            pinned(tmp_path / name),
        ):
            pass
    with pytest.raises(TableError, match=rf"pins .*{name}"):
        job(shop(tmp_path, pins=str(tmp_path / name)))


@pytest.mark.parametrize(
    ("text", "days"), [("INTERVAL 2 Weeks", 14), ("interval 1 day 12 hours", 1.5), ("2 days", 2)]
)
def test_a_retention_in_any_spelling(tmp_path, text, days):
    append(tmp_path, FIRST)
    set_retention(tmp_path, text)
    store = shop(tmp_path)
    done = job(store)
    done.to_df()
    with pinned(aged(done.pins, days - 0.01)):
        assert values(job(store)) == INCOMES
    with pinned(aged(done.pins, days + 0.01)), pytest.raises(TableError, match="logRetention"):
        job(store)


@pytest.mark.parametrize(
    "text", ["interval 2 months", "interval 3 fortnights 1 day", "for ever", "interval"]
)
def test_a_retention_of_unknown_units_is_refused_by_name(store, tmp_path, text):
    first = job(store).to_arrow()
    set_retention(tmp_path, text)
    with (
        pinned(first),
        pytest.raises(TableError, match=rf"delta.logRetentionDuration: expected .* found '{text}'"),
    ):
        job(store)


def set_retention(folder: Path, text: str) -> None:
    """Sets the log's retention as another engine may write it: delta-rs takes few spellings."""
    log = folder / "incomes" / "_delta_log" / f"{0:020d}.json"
    whole = log.read_text()
    old = '"delta.logRetentionDuration":"interval 400 days"'
    assert old in whole
    log.write_text(whole.replace(old, f'"delta.logRetentionDuration":"{text}"'))
