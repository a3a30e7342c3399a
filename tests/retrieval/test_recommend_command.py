"""`vidtopics recommend`.

Titles and labels from the tables, words for every reason, JSON, and what is missing.
"""

import json

import numpy as np
import pyarrow as pa
import pytest
from fake_store import FakeClient

from consumers.ranking.serve import Ranker
from vidtopics import server
from vidtopics.cli import recommendations, stores
from vidtopics.cli.common import run
from vidtopics.contracts import TOPICS, VIDEO_CATALOG
from vidtopics.tables import Commit, Tables
from vidtopics.tables.schemas import arrow_schema


class ByPlace:
    """Each candidate scores a tenth less than the one before it."""

    def score(self, candidates, features):
        return np.float32(0.9) - np.arange(len(candidates.video_ids), dtype=np.float32) / 10


def publish(tables, table, rows, event, **options):
    fields = [f for f in arrow_schema(table) if f.name != "value_hash"]
    if "changes" not in options:
        fields = [f for f in fields if not f.name.endswith("_timestamp")]
    filled = [{"event_timestamp": event, "created_timestamp": event} | row for row in rows]
    rows = pa.Table.from_pylist(
        [{f.name: row[f.name] for f in fields} for row in filled], schema=pa.schema(fields)
    )
    tables.publish(
        table,
        rows,
        Commit("ingest" if options.get("changes") else table.name, event, event),
        **options,
    )


def video(video_id, title):
    return {
        "video_id": video_id,
        "title": title,
        "cover": "",
        "primary_classes": [],
        "secondary_classes": [],
        "published_at": 0,
        "removed_at": None,
        "content_hash": title,
    }


def topic(topic_id, terms):
    return {
        "topic_id": topic_id,
        "centroid": [1.0, 0.0],
        "size": 1,
        "label_terms": terms,
        "topic_epoch": 1,
        "split_from": None,
        "parent_topic_id": topic_id // 10,
        "parent_label_terms": [f"group of {terms[0]}"],
        "born": 0,
        "retired": None,
    }


@pytest.fixture
def home(tmp_path, monkeypatch):
    """ann clicked seen, of topic 10, whose fresh video is b; b has got another title."""
    tables = Tables(tmp_path)
    publish(tables, VIDEO_CATALOG, [video("a", "A goal [red]"), video("b", "old")], 1, changes=True)
    publish(tables, VIDEO_CATALOG, [video("b", "new")], 2, changes=True)
    publish(
        tables,
        TOPICS,
        [topic(10, ["soccer", "goal", "keeper", "cup"]), topic(20, ["tea"])],
        1,
        widths={"topic_width": 2},
    )
    client = FakeClient(
        topics={"a": ([10], 1), "b": ([10], 1), "c": ([20], 1), "seen": ([10], 1)},
        statistics={"a": 1, "b": 1, "c": 1},
        clicks={"ann": ["seen"]},
        lists={10: ["seen", "a"], "10:fresh": ["b"], "p2": ["c"]},
        parents=[2],
    )
    monkeypatch.setattr(server, "url_of", lambda home, embedded: "redis://localhost")
    monkeypatch.setattr(stores, "client", lambda url, prefix: client)
    monkeypatch.setattr(Ranker, "load", lambda folder: ByPlace())
    return tmp_path


def test_json(home, capsys):
    assert run(["recommend", "ann", "--top", "3", "--json", "--home", str(home)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [
        (v["rank"], v["video_id"], v["title"], round(v["score"], 6)) for v in answer["videos"]
    ] == [
        (1, "b", "new", 0.9),
        (2, "a", "A goal [red]", 0.8),
        (3, "c", "", 0.7),
    ]
    assert answer["videos"][2]["reason"] == "popular in topic group 2 (group of tea); queue place 1"
    assert "topic 10 (soccer, goal, keeper); fresh, queue place 2" in answer["videos"][0]["reason"]
    assert answer["videos"][1] | {"score": 0} == {
        "rank": 2,
        "video_id": "a",
        "title": "A goal [red]",
        "score": 0,
        "level": "topic",
        "topic_id": 10,
        "label_terms": ["soccer", "goal", "keeper", "cup"],
        "queue_position": 3,
        "topic_clicks": 1,
        "fresh": False,
        "reason": "because you clicked 1 video of topic 10 (soccer, goal, keeper); queue place 3",
    }
    assert {
        name: answer[name] for name in ("user_id", "clicks", "candidates", "popular", "left_out")
    } == {
        "user_id": "ann",
        "clicks": 1,
        "candidates": 3,
        "popular": "",
        "left_out": {"clicks": {}, "candidates": {}},
    }


def test_a_known_user_on_the_terminal(home, capsys):
    assert run(["recommend", "ann", "--home", str(home)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "3 of 3 candidates for user ann, recalled from 1 recent click" in text
    assert "A goal [red]" in text  # a title is no markup


def test_an_unknown_user_on_the_terminal(home, capsys):
    assert run(["recommend", "nobody", "--home", str(home)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "1 of 1 candidate for user nobody, recalled from popular topic groups (new user)" in text
    assert "new user: popular in topic group 2 (group of tea); queue place 1" in text


def test_without_a_model_the_error_names_what_to_run(home, monkeypatch, capsys):
    monkeypatch.undo()
    assert run(["recommend", "ann", "--home", str(home)]) == 2
    assert "vidtopics train ranking" in " ".join(capsys.readouterr().err.split())


def test_the_most_active_user():
    class OneTable:
        def as_of(self, table, at):
            lists = {"z": ["a"], "y": ["a", "b"], "x": ["c", "d"]}
            return pa.table({"user_id": list(lists), "recent_video_ids": list(lists.values())})

    assert recommendations.active_user(OneTable()) == "x"


@pytest.mark.parametrize(
    ("live", "events"),
    [
        ({"exposures": 3, "clicks": 1, "damaged": False}, "3 impressions, 1 click"),
        (
            {"exposures": 0, "clicks": 0, "damaged": True},
            "none of the user's, as their live value in Redis is damaged",
        ),
    ],
)
def test_which_events_count_is_said(capsys, live, events):
    report = {"user_id": "ann", "videos": [], "clicks": 1, "candidates": 0, "popular": ""}
    left_out = {"left_out": {"clicks": {}, "candidates": {}}}
    recommendations.show(report | left_out | {"live": {"since_us": 1_000_000} | live})
    said = " ".join(capsys.readouterr().out.split())
    assert f"With events since 1970-01-01T00:00:01+00:00: {events}" in said
