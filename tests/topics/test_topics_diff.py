"""`vidtopics topics diff` on a home of two releases, published by hand."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from PIL import Image

from benchmarks.homes import release_tables
from vidtopics import contracts
from vidtopics.cli.change_pages import render
from vidtopics.cli.common import run
from vidtopics.evaluate.changes import changes_report, find_release
from vidtopics.tables import Commit, Tables, micros
from vidtopics.tables.schemas import arrow_schema

DAY = timedelta(days=1)
T1 = datetime(2026, 1, 8, tzinfo=UTC)
EVIL = "</title><script>document.title='owned'</script>"
# Release -> video -> topics. Before the second, d's title and e's tags have changed, f is new.
TOPICS_OF = (
    {"a": [4, 7], "b": [4], "c": [7], "d": [4], "e": [4]},
    {"a": [7, 4], "b": [4], "c": [9], "d": [9], "e": [9], "f": [9]},
)
LIVING = ({4: ["cat"], 7: ["dog"]}, {4: ["cat"], 7: ["dog", "fur"], 9: ["owl"]})


def publish(tables, table, records, at, *, changes=False, **widths):
    created = at + timedelta(hours=1)
    times = {"event_timestamp": at, "created_timestamp": at} if changes else {}
    schema = [f for f in arrow_schema(table) if f.name in (records[0] | times)]
    rows = pa.Table.from_pylist([r | times for r in records], schema=pa.schema(schema))
    commit = Commit(f"of_{table.name}", micros(at), micros(created))
    engine = replace(table, engine="deltalake")
    tables.publish(engine, rows, commit, changes=changes, widths=widths)


def catalog_row(video, folder, **values):
    row = {
        "video_id": video,
        "title": f"Title of {video}",
        "cover": str(folder / "cover.png"),
        "primary_classes": ["pets"],
        "secondary_classes": [],
        "published_at": T1,
        "removed_at": None,
        "content_hash": video,
    }
    return row | values


def assigned(slots):
    n = len(slots)
    return {
        "topic_ids": slots + [-1] * (8 - n),
        "topic_weights": [0.75 - 0.125 * i for i in range(n)] + [0.0] * (8 - n),
        "parent_topic_ids": [1] * n + [-1] * (8 - n),
        "topic_count": n,
        "below_threshold": False,
        "topic_epoch": 1,
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diff")
    Image.new("RGB", (60, 60), (200, 60, 20)).save(folder / "cover.png")
    tables = Tables(folder / "home")
    tables.home.mkdir()
    tag = {"tag": "pet", "spelling": "pet", "source": "tags"}
    for step, (videos, living) in enumerate(zip(TOPICS_OF, LIVING, strict=True)):
        at = T1 + step * DAY
        if not step:
            rows = [catalog_row(v, folder) for v in videos]
            tags = [{"video_id": "a", **tag}]
        else:
            rows = [
                catalog_row("d", folder, content_hash="d2"),
                catalog_row("f", folder, title=EVIL),
            ]
            tags = [{"video_id": "e", **tag}]
        publish(tables, contracts.VIDEO_CATALOG, rows, at, changes=True)
        publish(tables, contracts.VIDEO_TAGS, tags, at, changes=True)
        topics = [
            {
                "topic_id": i,
                "centroid": [1.0, 0.0],
                "size": 1,
                "label_terms": terms,
                "topic_epoch": 1,
                "born": T1,
                "retired": None,
                "split_from": 7 if i == 9 else 0,
                "parent_topic_id": 1,
                "parent_label_terms": ["pet"],
            }
            for i, terms in living.items()
        ]
        publish(tables, contracts.TOPICS, topics, at, topic_width=2)
        rows = [{"video_id": v, **assigned(slots)} for v, slots in videos.items()]
        publish(tables, contracts.VIDEO_TOPICS, rows, at)
        us = micros(at)
        release_tables(
            tables,
            as_of_us=us,
            created_us=us + 3_600_000_000,
            settings="",
            quality={"topic_epoch": 1, "topic_model": 3 + step},
        )
    return tables


def test_only_unchanged_videos_count(home):
    """a keeps its set, b both, c neither; d and e have changed, f is new."""
    report = changes_report(home, find_release(home, 1), find_release(home, None))
    assert report["unchanged_videos"] == 3
    assert (report["first_kept"], report["set_kept"]) == pytest.approx((1 / 3, 2 / 3))
    (part,) = report["split"]
    assert (part["topic_id"], part["before"], part["after"]) == (9, 0, 4)
    assert (part["split_from"]["topic_id"], part["split_from"]["label_terms"]) == (
        7,
        ["dog", "fur"],
    )
    assert [v["video_id"] for v in part["videos"]] == ["c", "d", "e", "f"]
    moved = [(v["video_id"], v["before"], v["label_after"]) for v in report["moved"]]
    assert moved == [("a", 4, ["dog", "fur"]), ("c", 7, ["owl"])]
    assert report["retired"] == report["merged"] == report["born"] == []


def test_a_release_is_compared_as_it_was(home):
    """The first with itself: nothing of the second is seen."""
    report = changes_report(home, find_release(home, 1), find_release(home, 1))
    assert (report["first_kept"], report["set_kept"], report["moved"]) == (1, 1, [])
    assert report["from"]["topics"] == report["to"]["topics"] == 2


def test_the_command_prints_lines_json_and_a_page(home, capsys, tmp_path):
    assert run(["topics", "diff", "1", "2", "--home", str(home.home)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Of 3 unchanged videos 33.3% kept their first topic, 66.7% their set of topics." in text
    assert "split: 9 (owl; 0 to 4 videos), from 7 (dog, fur; 1 to 1 videos)" in text
    assert "moved: c 'Title of c' from 7 (dog) to 9 (owl)" in text
    page = tmp_path / "new" / "page.html"
    command = ["topics", "diff", "1", "--html", str(page), "--json", "--home", str(home.home)]
    assert run(command) == 0
    assert json.loads(capsys.readouterr().out)["page"] == str(page)
    html = page.read_text(encoding="utf-8")
    assert html.count("data:image/webp;base64,") == 6  # four of topic 9, two that moved
    assert "<script" not in html
    assert "&lt;/title&gt;&lt;script&gt;" in html


def test_model_versions_are_compared_by_their_releases(home, capsys):
    reports = []
    for command in (["1", "2"], ["3", "4", "--models"], ["3", "--models"]):
        assert run(["topics", "diff", *command, "--json", "--home", str(home.home)]) == 0
        reports.append(json.loads(capsys.readouterr().out))
    assert reports[0] == reports[1] == reports[2]
    assert run(["topics", "diff", "1", "2", "--models", "--home", str(home.home)]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "topic model 1: expected a released version with topics, found none; those" in error


def test_a_release_that_is_none_is_named(home, capsys):
    assert run(["topics", "diff", "7", "--home", str(home.home)]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert (
        "release 7: expected a release with topics, found none; those with topics are 1, 2" in error
    )


def test_every_section_says_so_where_it_is_empty(home):
    report = changes_report(home, find_release(home, 1), find_release(home, 1))
    html = render(report, max_pixels=10**6)
    assert re.findall(r"<h2>(\w+)[^<]*</h2><ul><li>none</ul>", html) == [
        "Born",
        "Split",
        "Merged",
        "Retired",
        "Moved",
    ]
