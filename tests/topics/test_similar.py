"""`vidtopics similar` on a home of five videos, published by hand (no Spark)."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from benchmarks.homes import release_tables
from vidtopics import contracts
from vidtopics.cli import common
from vidtopics.tables import Commit, Tables
from vidtopics.tables.schemas import arrow_schema
from vidtopics.times import micros

DAY = datetime(2026, 1, 8, tzinfo=UTC)
T = micros(DAY)
NAMES = ("a", "b", "c", "d", "e")
NONE = [0.0, 0.0]
COVERS = {"a": [2.0, 0.0], "b": [0.0, 3.0], "c": [5.0, 0.0], "d": NONE, "e": [3.0, 4.0]}
TITLES = {"a": [0.0, 1.0], "b": [0.0, 4.0], "c": [1.0, 0.0], "d": [1.0, 0.0], "e": [1.0, 1.0]}
TAGS = {"a": [1.0, 0.0], "b": [0.6, 0.8], "c": NONE, "d": [0.8, 0.6], "e": [-1.0, 0.0]}
JOINT = {"a": [0.6, 0.8], "b": [0.8, 0.6], "c": [1.0, 0.0], "d": [0.0, 1.0], "e": NONE}
TOPICS = {"a": [(3, 0.6), (9, 0.8)], "b": [(9, 0.5)], "c": [(3, 0.9)], "d": [(4, 0.9)], "e": []}


def publish(tables, table, records, *, times=None, **widths):
    records = list(records)
    if times:
        stamp = {"event_timestamp": times, "created_timestamp": times}
        records = [{**row, **stamp} for row in records]
    whole = arrow_schema(table) if times else arrow_schema(table, table.columns)
    schema = pa.schema([f for f in whole if f.name != "value_hash"])
    tables.publish(
        replace(table, engine="deltalake"),
        pa.Table.from_pylist(records, schema=schema),
        Commit(table.name, micros(times or DAY), micros(times or DAY)),
        changes=times is not None and table.kind == "history",
        widths=widths,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("similar")
    tables = Tables(home)
    catalog = {"primary_classes": [], "secondary_classes": [], "published_at": DAY, "cover": ""}
    publish(
        tables,
        contracts.VIDEO_CATALOG,
        (
            {**catalog, "video_id": v, "title": f"video {v}", "removed_at": None, "content_hash": v}
            for v in NAMES
        ),
        times=DAY,
    )
    encoding = contracts.VIDEO_CONTENT_ENCODING
    for encoder, day in (("old", DAY - timedelta(1)), ("new", DAY)):
        outputs = (
            {
                "content_hash": v,
                "encoder": encoder,
                "image_encoding": COVERS[v] if encoder == "new" else [1.0, 1.0],
                "title_encoding": TITLES[v],
                "has_image": COVERS[v] != NONE,
                "has_title": True,
            }
            for v in NAMES
        )
        publish(tables, encoding, outputs, times=day, image_width=2, title_width=2)
    publish(
        tables,
        contracts.VIDEO_TAG_EMBEDDING,
        (
            {"video_id": v, "tag_embedding": TAGS[v], "tag_count": int(TAGS[v] != NONE)}
            for v in NAMES
        ),
        tag_width=2,
    )
    joint = (
        {"video_id": v, "joint_embedding": JOINT[v], "content_blocks": 3 * (JOINT[v] != NONE)}
        for v in NAMES
    )
    publish(
        tables,
        contracts.VIDEO_JOINT_REPRESENTATION,
        ({**row, "encoder_version": "1"} for row in joint),
        joint_width=2,
    )
    publish(
        tables,
        contracts.VIDEO_TOPICS,
        (
            {
                "video_id": v,
                "topic_ids": [t for t, _ in TOPICS[v]] + [-1] * (8 - len(TOPICS[v])),
                "topic_weights": [w for _, w in TOPICS[v]] + [0.0] * (8 - len(TOPICS[v])),
                "parent_topic_ids": [1] * len(TOPICS[v]) + [-1] * (8 - len(TOPICS[v])),
                "topic_count": len(TOPICS[v]),
                "below_threshold": False,
                "topic_epoch": 1,
            }
            for v in NAMES
        ),
    )
    release_tables(tables, as_of_us=T, created_us=T)
    return home


@pytest.mark.parametrize(
    ("by", "nearest"),
    [
        ("cover", [("c", 1), ("e", 0.6), ("b", 0)]),  # d has no cover
        ("title", [("b", 1), ("e", 0.7071), ("c", 0), ("d", 0)]),
        ("tag", [("d", 0.8), ("b", 0.6), ("e", -1)]),
        ("joint", [("b", 0.96), ("d", 0.8), ("c", 0.6)]),
        ("topic", [("b", 0.8), ("c", 0.6), ("d", 0)]),  # weights 3: .6, 9: .8 are of length 1
    ],
)
def test_neighbours_in_each_space(home, capsys, by, nearest):
    assert common.run(["similar", "a", "--by", by, "--home", str(home), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["video_id"], report["title"], report["by"]) == ("a", "video a", by)
    similar = [(v["video_id"], round(v["cosine"], 4)) for v in report["similar"]]
    assert similar == nearest
    assert all(v["title"] == f"video {v['video_id']}" for v in report["similar"])


def test_top_and_the_table_on_the_terminal(home, capsys):
    assert common.run(["similar", "b", "--top", "1", "--home", str(home)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Nearest to b by joint: video b"
    assert lines[2].split() == ["1", "a", "video", "a", "0.960"]
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["zzz"], "video zzz: expected a live video of the release, found no such id."),
        (["e"], "video e: expected a video with a vector by joint, found none."),
        (["c", "--by", "tag"], "video c: expected a video with a vector by tag, found none."),
    ],
)
def test_a_video_that_cannot_be_compared_is_one_line(home, capsys, arguments, message):
    assert common.run(["similar", *arguments, "--home", str(home)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
