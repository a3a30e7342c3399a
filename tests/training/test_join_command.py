"""`vidtopics join` and its files: each kind of spine and of output, whole or absent."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from released_home import DAY_US, START_US, fill, publish

from consumers.training import join_stream
from consumers.training.files import write
from consumers.training.spines import open_spine
from vidtopics.cli import common
from vidtopics.contracts import EVENT_TIME, SERVICES, VIDEO_STATISTICS, VIDEO_TOPICS
from vidtopics.errors import InputError, TableError
from vidtopics.tables import Tables
from vidtopics.tables.pins import read_pins
from vidtopics.tables.schemas import TIMESTAMP

VIEWS = SERVICES["training_v1"]
FEATURES = [c.name for view in VIEWS for c in view.values]
AT = START_US + DAY_US + DAY_US // 2  # half of the second day's rows are known


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Forty videos with three versions in both views; released."""
    feature_tables = Tables(tmp_path_factory.mktemp("join"))
    fill(feature_tables, 40, versions=3)
    return feature_tables


def spine(n=500):
    """Rows in random order, of videos that there are and aren't, all at one time."""
    ids = np.random.default_rng(2).integers(0, 45, n)
    at = pa.array(np.full(n, AT)).cast(TIMESTAMP)
    return pa.table({"event_id": np.arange(n), "video_id": [f"v{i}" for i in ids], EVENT_TIME: at})


def expected(tables):
    """What the reader of tables, which is other code, gives: the rows as of AT, known by then."""
    held = {
        view.name: {row["video_id"]: row for row in tables.as_of(view, AT, AT).to_pylist()}
        for view in VIEWS
    }
    return [
        [(held[view.name].get(video) or {}).get(c.name) for view in VIEWS for c in view.values]
        for video in spine()["video_id"].to_pylist()
    ]


def saved(kind, folder):
    path = folder / f"spine.{kind}"
    if kind == "csv":
        pyarrow.csv.write_csv(spine(), path)
    elif kind == "parquet":
        pq.write_table(spine(), path, row_group_size=64)
    elif kind == "folder":
        path.mkdir()
        for part in range(5):
            pq.write_table(
                spine().slice(part * 100, 100), path / f"part-{part}.parquet", row_group_size=30
            )
    else:
        write_deltalake(path, spine())
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet", "folder", "delta"])
@pytest.mark.parametrize("out", ["joined.parquet", "joined"])
def test_each_kind_of_file_comes_back_joined(tables, tmp_path, capsys, kind, out):
    path = saved(kind, tmp_path)
    assert (
        common.run(["join", str(path), str(tmp_path / out), "--home", str(tables.home), "--json"])
        == 0
    )
    report = json.loads(capsys.readouterr().out)
    assert (report["rows"], report["versions"]) == (500, {"video_topics": 3, "video_statistics": 3})
    topics, statistics = (sum(row[n] is not None for row in expected(tables)) for n in (0, -1))
    assert report["present"] == {"video_topics": topics, "video_statistics": statistics}
    assert 0 < topics < 500
    joined = (
        pq.read_table(tmp_path / out)
        if out.endswith("parquet")
        else DeltaTable(tmp_path / out).to_pyarrow_table()
    )
    assert joined.schema.field("event_id").type == (pa.string() if kind == "csv" else pa.int64())
    joined = joined.set_column(0, "event_id", joined["event_id"].cast(pa.int64()))
    if not out.endswith("parquet"):
        joined = joined.sort_by("event_id")  # a Delta table has no order
    assert joined["event_id"].to_pylist() == list(range(500))
    assert [list(row.values()) for row in joined.select(FEATURES).to_pylist()] == expected(tables)
    assert any(row[0] for row in expected(tables))
    assert not all(row[0] for row in expected(tables))


def test_rows_after_the_release_are_not_read(tmp_path):
    copy = Tables(tmp_path / "home")
    fill(copy, 4, versions=1)
    versions = copy.latest_release()["versions"]
    at, gone = np.full(4, AT), np.ones(4, bool)
    publish(
        copy,
        VIDEO_STATISTICS,
        at,
        at,
        gone,
        dict.fromkeys([c.name for c in VIDEO_STATISTICS.values], [0] * 4),
    )
    assert copy.delta(VIDEO_STATISTICS).version() == versions["video_statistics"] + 1
    pq.write_table(spine(), tmp_path / "spine.parquet")
    out = tmp_path / "new" / "joined.parquet"
    assert (
        common.run(["join", str(tmp_path / "spine.parquet"), str(out), "--home", str(copy.home)])
        == 0
    )
    pins = read_pins(out).views
    assert {n: pin.version for n, pin in pins.items()} == {v.name: versions[v.name] for v in VIEWS}


def test_an_id_of_digits_stays_text_in_csv(tmp_path):
    (tmp_path / "spine.csv").write_text(
        "video_id,event_timestamp,label\n007,2026-01-01T00:00:00.000001Z,1\n"
    )
    rows = open_spine(tmp_path / "spine.csv", [VIDEO_TOPICS]).read_all()
    assert rows["video_id"].to_pylist() == ["007"]
    assert rows["label"].to_pylist() == [1]
    assert rows[EVENT_TIME].cast(TIMESTAMP).cast(pa.int64()).to_pylist() == [START_US + 1]


def test_what_is_there_is_not_written_over(tables, tmp_path, capsys):
    path = saved("parquet", tmp_path)
    for out in (path, tmp_path):
        assert common.run(["join", str(path), str(out), "--home", str(tables.home)]) == 2
        assert "expected a new place" in capsys.readouterr().err
    assert pq.read_table(path).equals(spine())


@pytest.mark.parametrize("out", ["joined.parquet", "joined"])
def test_a_spine_that_fails_half_way_leaves_nothing(tables, tmp_path, out):
    late = pa.concat_tables([spine(), spine(1).set_column(2, EVENT_TIME, pa.nulls(1, TIMESTAMP))])
    rows = join_stream(tables, late.to_reader(), VIEWS, folder=tmp_path, chunk_rows=100)
    with pytest.raises(
        TableError, match=r"^spine, event_timestamp, row 500: expected a time, found null"
    ):
        write(rows, tmp_path / out)
    assert list(tmp_path.iterdir()) == []


def test_wrong_use_is_told(tables, tmp_path, capsys):
    with pytest.raises(InputError, match=r"expected Parquet, a \.csv file or a Delta table"):
        open_spine(tmp_path / "nowhere.parquet", VIEWS)
    (tmp_path / "text.parquet").write_text("no Parquet")
    with pytest.raises(InputError, match="expected Parquet"):
        open_spine(tmp_path / "text.parquet", VIEWS)
    arguments = [
        "join",
        "spine.parquet",
        str(tmp_path / "out"),
        "--home",
        str(tables.home),
        "--service",
        "ranking",
    ]
    assert common.run(arguments) == 2
    assert (
        "--service: expected one of recall_v1, ranking_v1, training_v1, ranking_v2, training_v2,"
        " found ranking" in capsys.readouterr().err
    )


def test_the_example_of_the_page_runs(tables, tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    example, *_ = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    saved("folder", tmp_path).rename(tmp_path / "impressions")
    (tmp_path / ".vidtopics").symlink_to(tables.home)
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    joined = DeltaTable(tmp_path / "joined").to_pyarrow_table().sort_by("event_id")
    assert [list(row.values()) for row in joined.select(FEATURES).to_pylist()] == expected(tables)


def slowly(meanwhile):
    """The spine's rows in two batches, and what somebody else does between them."""
    first, last = spine(400).to_batches()[0], spine(500).slice(400).to_batches()[0]

    def batches():
        yield first
        with ThreadPoolExecutor(
            1
        ) as other:  # delta-rs can't be called by rows that it is writing itself
            other.submit(meanwhile).result()
        yield last

    return pa.RecordBatchReader.from_batches(first.schema, batches())


@pytest.mark.parametrize("out", ["joined.parquet", "joined"])
def test_of_two_joins_into_one_place_the_second_to_end_is_refused(tables, tmp_path, out):
    """Its rows neither replace nor join the other's; cleaning up leaves the other's alone."""
    place = tmp_path / out
    late = join_stream(
        tables, slowly(lambda: write(spine(7).to_reader(), place)), VIEWS, folder=tmp_path
    )
    with pytest.raises(InputError, match=rf"{out}: expected a new place, found a file or folder"):
        write(late, place)
    joined = (
        pq.read_table(place) if out.endswith("parquet") else DeltaTable(place).to_pyarrow_table()
    )
    assert joined.sort_by("event_id").equals(spine(7))
    assert [path.name for path in tmp_path.iterdir()] == [out]


def joined(tables, capsys, path, out):
    code = common.run(["join", str(path), str(out), "--home", str(tables.home)])
    message = " ".join(capsys.readouterr().err.split())
    return code, message


@pytest.mark.parametrize(
    ("column", "values", "out", "found"),
    [
        (
            "video_id",
            pa.array([1, 2]),
            "joined.parquet",
            "spine.parquet, column video_id: expected string, found int64",
        ),
        (
            EVENT_TIME,
            pa.array(["x", "y"]),
            "joined",
            "spine.parquet, column event_timestamp: expected timestamp",
        ),
        (
            EVENT_TIME,
            pa.array([828_124_615, 828_124_616]),
            "joined",
            "found int64. Mend: cast seconds since 1970 by pandas.to_datetime(column, unit='s'",
        ),
        (
            "count",
            pa.array([1, 200], pa.uint8()),
            "joined",
            "expected columns of types that Delta has, found count (uint8)",
        ),
        (
            "n",
            pa.array([[1], [2]], pa.list_(pa.uint16())),
            "joined",
            "found n (list<element: uint16>)",
        ),
        ("n", pa.array([1, 2], pa.duration("us")), "joined", "found n (duration[us])"),
    ],
)
def test_a_column_of_a_type_that_can_not_be_joined_or_written_is_named(
    tables, tmp_path, capsys, column, values, out, found
):
    rows = spine(2)
    at = rows.schema.get_field_index(column)
    rows = rows.append_column(column, values) if at < 0 else rows.set_column(at, column, values)
    pq.write_table(rows, tmp_path / "spine.parquet")
    code, message = joined(tables, capsys, tmp_path / "spine.parquet", tmp_path / out)
    assert (code, found in message) == (2, True), message
    assert [path.name for path in tmp_path.iterdir()] == ["spine.parquet"]


def test_how_many_rows_have_a_value_of_each_view_is_said(tables, tmp_path, capsys):
    early = spine(50).set_column(2, EVENT_TIME, pa.array([START_US - 1] * 50).cast(TIMESTAMP))
    for name, rows in (("early", early), ("late", spine(50).slice(0, 4))):
        pq.write_table(rows, tmp_path / f"{name}.parquet")
    place = ["--home", str(tables.home)]
    assert common.run(["join", f"{tmp_path}/early.parquet", f"{tmp_path}/a", *place]) == 0
    assert "with a value: video_topics 0%, video_statistics 0%" in capsys.readouterr().out
    known = sum(row[0] is not None for row in expected(tables)[:4]) / 4
    assert common.run(["join", f"{tmp_path}/late.parquet", f"{tmp_path}/b", *place]) == 0
    assert f"with a value: video_topics {known:.0%}, " in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_log_with_whole_numbers_for_ids_and_time_is_told_of_both_at_once(
    tables, tmp_path, capsys, kind
):
    path = tmp_path / f"spine.{kind}"
    rows = pa.table({"video_id": [1, 2], EVENT_TIME: [828_124_615, 828_124_616]})
    if kind == "csv":  # its ids are read as text
        pyarrow.csv.write_csv(rows, path)
        columns = ": expected timestamp[us, tz=UTC], found int64. Mend: cast seconds"
    else:
        pq.write_table(rows, path)
        columns = "s video_id, event_timestamp: expected string, timestamp[us, tz=UTC], found"
    code, message = joined(tables, capsys, path, tmp_path / "joined")
    assert (code, columns in message) == (2, True), message
    assert "cast seconds since 1970" in message
    assert not (tmp_path / "joined").exists()


def test_a_column_of_nulls_is_joined_and_written(tables, tmp_path, capsys):
    pq.write_table(spine(2).append_column("n", pa.nulls(2)), tmp_path / "spine.parquet")
    assert joined(tables, capsys, tmp_path / "spine.parquet", tmp_path / "joined")[0] == 0
    assert DeltaTable(tmp_path / "joined").to_pyarrow_table()["n"].to_pylist() == [None, None]


@pytest.mark.parametrize("out", ["joined.parquet", "joined"])
def test_csv_that_turns_bad_after_the_first_block_is_refused_by_column(
    tables, tmp_path, capsys, out
):
    path = tmp_path / "spine.csv"
    good = "v1,2026-01-02T00:00:00Z,007,1\n" * 60_000  # 1.8 MB; a block is 1 MiB
    path.write_text(f"video_id,{EVENT_TIME},user_id,x\n{good}v1,2026-01-02T00:00:00.5Z,u7,1.5\n")
    code, message = joined(tables, capsys, path, tmp_path / out)
    assert (code, "spine.csv, column x: expected" in message, "1.5" in message) == (
        2,
        True,
        True,
    ), message
    assert [p.name for p in tmp_path.iterdir()] == ["spine.csv"]


def test_csv_times_and_ids_may_change_their_looks_after_the_first_block(tmp_path):
    path = tmp_path / "spine.csv"
    path.write_text(
        f"video_id,{EVENT_TIME},user_id\n"
        + "1,2026-01-01T00:00:00Z,007\n" * 60_000
        + "v,2026-01-01T00:00:00.5Z,u\n"
    )
    rows = open_spine(path, VIEWS).read_all()
    assert rows["user_id"][0].as_py() == "007"
    assert rows.slice(60_000).to_pylist() == [
        {"video_id": "v", EVENT_TIME: rows[EVENT_TIME][60_000].as_py(), "user_id": "u"}
    ]
    assert rows[EVENT_TIME].cast(pa.int64())[60_000].as_py() == START_US + 500_000


def test_csv_times_without_a_zone_are_utc(tmp_path):
    (tmp_path / "spine.csv").write_text(f"video_id,{EVENT_TIME}\nv,2026-01-01 00:00:01\n")
    rows = open_spine(tmp_path / "spine.csv", VIEWS).read_all()
    assert rows[EVENT_TIME].cast(pa.int64()).to_pylist() == [START_US + 1_000_000]


def test_a_folder_s_path_is_columns_too(tmp_path):
    rows = (
        spine(4)
        .append_column("user_id", pa.array(["007", "007", "8", "8"]))
        .append_column("day", pa.array([1, 2, 1, 2]))
    )
    pq.write_to_dataset(rows, tmp_path / "spine", partition_cols=["day", "user_id"])
    spine_rows = open_spine(tmp_path / "spine", VIEWS).read_all().sort_by("event_id")
    assert spine_rows["day"].to_pylist() == [1, 2, 1, 2]
    assert spine_rows["user_id"].to_pylist() == ["007", "007", "8", "8"]


def test_files_of_a_folder_with_other_columns_are_refused_by_name(tmp_path):
    folder = tmp_path / "spine"
    folder.mkdir()
    pq.write_table(spine(2), folder / "a.parquet")
    pq.write_table(spine(2).append_column("label", pa.array([1, 0])), folder / "b.parquet")
    with pytest.raises(
        InputError, match=r"b\.parquet: expected the columns that the other files have, .* in label"
    ):
        open_spine(folder, VIEWS)
    pq.write_table(spine(2).set_column(0, "event_id", pa.array(["x", "y"])), folder / "b.parquet")
    with pytest.raises(InputError, match=r"spine: .*event_id.*string"):
        open_spine(folder, VIEWS)
    pq.write_table(spine(2).set_column(0, "event_id", pa.nulls(2)), folder / "b.parquet")
    assert open_spine(folder, VIEWS).read_all()["event_id"].to_pylist() == [0, 1, None, None]
