"""`vidtopics join` and its files: each kind of spine, each kind of output, whole or not there at all."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from released_home import DAY_US, START_US, fill, publish

from consumers.training import join_stream
from consumers.training.files import open_spine, write
from vidtopics.cli import common
from vidtopics.contracts import EVENT_TIME, SERVICES, VIDEO_STATISTICS, VIDEO_TOPICS
from vidtopics.errors import InputError, TableError
from vidtopics.tables import Tables
from vidtopics.tables.schemas import TIMESTAMP

VIEWS = SERVICES["training_v1"]
FEATURES = [c.name for view in VIEWS for c in view.values]
AT = START_US + DAY_US + DAY_US // 2  # half of the second day's rows are known


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Forty videos with three versions in both views; released."""
    found = Tables(tmp_path_factory.mktemp("join"))
    fill(found, 40, versions=3)
    return found


def spine(n=500):
    """Rows in random order, of videos that there are and aren't, all at one time."""
    ids = np.random.default_rng(2).integers(0, 45, n)
    at = pa.array(np.full(n, AT)).cast(TIMESTAMP)
    return pa.table({"event_id": np.arange(n), "video_id": [f"v{i}" for i in ids], EVENT_TIME: at})


def expected(tables):
    """What the reader of tables says, which another code answers: the rows as of AT, known by then."""
    held = {view.name: {row["video_id"]: row for row in tables.as_of(view, AT, AT).to_pylist()} for view in VIEWS}
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
            pq.write_table(spine().slice(part * 100, 100), path / f"part-{part}.parquet", row_group_size=30)
    else:
        write_deltalake(path, spine())
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet", "folder", "delta"])
@pytest.mark.parametrize("out", ["joined.parquet", "joined"])
def test_each_kind_of_file_comes_back_joined(tables, tmp_path, capsys, kind, out):
    path = saved(kind, tmp_path)
    assert common.run(["join", str(path), str(tmp_path / out), "--home", str(tables.home), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["rows"], said["versions"]) == (500, {"video_topics": 3, "video_statistics": 3})
    found = pq.read_table(tmp_path / out) if out.endswith("parquet") else DeltaTable(tmp_path / out).to_pyarrow_table()
    if not out.endswith("parquet"):
        found = found.sort_by("event_id")  # a Delta table has no order
    assert found["event_id"].to_pylist() == list(range(500))
    assert [list(row.values()) for row in found.select(FEATURES).to_pylist()] == expected(tables)
    assert any(row[0] for row in expected(tables))
    assert not all(row[0] for row in expected(tables))


def test_rows_after_the_release_are_not_read(tmp_path):
    copy = Tables(tmp_path / "home")
    fill(copy, 4, versions=1)
    versions = copy.latest_release()["versions"]
    at, gone = np.full(4, AT), np.ones(4, bool)
    publish(
        copy, VIDEO_STATISTICS, at, at, gone, dict.fromkeys(["video_exposures", "video_clicks", "video_ctr"], [0] * 4)
    )
    assert copy.delta(VIDEO_STATISTICS).version() == versions["video_statistics"] + 1
    pq.write_table(spine(), tmp_path / "spine.parquet")
    out = tmp_path / "new" / "joined.parquet"
    assert common.run(["join", str(tmp_path / "spine.parquet"), str(out), "--home", str(copy.home)]) == 0
    pins = json.loads(pq.read_schema(out).metadata[b"vidtopics.versions"])
    assert {name: pin["version"] for name, pin in pins.items()} == {n: versions[n] for n in pins}


def test_an_id_of_digits_stays_text_in_csv(tmp_path):
    (tmp_path / "spine.csv").write_text("video_id,event_timestamp,label\n007,2026-01-01T00:00:00.000001Z,1\n")
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
    with pytest.raises(TableError, match=r"^spine, event_timestamp, row 500: expected a time, found null"):
        write(rows, tmp_path / out)
    assert list(tmp_path.iterdir()) == []


def test_wrong_use_is_told(tables, tmp_path, capsys):
    with pytest.raises(InputError, match=r"expected Parquet, a \.csv file or a Delta table"):
        open_spine(tmp_path / "nowhere.parquet", VIEWS)
    (tmp_path / "text.parquet").write_text("no Parquet")
    with pytest.raises(InputError, match="expected Parquet"):
        open_spine(tmp_path / "text.parquet", VIEWS)
    arguments = ["join", "spine.parquet", str(tmp_path / "out"), "--home", str(tables.home), "--service", "ranking"]
    assert common.run(arguments) == 2
    assert "--service: expected one of recall_v1, ranking_v1, training_v1, found ranking" in capsys.readouterr().err


def test_the_example_of_the_page_runs(tables, tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    saved("folder", tmp_path).rename(tmp_path / "impressions")
    (tmp_path / ".vidtopics").symlink_to(tables.home)
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    found = DeltaTable(tmp_path / "joined").to_pyarrow_table().sort_by("event_id")
    assert [list(row.values()) for row in found.select(FEATURES).to_pylist()] == expected(tables)
