"""Training makes a version, inference follows it, and a small delivery rewrites little."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import degenerate
import numpy as np
import pyarrow.compute as pc
import pytest
import yaml
from degenerate import AS_OF, World, shown, video

from vidtopics import topic_models
from vidtopics.cli import common
from vidtopics.contracts import (
    DERIVED,
    TAG_EMBEDDING,
    TOPICS,
    VIDEO_JOINT_REPRESENTATION,
    VIDEO_TAG_EMBEDDING,
    VIDEO_TOPICS,
)
from vidtopics.errors import TableError
from vidtopics.jobs import session
from vidtopics.jobs.job import Run
from vidtopics.jobs.need import find_need
from vidtopics.jobs.pipeline import find, run_jobs, train_topics
from vidtopics.releases.lock import hold
from vidtopics.releases.rollback import restore, take_back, target_of
from vidtopics.tables.commits import latest_commit
from vidtopics.tables.releases import read_log
from vidtopics.times import moment

DAY = 86_400_000_000
VIDEOS = 200
THEMES = [("piano", "jazz"), ("goal", "pitch"), ("soup", "onion"), ("cat", "paw")]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    degenerate.use_small_encoders(monkeypatch)
    monkeypatch.setattr(session, "session", lambda *_, **__: pytest.fail("Spark was started"))


def themed(number: int, **columns: str) -> dict[str, str]:
    """A video of one of four themes."""
    first, second = THEMES[number % len(THEMES)]
    plain = {
        "title": f"{first} {second} {number % 20}",
        "cover": "a.png",
        "primary_class": first,
        "secondary_class": f"{first}/{number % 2}",
        "tags": f"{first}|{second}",
    }
    return video(f"v{number:03d}", **{**plain, **columns})


def world(videos: list[dict[str, str]], clicks: list[dict[str, str]] | None = None) -> World:
    settings = {
        "topics": {"clusters": 4, "target_topics": 0},
        "gates": {"psi": {"warn": None, "block": None}},
    }
    return World(videos, clicks or [], settings)


CATALOGUE = world(
    [themed(number) for number in range(VIDEOS)],
    [shown(f"u{number % 9}", f"v{number:03d}", number % 2) for number in range(VIDEOS)],
)


def deliver(run: Run, folder: Path, later: World) -> Run:
    """A later delivery, and the live run after it."""
    later.deliver(folder, run.tables)
    return Run.now(run.tables, run.settings)


def rewritten(run: Run) -> dict[str, tuple[int, int]]:
    """Of each derived table with rows, those that its last run wrote, and those that hold."""
    histories = [table for table in DERIVED if table.kind == "history"]
    commits = (latest_commit(run.tables.commits(table), run.as_of_us) for table in histories)
    return {
        table.name: (commit.rows, len(run.read(table, *table.key)))
        for table, commit in zip(histories, commits, strict=True)
    }


def test_a_delivery_of_one_percent_rewrites_little_and_computes_what_is_new(
    tmp_path: Path,
) -> None:
    """One new video with a new tag, and one whose title is corrected: 2 of 200."""
    run = CATALOGUE.run(tmp_path)
    assert run_jobs(run, find([])) is not None
    before = {t.name: written_rows(run, t) for t in DERIVED}
    new = [
        themed(VIDEOS, published_at="2026-01-05T06:00:00Z"),
        themed(7, title="another title", effective_from="2026-01-05T06:00:00Z"),
    ]
    later = deliver(run, tmp_path / "later", world(new))
    decision = run_jobs(later, find([]))
    assert decision is not None
    assert decision.state == "released"
    rows = rewritten(later)
    assert set(rows) == {
        *("tag_embedding", "video_tag_embedding", "video_joint_representation"),
        *("topics", "video_topics", "video_counts", "video_statistics"),
        *("user_statistics", "user_topic_counts", "user_topics"),
        *("user_recent_clicks", "user_recent_skips"),
    }
    assert {name: written for name, (written, _) in rows.items() if written} == {
        "video_tag_embedding": 1,
        "video_joint_representation": 2,
        "video_topics": 2,
        "video_statistics": 1,
    }
    assert all(written <= 0.02 * holding for written, holding in rows.values())
    facts = {
        t.name: latest_commit(later.tables.commits(t), later.as_of_us).facts["computed"]
        for t in (VIDEO_JOINT_REPRESENTATION, VIDEO_TOPICS)
    }
    assert facts == {"video_joint_representation": 2, "video_topics": 2}
    for table in DERIVED:  # what was there is there still, byte for byte
        if table.kind == "history":
            assert before[table.name] <= written_rows(later, table), table.name


def written_rows(run: Run, table) -> set[str]:
    return {repr(row) for row in run.tables.read(table).to_pylist()}


def test_a_click_rewrites_no_topics(tmp_path: Path) -> None:
    run = CATALOGUE.run(tmp_path)
    run_jobs(run, find([]))
    click = shown("u1", "v003", 1) | {"event_timestamp": "2026-01-05T12:00:00Z"}
    later = deliver(run, tmp_path / "later", world([themed(3)], [click]))
    steps: list = []
    run_jobs(later, find([]), steps.append)
    rows = {s.publication.table: s.publication.rows for s in steps}
    learned = ("tag_embedding", "video_tag_embedding", "video_joint_representation", "topics")
    assert [rows[name] for name in (*learned, "video_topics")] == [0] * 5
    assert (rows["video_counts"], rows["video_statistics"]) == (1, 1)


def test_reused_rows_are_those_that_everything_computed_anew_gives(tmp_path: Path) -> None:
    """The same deliveries in a home that infers once, after both."""
    new = [
        themed(VIDEOS, published_at="2026-01-05T06:00:00Z", tags="cat|kitten"),
        themed(7, title="", cover="", effective_from="2026-01-05T06:00:00Z"),
        themed(8, removed_at="2026-01-05T07:00:00Z"),
        themed(9, tags="goal|soup", effective_from="2026-01-05T06:00:00Z"),
    ]
    values = []
    for name, runs_between in (("a", True), ("b", False)):
        run = CATALOGUE.run(tmp_path / name)
        train_topics(run)
        if runs_between:
            run_jobs(replace(run), find([]))
        later = deliver(run, tmp_path / name / "later", world(new))
        run_jobs(later, find([]))
        tables = (TAG_EMBEDDING, VIDEO_TAG_EMBEDDING, VIDEO_JOINT_REPRESENTATION, VIDEO_TOPICS)
        values.append([later.read(t).sort_by(t.key[0]).to_pylist() for t in tables])
    for reused, anew in zip(*values, strict=True):
        assert len(reused) == len(anew)
        for a, b in zip(reused, anew, strict=True):
            for column in a:  # a video's vector may differ by rounding with those beside it
                assert a[column] == pytest.approx(b[column], abs=1e-5), column
    assert {"v008"}.isdisjoint(row["video_id"] for row in values[0][3])


def test_a_new_tag_has_the_weighted_mean_of_its_neighbours_until_the_next_training(
    tmp_path: Path,
) -> None:
    run = CATALOGUE.run(tmp_path)
    run_jobs(run, find([]))
    trained = {r["tag"]: np.array(r["tag_vector"]) for r in run.read(TAG_EMBEDDING).to_pylist()}

    def with_tags(number: int, tags: str) -> dict[str, str]:
        return themed(number, tags=tags, published_at="2026-01-05T06:00:00Z")

    first = [with_tags(300, "kitten|cat|paw"), with_tags(301, "kitten|cat"), with_tags(302, "solo")]
    later = deliver(run, tmp_path / "one", world(first))
    run_jobs(later, find([]))
    rows = {r["tag"]: r for r in later.read(TAG_EMBEDDING).to_pylist()}
    assert rows.keys() == trained.keys() | {"kitten"}
    expected = (2 * trained["cat"] + trained["paw"]) / 3
    np.testing.assert_allclose(rows["kitten"]["tag_vector"], expected, rtol=1e-6)
    assert rows["kitten"]["video_count"] == 2
    assert rows["kitten"]["component"] == rows["cat"]["component"]

    # One more video doesn't move it; the fourth doubles the count it was made of.
    third = deliver(run, tmp_path / "two", world([with_tags(303, "kitten|soup")]))
    run_jobs(third, find([]))
    assert {r["tag"]: r for r in third.read(TAG_EMBEDDING).to_pylist()} == rows
    fourth = deliver(run, tmp_path / "three", world([with_tags(304, "kitten|soup")]))
    run_jobs(fourth, find([]))
    kitten = next(r for r in fourth.read(TAG_EMBEDDING).to_pylist() if r["tag"] == "kitten")
    expected = (2 * trained["cat"] + trained["paw"] + 2 * trained["soup"]) / 5
    np.testing.assert_allclose(kitten["tag_vector"], expected, rtol=1e-6)
    assert kitten["video_count"] == 4
    train_topics(fourth)
    assert "kitten" in topic_models.load(run.tables.home, 2).tags["tag"].to_pylist()


def test_a_training_is_repeated_only_where_something_changed(tmp_path: Path) -> None:
    run = CATALOGUE.run(tmp_path)
    first = train_topics(run)
    assert (first.version.number, first.is_new, first.version.previous) == (1, True, 0)
    again = train_topics(run)
    assert (again.version, again.is_new) == (first.version, False)
    topics = run.settings.topics.model_copy(update={"threshold": 0.5, "target_topics": 0})
    changed = replace(run, settings=run.settings.model_copy(update={"topics": topics}))
    other = train_topics(changed)
    assert (other.version.number, other.is_new, other.version.previous) == (2, True, 0)
    assert other.version.files["joint.safetensors"] == first.version.files["joint.safetensors"]
    assert other.version.numbers["threshold_whole"] == 0.5
    assert other.version.epoch > first.version.epoch  # no ID of the first is given again
    assert min(topic_models.load(run.tables.home, 2).topics["topic_id"].to_pylist()) >= 1


def test_a_training_that_keeps_the_space_keeps_representations_and_sets(tmp_path: Path) -> None:
    """Of tags and videos that it knows; where the catalogue has grown both are trained on."""
    run = CATALOGUE.run(tmp_path)
    first = train_topics(run)
    new = [themed(300 + number, tags="cat|kitten") for number in range(10)]
    later = deliver(run, tmp_path / "later", world(new))
    topics = later.settings.topics.model_copy(update={"relearn_growth": 1.0})
    trained_on = replace(later, settings=later.settings.model_copy(update={"topics": topics}))
    old, second, third = (
        topic_models.load(run.tables.home, version.number)
        for version in (
            first.version,
            train_topics(later).version,
            train_topics(replace(trained_on, as_of_us=later.as_of_us + 1)).version,
        )
    )
    before, after, anew = (
        dict(zip(*(m.tags[name].to_pylist() for name in ("tag", "tag_vector")), strict=True))
        for m in (old, second, third)
    )
    assert after.keys() - before.keys() == {"kitten"}
    assert {tag: after[tag] for tag in before} == before
    assert {tag: anew[tag] for tag in before} != before
    joint = [m.version.weights for m in (old, second, third)]
    assert joint[0] == joint[1] != joint[2]
    evaluation = second.version.evaluation
    assert evaluation["first_kept"] >= 0.95
    assert evaluation["set_kept"] >= 0.85
    assert "first_kept" not in first.version.evaluation


def test_many_more_tags_are_growth_too_and_topics_follow_their_videos(tmp_path: Path) -> None:
    """As many videos with 2.5 times the tags: the space is learned anew, IDs stay."""
    run = CATALOGUE.run(tmp_path)
    first = train_topics(run).version
    more = [
        themed(number, tags="|".join((*THEMES[number % 4], "x", "y", f"z{number % 3}")))
        for number in range(VIDEOS)
    ]
    later = deliver(run, tmp_path / "later", world(more))
    growth = find_need(later, first, [find(["video_content_encoding"])[0]]).figures[3]
    assert growth == "growth 2.5 since the space was learned (below 2.0)"
    second = train_topics(later).version
    assert second.numbers["space_videos"] == first.numbers["space_videos"]
    assert second.numbers["space_tags"] == 2.5 * first.numbers["space_tags"]
    assert second.weights != first.weights
    assert second.epoch == first.epoch
    assert second.evaluation["first_kept"] > 0.85
    assert second.evaluation["below_threshold_tagged"] == second.evaluation["below_threshold"]
    assert "below_threshold_untagged" not in second.evaluation  # every video has tags
    old, new = (topic_models.load(run.tables.home, v.number).topics for v in (first, second))
    assert old["topic_id"].to_pylist() == new["topic_id"].to_pylist()[: len(old)]
    third = train_topics(replace(later, as_of_us=later.as_of_us + 1)).version
    assert third.weights == second.weights


def test_ids_and_epochs_are_given_once_whatever_becomes_of_a_version(tmp_path: Path) -> None:
    run = CATALOGUE.run(tmp_path)
    train_topics(run)
    later = replace(run, as_of_us=AS_OF + DAY)
    for weight in (2.0, 3.0):  # both go on from version 1, with representations of another kind
        topics = run.settings.topics.model_copy(update={"tag_weight": weight})
        train_topics(replace(later, settings=run.settings.model_copy(update={"topics": topics})))
    models = [topic_models.load(run.tables.home, number) for number in (1, 2, 3)]
    assert [model.version.previous for model in models] == [0, 1, 1]
    assert [model.version.epoch for model in models] == [1, 2, 3]
    rows = (m.topics.filter(pc.is_null(m.topics["retired"])) for m in models)
    ids = [set(living["topic_id"].to_pylist()) for living in rows]
    assert [len(of_model) for of_model in ids] == [4, 4, 4]
    assert len(set.union(*ids)) == 12


def with_clusters(run: Run, clusters: int) -> Run:
    topics = run.settings.topics.model_copy(update={"clusters": clusters})
    return replace(run, settings=run.settings.model_copy(update={"topics": topics}))


def test_a_version_that_is_known_later_is_not_used_before(tmp_path: Path) -> None:
    run = CATALOGUE.run(tmp_path)
    train_topics(run)
    assert replace(run, as_of_us=AS_OF - 1).model_version is None
    hour = timedelta(hours=1) // timedelta(microseconds=1)
    known = [replace(run, as_of_us=AS_OF + us).model_version for us in (0, hour)]
    assert [v and v.number for v in known] == [1, 1]
    with pytest.raises(TableError, match=r"topic models as of 2026-01-04.*vidtopics train topics"):
        find(["video_topics"])[0].run(replace(run, as_of_us=AS_OF - DAY // 2))


def test_a_rollback_brings_back_the_version_until_another_is_trained(tmp_path: Path) -> None:
    run = CATALOGUE.run(tmp_path)
    run_jobs(run, find([]))
    old = learned(run)
    later = with_clusters(deliver(run, tmp_path / "later", world([themed(300)])), 6)
    assert train_topics(later).version.number == 2
    decision = run_jobs(later, find([]))
    assert decision is not None
    assert decision.objections == []
    assert learned(later)["topics"] != old["topics"]
    with hold(run.tables.home, "vidtopics rollback") as lock:
        target = target_of(run.tables, 1)
        take_back(run.tables, target, "worse", lock)
        restore(run.tables, target, "worse", lock)
    now = Run.now(run.tables, later.settings)
    assert learned(now) == old
    decision = run_jobs(now, find([]))  # infers with version 1, for v300 too
    assert decision is not None
    after = learned(replace(now))
    assert after["topics"] == old["topics"]
    assert after["video_topics"].items() > old["video_topics"].items()
    assert [r.topic_model for r in read_log(run.tables)] == [1, 2, 2, 1, 1]
    third = train_topics(Run.now(run.tables, later.settings))
    assert (third.version.number, third.version.previous) == (3, 1)
    assert Run.now(run.tables, later.settings).model_version == third.version


def learned(run: Run) -> dict[str, dict]:
    """Values of topics and video_topics by key."""
    return {
        t.name: {row[t.key[0]]: row for row in run.read(t).to_pylist()}
        for t in (TOPICS, VIDEO_TOPICS)
    }


def test_a_training_if_needed_says_why_it_did_or_did_not(tmp_path: Path) -> None:
    run = CATALOGUE.run(tmp_path)
    first = train_topics(run, if_needed=True)  # there is none
    assert (first.version.number, first.is_new, first.figures) == (1, True, ())
    day_later = replace(run, as_of_us=AS_OF + DAY)
    serves = train_topics(day_later, if_needed=True)
    assert (serves.version.number, serves.is_new, serves.reasons) == (1, False, ())
    names = [text.split()[0] for text in serves.figures]
    assert names == ["cosine", "below", "new", "growth", "age"]
    assert serves.figures[4] == "age 1.0 days (at most 30.0)"

    month_later = replace(run, as_of_us=AS_OF + 31 * DAY)
    old = train_topics(month_later, if_needed=True)
    assert (old.version.number, old.is_new) == (2, True)
    assert list(old.reasons) == ["age 31.0 days (at most 30.0)"]
    topics = run.settings.topics.model_copy(update={"most_age": timedelta(hours=1)})
    strict = replace(day_later, settings=run.settings.model_copy(update={"topics": topics}))
    assert find_need(strict, first.version, []).reasons == ["age 1.0 days (at most 0.0)"]
    other = train_topics(with_clusters(day_later, 5), if_needed=True)
    assert (other.is_new, list(other.reasons)) == (True, ["settings changed: topics"])


def test_new_tags_make_a_training_needed(tmp_path: Path) -> None:
    run = CATALOGUE.run(tmp_path)
    train_topics(run)
    new = [
        themed(number, tags="kitten|purr", published_at="2026-01-05T06:00:00Z")
        for number in range(300, 320)
    ]
    later = deliver(run, tmp_path / "later", world(new))
    later = Run.backfill(later.tables, later.settings, AS_OF + DAY)
    training = train_topics(later, if_needed=True)
    assert training.is_new
    assert "new tags 9.1% (at most 5.0%)" in training.reasons


def test_the_commands_say_what_was_trained_and_what_is_in_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPARK_MASTER")
    run = CATALOGUE.run(tmp_path)
    config = tmp_path / "settings.yaml"
    config.write_text(yaml.safe_dump(run.settings.model_dump(mode="json")), encoding="utf-8")
    options = ["--home", str(run.tables.home), "--config", str(config)]
    at = ["--as-of", moment(AS_OF)]
    assert common.run(["train", "topics", *options, *at]) == 0
    assert "Topic model 1 (as of 2026-01-05T00:00:00), the first: 200 videos, 4 topics" in (
        capsys.readouterr().out
    )
    assert common.run(["train", "topics", *options, *at]) == 0
    assert "up to date, nothing that it was trained from has changed" in capsys.readouterr().out
    assert common.run(["run", *options, *at, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["release"] == 1
    assert common.run(["train", "topics", *options, "--if-needed", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["number"], report["previous"], report["is_new"]) == (2, 1, True)
    assert report["reasons"][0].startswith("age ")
    assert common.run(["models", "--home", str(run.tables.home), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["models"]
    assert [(row["number"], row["releases"], row["in_force"]) for row in rows] == [
        (1, [1], ["release in force"]),
        (2, [], ["next run"]),
    ]
    assert common.run(["models", "--home", str(run.tables.home)]) == 0
    assert "release in force" in capsys.readouterr().out


def test_a_run_without_a_version_trains_the_first_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPARK_MASTER")
    run = CATALOGUE.run(tmp_path)
    config = tmp_path / "settings.yaml"
    config.write_text(yaml.safe_dump(run.settings.model_dump(mode="json")), encoding="utf-8")
    options = ["--home", str(run.tables.home), "--config", str(config), "--as-of", moment(AS_OF)]
    assert common.run(["run", *options]) == 0
    assert "No topic model version yet. Topic model 1" in capsys.readouterr().err
