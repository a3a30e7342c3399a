"""`train` and `evaluate` on a home.

What is stored, when it is made again, and how the two verbs show it.
"""

import json

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from ranking_worlds import EPOCH, SETTINGS, inputs

from benchmarks.homes import release_tables
from consumers.ranking import comparison, evaluation, learning
from consumers.ranking.serving import Ranker
from consumers.training import frames, read
from vidtopics.cli import homes
from vidtopics.cli.common import run
from vidtopics.contracts import (
    CLICKS,
    CREATED_TIME,
    EVENT_TIME,
    IMPRESSIONS,
    VALUE_HASH,
    VIDEO_STATISTICS,
    VIDEO_TOPICS,
)
from vidtopics.errors import TableError
from vidtopics.tables import FOREVER, Commit, Tables
from vidtopics.tables.schemas import TIMESTAMP, arrow_schema, configuration

AS_OF = 100_000


def published(tables, table, plain, ordinal=1):
    """A log's rows, their times in microseconds."""
    times = {
        name: plain[us].cast(TIMESTAMP)
        for name, us in ((EVENT_TIME, "event_us"), (CREATED_TIME, "created_us"))
    }
    schema = arrow_schema(table, table.timed_columns)
    rows = {name: pa.nulls(len(plain), schema.field(name).type) for name in schema.names}
    rows |= {name: plain[name] for name in plain.column_names if name in rows} | times
    tables.publish(table, pa.table(rows, schema=schema), Commit(f"ingest {ordinal}", AS_OF, AS_OF))


def written(tables, table, rows):
    """A table that Spark owns, as it would write it."""
    schema = arrow_schema(table)
    n = len(rows.event_us)
    plain = {name: rows.values[name] for name in rows.values.column_names} | {
        "video_id": rows.keys["video_id"]
    }
    plain |= {
        "parent_topic_ids": pa.array([[1] + [-1] * 7] * n, pa.list_(pa.int64())),
        "topic_count": [1] * n,
        "below_threshold": [False] * n,
        VALUE_HASH: [1] * n,
    }
    plain |= {
        name: pa.array(np.zeros(n, np.int64)).cast(TIMESTAMP) for name in (EVENT_TIME, CREATED_TIME)
    }
    rows = pa.table(
        {
            f.name: pa.chunked_array(
                [
                    pa.array(plain[f.name])
                    if isinstance(plain[f.name], list)
                    else plain[f.name].combine_chunks()
                    if isinstance(plain[f.name], pa.ChunkedArray)
                    else plain[f.name]
                ]
            )
            for f in schema
        }
    )
    write_deltalake(
        tables.uri(table), rows.cast(schema), name=table.name, configuration=configuration(table)
    )


@pytest.fixture
def tables(tmp_path):
    tables, log = Tables(tmp_path / "home"), inputs()
    tables.home.mkdir()
    homes.keep(tables.home, SETTINGS)
    published(tables, IMPRESSIONS, log.impressions.slice(0, 1_200))
    clicks = log.clicks.join(log.impressions.drop(["event_us", "created_us"]), "event_id")
    published(tables, CLICKS, clicks)
    written(tables, VIDEO_TOPICS, log.views["video_topics"])
    written(tables, VIDEO_STATISTICS, log.views["video_statistics"])
    release_tables(
        tables, as_of_us=AS_OF, created_us=AS_OF, settings="", quality={"topic_epoch": EPOCH}
    )
    return tables


def test_a_release_is_read_in_the_order_of_time(tables):
    log = read(tables, tables.latest_release()["versions"])
    assert log.impressions.equals(inputs().impressions.slice(0, 1_200).cast(log.impressions.schema))
    (frame,) = frames(log, SETTINGS, as_of_us=FOREVER)
    (plain,) = frames(inputs(), SETTINGS, as_of_us=FOREVER)
    assert np.array_equal(frame.clicked, plain.clicked[:1_200])
    assert (
        frame.features["topic_ids"].to_pylist() == plain.features["topic_ids"].to_pylist()[:1_200]
    )


def test_a_model_is_trained_again_only_where_something_changed(tables):
    first = learning.train(tables, SETTINGS)
    assert (first["rows"], first["skipped"], first["topics"]) == (1_200, False, 2)
    assert first["auc"] > 0.7
    assert Ranker.load(tables.home / "models" / "ranking").known.topics.tolist() == [10, 20]
    assert learning.train(tables, SETTINGS) == {**first, "skipped": True}
    assert not learning.train(tables, SETTINGS.model_copy(update={"seed": 8}))["skipped"]

    published(tables, IMPRESSIONS, inputs().impressions.slice(1_200), ordinal=2)
    assert learning.train(tables, SETTINGS)["rows"] == 1_200  # not in a release yet
    release_tables(
        tables,
        as_of_us=AS_OF + 1,
        created_us=AS_OF + 1,
        settings="",
        quality={"topic_epoch": EPOCH},
    )
    assert learning.train(tables, SETTINGS)["rows"] == 1_500


def test_a_window_that_closes_makes_a_new_model(tables, monkeypatch):
    times = inputs().impressions["event_us"]
    monkeypatch.setattr(
        learning, "now_us", lambda: times[999].as_py() + 1
    )  # the window is 1 microsecond
    assert learning.train(tables, SETTINGS)["rows"] == 1_000
    monkeypatch.setattr(learning, "now_us", times[1_000].as_py)
    assert learning.train(tables, SETTINGS)["skipped"]
    monkeypatch.setattr(learning, "now_us", lambda: times[1_000].as_py() + 1)
    assert learning.train(tables, SETTINGS)["rows"] == 1_001


def test_a_log_that_is_too_short_is_told(tables, monkeypatch):
    monkeypatch.setattr(learning, "now_us", lambda: 105)
    with pytest.raises(TableError, match="some with and some without a click"):
        learning.train(tables, SETTINGS)


def test_a_report_is_kept_until_something_changes(tables, monkeypatch):
    report = evaluation.evaluate(tables, SETTINGS)
    assert json.loads((tables.home / "reports" / "ranking.json").read_text()) == report
    monkeypatch.setattr(comparison, "measure", lambda *a, **k: {"made": "again"})
    assert evaluation.evaluate(tables, SETTINGS) == report
    assert evaluation.evaluate(tables, SETTINGS.model_copy(update={"seed": 8}))["made"] == "again"


def test_the_verbs(tables, capsys):
    home = ["--home", str(tables.home)]
    assert run(["train", "ranking", *home, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 1_200
    assert run(["train", "ranking", *home]) == 0
    assert "is up to date: 1,200 impressions" in capsys.readouterr().out
    assert run(["evaluate", "ranking", *home]) == 0
    out = capsys.readouterr().out
    assert "Ranking (Wide&Deep, 2 seeds from 7)" in out
    assert "topics as known" in out
    assert run(["evaluate", "ranking", *home, "--json"]) == 0
    assert [s["split"] for s in json.loads(capsys.readouterr().out)["splits"]] == ["user", "time"]


def test_a_home_without_a_release_is_told(tmp_path, capsys):
    (tmp_path / "tables").mkdir()
    assert run(["train", "ranking", "--home", str(tmp_path)]) == 2
    assert "vidtopics run" in capsys.readouterr().err
