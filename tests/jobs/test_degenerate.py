"""No job hangs or succeeds with nonsense on inputs that have little or nothing to learn from.

Each test has a watchdog far above what it needs: a job that waits for ever fails loudly.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import degenerate
import numpy as np
import pyarrow as pa
import pytest
from degenerate import (
    ALL_EQUAL,
    ALL_NULL,
    AS_OF,
    EMPTY,
    FULL,
    GOOD,
    NOTHING_TO_LEARN,
    ONE,
    SIX,
    World,
    run_all,
    versions,
    video,
)

from vidtopics import topic_models
from vidtopics.cli import common
from vidtopics.contracts import (
    DERIVED,
    TAG_COOCCURRENCE,
    TOPIC_QUEUES,
    TOPICS,
    USER_RECENT_CLICKS,
    VIDEO_CONTENT_ENCODING,
    VIDEO_JOINT_REPRESENTATION,
    VIDEO_STATISTICS,
    VIDEO_TOPICS,
)
from vidtopics.errors import SettingsError, TableError
from vidtopics.jobs import session
from vidtopics.jobs.job import Computed, Run
from vidtopics.jobs.pipeline import JOBS, TRAINING_JOBS, find, run_jobs, train_topics
from vidtopics.times import micros

pytestmark = pytest.mark.timeout(600)

BEFORE_THE_FIRST = micros(datetime(2025, 12, 1, tzinfo=UTC))
REMOVED = World([video(name, **FULL, removed_at="2026-01-02T00:00:00Z") for name in SIX])
REFUSED = {
    "no row": (EMPTY, AS_OF, r"video_catalog: expected videos, found none\. .*file that has rows"),
    "before the first video": (
        GOOD,
        BEFORE_THE_FIRST,
        r"as of 2025-12-01T.*, found 0 videos: the first is known from 2026-01-01T.*later --as-of",
    ),
    "all taken down": (REMOVED, AS_OF, r"found 6 videos, all taken down by then\. .* --as-of"),
}
ALL_HELD_OUT = {
    "one video": (
        World([video("v33", title="piano")], settings={"content": {"holdout_share": 1}}),
        r"2026-01-05T.*found 1 video, which is held out\. Mend: lower content\.holdout_share \(1\)",
    ),
    "six videos": (
        replace(GOOD, settings={"content": {"holdout_share": 1}}),
        r"found 6 videos, all of them held out\. Mend: lower content\.holdout_share \(1\)",
    ),
}


@pytest.fixture(autouse=True)
def _encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    degenerate.use_small_encoders(monkeypatch)


@pytest.fixture
def _no_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "session", lambda *_, **__: pytest.fail("Spark was started"))


@pytest.mark.usefixtures("_no_spark")
@pytest.mark.parametrize(("world", "as_of_us", "message"), REFUSED.values(), ids=REFUSED)
def test_without_a_live_video_every_job_is_refused_before_spark_starts(
    tmp_path: Path, world: World, as_of_us: int, message: str
) -> None:
    run = world.run(tmp_path, as_of_us)
    with pytest.raises(TableError, match=message):
        run_all(run)
    for job in find([]):
        without_model = "topic models as of .*: expected a version to infer with, found none"
        expected = without_model if job.table in (TOPICS, VIDEO_TOPICS) else message
        with pytest.raises(TableError, match=expected):
            job.run(run)
    assert versions(run.tables) == {}


@pytest.mark.usefixtures("_no_spark")
def test_a_home_where_nothing_was_ingested_is_refused_and_not_made(tmp_path: Path, capsys) -> None:
    home = tmp_path / "home"
    for jobs in ([], *([name] for name in JOBS)):
        assert common.run(["run", *jobs, "--home", str(home)]) == common.FAILED
        error = capsys.readouterr().err
        assert error.startswith(f"Error --home {home}: expected a home, which `vidtopics ingest`")
    assert not home.exists()


@pytest.mark.usefixtures("_no_spark")
@pytest.mark.parametrize(("world", "message"), ALL_HELD_OUT.values(), ids=ALL_HELD_OUT)
def test_a_first_model_without_training_videos_is_refused(
    tmp_path: Path, world: World, message: str
) -> None:
    run = world.run(tmp_path)
    for attempt in (run_all, train_topics):
        with pytest.raises(TableError, match=message):
            attempt(run)
    assert topic_models.versions(run.tables.home) == []
    assert versions(run.tables) == {}


@pytest.mark.usefixtures("_no_spark")
def test_more_clusters_than_videos_are_refused_before_any_job(tmp_path: Path) -> None:
    run = replace(GOOD, settings={"topics": {"clusters": 7}}).run(tmp_path)
    with pytest.raises(SettingsError, match=r"topics\.clusters: expected at most 6, .* found 7\."):
        run_all(run)
    assert versions(run.tables) == {}


def test_one_video_is_its_own_topic_and_candidate(tmp_path: Path) -> None:
    run = ONE.run(tmp_path)
    left_out = run_all(run)
    assert set(left_out) == {"training"}
    assert left_out["training"] == (
        "nothing learned from primary classes (1), secondary classes (1) and tags (0):"
        " two differing ones are needed"
    )
    assert_sensible(run)
    [edge] = rows(run, TAG_COOCCURRENCE)
    assert (edge["videos"], edge["probability"]) == (1, 1.0)
    [topic] = rows(run, TOPICS)
    assert (topic["topic_id"], topic["size"]) == (1, 1)
    [video_topics] = rows(run, VIDEO_TOPICS)
    assert video_topics["topic_ids"] == [1] + [-1] * 7
    [statistics] = rows(run, VIDEO_STATISTICS)
    assert (statistics["video_exposures"], statistics["video_clicks"]) == (2, 1)
    assert [r["recent_video_ids"] for r in rows(run, USER_RECENT_CLICKS)] == [["only"]]
    places = rows(run, TOPIC_QUEUES)
    assert {row["queue_level"] for row in places} == {"topic", "parent", "catalogue"}
    assert {(row["video_id"], row["queue_ctr"]) for row in places} == {("only", 0.5)}
    # (1 + 10 * 1/2) / (2 + 10)


def test_videos_with_nothing_make_no_version_and_say_why(tmp_path: Path) -> None:
    """The training's own inputs are right as they are; nothing is made of them."""
    run = ALL_NULL.run(tmp_path)
    with pytest.raises(TableError, match="topics: expected a video with a cover, a title or a tag"):
        run_all(run)
    assert set(versions(run.tables)) == set(TRAINING_JOBS)
    assert topic_models.versions(run.tables.home) == []
    [edges] = run.tables.commits(TAG_COOCCURRENCE)
    assert edges.facts == {
        "left_out": "no video that trains has two tags that tags.min_videos of them carry"
    }


def test_equal_videos_make_one_topic(tmp_path: Path) -> None:
    """Where nobody is judged, topics have no queue, and the wider ones have all videos."""
    run = ALL_EQUAL.run(tmp_path)
    left_out = run_all(run)
    assert "no video for 1 of 2 clusters: too few differ" in left_out["training"]
    assert "primary classes (1)" in left_out["training"]
    assert_sensible(run)
    [topic] = rows(run, TOPICS)
    assert topic["size"] == 6
    z = np.array([r["joint_embedding"] for r in arrays(run, VIDEO_JOINT_REPRESENTATION)])
    np.testing.assert_allclose(z, z[:1].repeat(6, axis=0), atol=1e-6)
    assert {level: len(places) for level, places in queue_places(run).items()} == {
        "topic": 6,
        "parent": 6,
        "catalogue": 6,
    }

    none_judged = {"queues": {"min_exposures": 99, "fresh_age": "PT0S"}}
    again = replace(run, settings=replace(ALL_EQUAL, settings=none_judged).parsed())
    run_jobs(again, find(["topic_queues"]))
    assert queue_places(run) == {level: [1, 2, 3, 4, 5, 6] for level in ("parent", "catalogue")}


def queue_places(run: Run) -> dict[str, list[int]]:
    """The places of each level of queues."""
    places: dict[str, list[int]] = {}
    for row in rows(run, TOPIC_QUEUES):
        places.setdefault(row["queue_level"], []).append(row["queue_position"])
    return {level: sorted(numbers) for level, numbers in places.items()}


def test_a_catalogue_of_titles_alone_has_topics_by_title(tmp_path: Path) -> None:
    """No covers, tags, classes or impressions: each job does its part and says what lacks."""
    run = NOTHING_TO_LEARN.run(tmp_path)
    left_out = run_all(run)
    assert_sensible(run)
    assert left_out["training"].startswith("nothing learned from primary classes (0)")
    assert left_out["video_joint_representation"] == "no video has a cover: z is zero there"
    assert left_out["video_statistics"] == "no impressions yet: every count is 0"
    assert left_out["user_recent_clicks"] == "no clicks yet"
    assert left_out["tag_embedding"] == "no tag is on tags.min_videos live videos"
    assert len(rows(run, TOPICS)) == 2
    assert all(r["label_terms"] for r in rows(run, TOPICS))  # of words that all titles have
    assert {r["video_clicks"] for r in rows(run, VIDEO_STATISTICS)} == {0}
    queues = rows(run, TOPIC_QUEUES)
    assert {r["queue_ctr"] for r in queues} == {0.0}
    assert {r["video_id"] for r in queues} == set(SIX)
    assert all(r["fresh"] for r in queues if r["queue_level"] == "topic")  # nobody has seen them


@pytest.mark.usefixtures("_no_spark")
def test_all_held_out_are_represented_by_the_last_joint_model(tmp_path: Path) -> None:
    run = replace(GOOD, settings={"content": {"holdout_share": 0.5}}).run(tmp_path)
    names = ["video_content_encoding", "video_joint_representation"]
    run_jobs(run, find(names))
    before = arrays(run, VIDEO_JOINT_REPRESENTATION)
    later = replace(
        run,
        settings=replace(GOOD, settings={"content": {"holdout_share": 1}}).parsed(),
        as_of_us=AS_OF + 1,
    )
    training = train_topics(later)
    assert (training.version.number, training.is_new) == (2, True)
    assert training.version.weights == topic_models.load(run.tables.home, 1).version.weights
    step = steps_of(replace(later), names)[-1]
    after = arrays(later, VIDEO_JOINT_REPRESENTATION)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old["joint_embedding"], new["joint_embedding"])
    assert step.publication.rows == 0  # no value changed


@pytest.mark.usefixtures("_no_spark")
def test_an_empty_result_never_ends_every_value(tmp_path: Path) -> None:
    """A first empty result is published and says why; one that would end all rows is refused."""
    run = GOOD.run(tmp_path)
    [job] = find(["tag_embedding"])

    def of(tags: list[str]):
        columns = {
            "tag": pa.array(tags, pa.string()),
            "tag_vector": pa.array([[1.0, 0.0]] * len(tags), pa.list_(pa.float32())),
            "video_count": pa.array([6] * len(tags), pa.int64()),
            "component": pa.array([0] * len(tags), pa.int64()),
        }
        table = pa.table(columns)
        return replace(
            job,
            inputs=(),
            compute=lambda _: Computed(table, widths={"tag_width": 2}),
            code=(),
            infers=False,
        )

    [empty] = steps_of(run, [], jobs=[replace(of([]), settings=lambda _: "first")])
    assert (empty.publication.rows, empty.left_out) == (0, job.empty)
    steps_of(run, [], jobs=[replace(of(["live"]), settings=lambda _: "second")])
    before = versions(run.tables)
    for again in (run, replace(run, as_of_us=AS_OF + 1)):
        with pytest.raises(TableError, match=r"as 1 hold that an empty result would end, found no"):
            of([]).run(again)
    assert versions(run.tables) == before
    earlier = replace(run, as_of_us=AS_OF - 1)  # no value holds there yet
    assert of([]).run(earlier).rows == 0


@pytest.mark.usefixtures("_no_spark")
def test_a_live_run_after_all_were_taken_down_ends_no_value(tmp_path: Path) -> None:
    run = GOOD.run(tmp_path / "first")
    run_jobs(run, find(["video_content_encoding", "video_joint_representation"]))
    REMOVED.deliver(tmp_path / "second", run.tables)
    before = versions(run.tables)
    with pytest.raises(TableError, match="found 6 videos, all taken down by then"):
        run_all(Run.now(run.tables, run.settings))
    assert versions(run.tables) == before


@pytest.mark.usefixtures("_no_spark")
def test_a_skipped_job_still_says_what_its_rows_lack(tmp_path: Path) -> None:
    run = NOTHING_TO_LEARN.run(tmp_path)
    names = ["video_content_encoding", "video_joint_representation"]
    first, again = steps_of(run, names), steps_of(run, names)
    assert [step.publication.skipped for step in again] == [True, True]
    assert [step.left_out for step in again] == [step.left_out for step in first]
    assert again[1].left_out == "no video has a cover: z is zero there"


def steps_of(run: Run, names: list[str], jobs=None) -> list:
    steps: list = []
    run_jobs(run, jobs or find(names), steps.append)
    return steps


def rows(run: Run, table) -> list[dict]:
    """The rows that hold as of the run, by key."""
    return sorted(run.read(table).to_pylist(), key=lambda row: [row[name] for name in table.key])


def arrays(run: Run, table) -> list[dict]:
    """The same with vectors as float32 arrays."""
    vectors = {column.name for column in table.columns if column.type == "list<float32>"}
    return [
        row | {name: np.array(row[name], np.float32) for name in vectors}
        for row in rows(run, table)
    ]


def assert_sensible(run: Run) -> None:
    """Finite numbers, vectors of length 1 or 0, no topic of nothing, queues without gaps."""
    for table in DERIVED:
        if not run.tables.exists(table) or table is VIDEO_CONTENT_ENCODING:
            continue
        for row in arrays(run, table):
            for name, value in row.items():
                if isinstance(value, float | np.ndarray):
                    assert np.isfinite(value).all(), (table.name, name)
            for name in table.unit_norm:
                assert (
                    np.linalg.norm(row[name]) == pytest.approx(1, abs=1e-3) or not row[name].any()
                )
    topics = {row["topic_id"] for row in rows(run, TOPICS)} if run.tables.exists(TOPICS) else set()
    if not topics:
        return
    assert all(row["size"] >= 1 for row in rows(run, TOPICS))
    for row in rows(run, VIDEO_TOPICS):
        assert set(row["topic_ids"]) <= topics | {-1}
    queues = defaultdict(list)
    for row in rows(run, TOPIC_QUEUES):
        queues[row["queue_level"], row["topic_id"]].append(row["queue_position"])
    for positions in queues.values():
        assert sorted(positions) == list(range(1, len(positions) + 1))
