"""`train` and `evaluate` on a home.

What is stored, when it is made again, and how the two verbs show it.
"""

import json
import re
import shutil

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from ranking_worlds import DECAYED, EPOCH, inputs
from ranking_worlds import SETTINGS as WORLD_SETTINGS

from benchmarks.homes import release_tables
from consumers.ranking import cost, evaluate, home
from consumers.ranking.store import restore
from consumers.training import read
from consumers.training.frame import build_frame
from vidtopics.cli import homes
from vidtopics.cli.common import run
from vidtopics.contracts import (
    CLICKS,
    CREATED_TIME,
    EVENT_TIME,
    IMPRESSIONS,
    TOPICS,
    VALUE_HASH,
    VIDEO_STATISTICS,
    VIDEO_TOPICS,
)
from vidtopics.errors import TableError
from vidtopics.settings import EvaluationSettings
from vidtopics.tables import FOREVER, Commit, Tables
from vidtopics.tables.schemas import TIMESTAMP, arrow_schema, configuration

AS_OF = 100_000
SETTINGS = WORLD_SETTINGS.model_copy(
    update={"evaluation": EvaluationSettings(ranking_seeds=2, ranking_trials=1)}
)


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
    plain |= {name: [value] * n for name, value in DECAYED.items()}
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


def publish_topics(tables, known_us=1):
    """Topics 10 and 20 of one parent, known before the log begins unless a time is given."""
    rows = [
        {
            "topic_id": topic,
            "centroid": [1.0, 0.0] if topic == 10 else [0.0, 1.0],
            "size": 150,
            "label_terms": [],
            "topic_epoch": EPOCH,
            "born": 0,
            "parent_topic_id": 1,
        }
        for topic in (10, 20)
    ]
    fields = [f for f in arrow_schema(TOPICS) if f.name not in TOPICS_ADDED]
    rows = pa.Table.from_pylist(rows, schema=pa.schema(fields))
    tables.publish(TOPICS, rows, Commit("topics", known_us, known_us), widths={"topic_width": 2})


TOPICS_ADDED = (VALUE_HASH, EVENT_TIME, CREATED_TIME)


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
    publish_topics(tables)
    release_tables(
        tables, as_of_us=AS_OF, created_us=AS_OF, settings="", quality={"topic_epoch": EPOCH}
    )
    return tables


def test_a_release_is_read_in_the_order_of_time(tables):
    log = read(tables, tables.latest_release()["versions"])
    shown = inputs().impressions.slice(0, 1_200)
    names = ["event_id", "user_id", "video_id", "event_us", "created_us"]
    assert log.impressions.select(names).equals(
        shown.select(names).cast(log.impressions.select(names).schema)
    )
    frame, plain = (build_frame(each, SETTINGS, as_of_us=FOREVER) for each in (log, inputs()))
    assert np.array_equal(frame.clicked, plain.clicked[:1_200])
    ids = [f.topics["topic_ids"].take(pa.array(f.topic_row[:1_200])) for f in (frame, plain)]
    assert ids[0].to_pylist() == ids[1].to_pylist()


def test_a_model_is_trained_again_only_where_something_changed(tables):
    first = home.train_ranking(tables, SETTINGS)
    assert (first["rows"], first["skipped"], first["topics"]) == (1_200, False, 2)
    assert first["without_topics"] == ""
    assert first["auc"] > 0.7
    assert restore(tables.home / "models" / "ranking").known.centres.ids.tolist() == [10, 20]
    assert home.train_ranking(tables, SETTINGS) == {**first, "skipped": True}
    assert not home.train_ranking(tables, SETTINGS.model_copy(update={"seed": 8}))["skipped"]

    published(tables, IMPRESSIONS, inputs().impressions.slice(1_200), ordinal=2)
    assert home.train_ranking(tables, SETTINGS)["rows"] == 1_200  # not in a release yet
    release_tables(
        tables,
        as_of_us=AS_OF + 1,
        created_us=AS_OF + 1,
        settings="",
        quality={"topic_epoch": EPOCH},
    )
    assert home.train_ranking(tables, SETTINGS)["rows"] == 1_500


def test_where_no_impression_had_a_topic_the_command_says_why(tables, capsys):
    shutil.rmtree(tables.home / "tables" / "topics")
    publish_topics(tables, known_us=AS_OF)  # the log ends before
    release_tables(
        tables,
        as_of_us=AS_OF + 1,
        created_us=AS_OF + 1,
        settings="",
        quality={"topic_epoch": EPOCH},
    )
    facts = home.train_ranking(tables, SETTINGS)
    assert facts["topics"] == 0
    assert run(["train", "ranking", "--home", str(tables.home)]) == 0
    assert f"No impression had a topic: {facts['without_topics']}." in capsys.readouterr().out


def test_a_window_that_closes_makes_a_new_model(tables, monkeypatch):
    times = inputs().impressions["event_us"]
    monkeypatch.setattr(
        home, "now_us", lambda: times[999].as_py() + 1
    )  # the window is 1 microsecond
    assert home.train_ranking(tables, SETTINGS)["rows"] == 1_000
    monkeypatch.setattr(home, "now_us", times[1_000].as_py)
    assert home.train_ranking(tables, SETTINGS)["skipped"]
    monkeypatch.setattr(home, "now_us", lambda: times[1_000].as_py() + 1)
    assert home.train_ranking(tables, SETTINGS)["rows"] == 1_001


def test_a_log_that_is_too_short_is_told(tables, monkeypatch):
    monkeypatch.setattr(home, "now_us", lambda: 105)
    with pytest.raises(TableError, match="some with and some without a click"):
        home.train_ranking(tables, SETTINGS)


def test_a_report_is_kept_until_something_changes(tables, monkeypatch):
    report = home.evaluate_ranking(tables, SETTINGS, quick=True)
    assert json.loads((tables.home / "reports" / "ranking-quick.json").read_text()) == report
    monkeypatch.setattr(evaluate, "measure", lambda *a, **k: {"made": "again"})
    assert home.evaluate_ranking(tables, SETTINGS, quick=True) == report
    other = SETTINGS.model_copy(update={"seed": 8})
    assert home.evaluate_ranking(tables, other, quick=True)["made"] == "again"
    assert home.evaluate_ranking(tables, SETTINGS)["made"] == "again"  # the whole is another


def test_what_was_served_is_left_out_by_name_where_nothing_was_live(tables, monkeypatch):
    given = []
    monkeypatch.setattr(
        evaluate, "measure", lambda *a, served, **options: given.append(served) or {}
    )
    report = home.evaluate_ranking(tables, SETTINGS)
    assert given == [None]
    assert report["left_out"][0].startswith("as served: ")
    assert home.evaluate_ranking(tables, SETTINGS, quick=True)["left_out"] == []


def test_the_verbs(tables, capsys):
    place = ["--home", str(tables.home)]
    assert run(["train", "ranking", *place, "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert (trained["rows"], trained["model"]) == (1_200, "wide_and_deep")
    assert run(["train", "ranking", *place]) == 0
    assert "wide_and_deep is up to date: 1,200 impressions" in capsys.readouterr().out
    figure = tables.home / "gains.svg"
    assert run(["evaluate", "ranking", "--quick", *place, "--figure", str(figure)]) == 0
    out = capsys.readouterr().out
    assert "quick: two models, no search, two seeds, by time alone" in out
    assert "Permuted topics, Wide&Deep, permutation 1" in out
    assert figure.read_text().count("<rect") == 2
    assert run(["evaluate", "ranking", "--quick", *place, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [(s["split"], len(s["table"])) for s in report["splits"]] == [("time", 4)]


def record(monkeypatch):
    """The rows of each training of Fig. 6, as they come, and the requests that are scored."""
    rows, requests, train, predict = [], [], cost.train, cost.predict

    def counted(name, pieces, sizes, examples, *more, **options):
        rows.append(len(examples))
        return train(name, pieces, sizes, examples, *more, **options)

    def scored(model, examples):
        requests.append(examples)
        return predict(model, examples)

    monkeypatch.setattr(cost, "train", counted)
    monkeypatch.setattr(cost, "predict", scored)
    return rows, requests


def test_day_by_day_and_cost(tables, capsys, monkeypatch):
    monkeypatch.setattr(cost, "ROUNDS", 1)
    place = ["--home", str(tables.home)]
    assert run(["evaluate", "daily", "--days", "3", *place]) == 0
    out = capsys.readouterr().out
    assert "Fig. 5, Wide&Deep" in out
    assert "AUC of each part, equal parts of the log's last fifth" in out
    assert re.search(r"topics: mean gain \+0\.\d+, above zero on 3 of 3 parts", out)
    assert run(["evaluate", "daily", "--days", "3", *place, "--json"]) == 0
    days = json.loads(capsys.readouterr().out)["days"]
    assert [day["rows"] for day in days] == [80, 80, 80]
    assert [day["train"] for day in days] == [960, 1_040, 1_120]
    trained, requests = record(monkeypatch)
    assert run(["evaluate", "cost", *place, "--json"]) == 0
    assert trained == [256, 256, 256, 960, 960, 960]  # each variant is used before it is timed
    assert len(set(requests)) == 1
    assert {len(set(part.tolist())) for part in requests[0].windows} == {1}  # one user's history
    assert len(set(requests[0].video.tolist())) > 20
    none, topics, cover = json.loads(capsys.readouterr().out)["variants"]
    assert (none["serving_bytes"], none["row_bytes"]) == (0, 0)
    assert set(none["extra_time"].values()) == {0}
    assert topics["serving_bytes"] > 100 < topics["row_bytes"]
    assert topics["parameters"] > cover["parameters"] > none["parameters"]
    assert cover["parameters"] - none["parameters"] < 50  # without encodings a head of biases
    assert run(["evaluate", "cost", *place]) == 0
    out = capsys.readouterr().out
    assert "Fig. 6, Wide&Deep" in out
    assert "Topics beside cover features: no covers here" in out


def test_a_home_without_a_release_is_told(tmp_path, capsys):
    (tmp_path / "tables").mkdir()
    assert run(["train", "ranking", "--home", str(tmp_path)]) == 2
    assert "vidtopics run" in capsys.readouterr().err
