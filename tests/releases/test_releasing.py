"""What a run names, and what becomes of it: released, a candidate, rejected, overtaken.

Jobs here are those of the pipeline in miniature: tag_embedding reads video_tags, topics reads
tag_embedding, and both compute what a test tells them to.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest

from vidtopics.contracts import TAG_EMBEDDING, TOPICS, VIDEO_TAGS, Table
from vidtopics.errors import BusyError, SettingsError, TableError
from vidtopics.jobs.job import Computed, Job, Run
from vidtopics.jobs.pipeline import run_jobs
from vidtopics.jobs.releasing import Decision
from vidtopics.releases.allowing import allow
from vidtopics.releases.lock import FILE, STALE_S, acquire, hold
from vidtopics.settings import Settings
from vidtopics.tables import Commit, Tables
from vidtopics.tables.releases import read_log
from vidtopics.tables.schemas import arrow_schema

AT = 1_767_225_600_000_000
HOUR = 3_600_000_000


@dataclass
class Home:
    """Tables, and what the next run of each job computes."""

    tables: Tables
    tags: dict[str, int] = field(default_factory=lambda: {f"t{i}": 1 for i in range(30)})
    topics: list[int] = field(default_factory=lambda: list(range(30)))
    epoch: int = 1
    meanwhile: object = None  # called while topics are computed

    def tag_rows(self, run: Run) -> Computed:
        rows = [
            {"tag": t, "tag_vector": [1.0, float(n)], "video_count": n, "component": 0}
            for t, n in self.tags.items()
        ]
        return computed(TAG_EMBEDDING, rows)

    def topic_rows(self, run: Run) -> Computed:
        if callable(self.meanwhile):
            self.meanwhile()
        fixed = {"centroid": [1.0, 0.0], "size": 1, "label_terms": ["x"], "born": AT}
        rows = [
            {"topic_id": n, "topic_epoch": self.epoch, "retired": None, **fixed}
            for n in self.topics
        ]
        return computed(TOPICS, rows, topic_epoch=self.epoch)

    def run(self, *names: str, at: int = AT) -> Decision | None:
        """Run jobs as of a time; their settings are what they will compute."""
        jobs = [
            Job(TAG_EMBEDDING, (VIDEO_TAGS,), self.tag_rows, lambda s: self.tags, ()),
            Job(TOPICS, (TAG_EMBEDDING,), self.topic_rows, lambda s: (self.topics, self.epoch), ()),
        ]
        chosen = [job for job in jobs if not names or job.name in names]
        return run_jobs(Run.backfill(self.tables, Settings(), at), chosen)

    def deliver(self, tag: str) -> None:
        """A delivery to video_tags, known from AT on."""
        row = {"video_id": "v", "tag": tag, "spelling": tag, "source": "tags"}
        times = {"event_timestamp": AT, "created_timestamp": AT}
        schema = pa.schema([f for f in arrow_schema(VIDEO_TAGS) if f.name != "value_hash"])
        rows = pa.Table.from_pylist([row | times], schema=schema)
        self.tables.publish(VIDEO_TAGS, rows, Commit("ingest", AT, AT, live=True), changes=True)

    @property
    def in_force(self) -> int:
        return int(self.tables.latest_release()["release_id"])

    @property
    def states(self) -> list[tuple[int, str]]:
        return [(row.release_id, row.state) for row in read_log(self.tables)]


def computed(table: Table, rows: list[dict[str, object]], **facts: float) -> Computed:
    values = pa.Table.from_pylist(rows, schema=arrow_schema(table, table.columns))
    return Computed(values, widths={"tag_width": 2, "topic_width": 2}, facts=facts)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(Tables(tmp_path))
    made.deliver("x")
    return made


def test_a_run_names_what_it_committed_and_read(home: Home) -> None:
    decision = home.run()
    assert decision is not None
    assert (decision.release_id, decision.state, decision.reasons) == (1, "released", ())
    [row] = read_log(home.tables)
    assert row.versions == {"video_tags": 1, "tag_embedding": 1, "topics": 1}
    assert (row.topic_epoch, row.as_of_us, row.created_us) == (1, AT, AT + HOUR)
    assert row.verdicts["topics.ended_share"] == "not applied: first load"
    assert "@" in row.by
    assert home.run() is None  # all is up to date


def test_a_job_run_alone_is_a_candidate_until_what_reads_it_has_run(home: Home) -> None:
    home.run()
    home.tags["t0"] = 7
    decision = home.run("tag_embedding")
    assert decision is not None
    assert decision.state == "candidate"
    assert decision.reasons == (
        "topics was computed from version 1 of tag_embedding, this release names 2",
    )
    assert (home.in_force, home.states) == (1, [(1, "released"), (2, "candidate")])
    assert home.run("tag_embedding") is not None  # again: the same candidate, no other row
    assert home.states == [(1, "released"), (2, "candidate")]
    decision = home.run("topics")
    assert decision is not None
    # topics came out as they were: the candidate's versions, now computed from each other
    assert (decision.release_id, decision.state, home.in_force) == (2, "released", 2)
    assert home.states == [(1, "released"), (2, "candidate"), (2, "released")]


def test_a_job_that_nothing_reads_is_released_alone(home: Home) -> None:
    home.run()
    home.topics = list(range(31))
    decision = home.run("topics")
    assert decision is not None
    assert (decision.state, home.in_force) == ("released", 2)


def test_a_delivery_during_a_run_keeps_nothing_from_being_released(home: Home) -> None:
    home.meanwhile = lambda: home.deliver("y")
    decision = home.run()
    assert decision is not None
    assert (decision.state, read_log(home.tables)[0].versions["video_tags"]) == ("released", 1)


def lose_topics(home: Home) -> Decision:
    """A run that ends two of three topics."""
    home.topics = list(range(10))
    decision = home.run()
    assert decision is not None
    return decision


def test_a_gate_that_blocks_leaves_the_last_release_in_force(home: Home) -> None:
    home.run()
    decision = lose_topics(home)
    assert (decision.release_id, decision.state) == (2, "rejected")
    assert [v.name for v in decision.verdicts if v.verdict == "block"] == ["topics.ended_share"]
    assert (home.in_force, home.states) == (1, [(1, "released"), (2, "rejected")])
    row = read_log(home.tables)[-1]
    assert row.figures["topics.ended_share"] == pytest.approx(2 / 3)
    assert row.verdicts["topics.ended_share"] == "block: 0.6667 is above 0.3"
    again = home.run()  # the same versions: the same number, and no other row
    assert again is not None
    assert (again.release_id, again.state, len(home.states)) == (2, "rejected", 2)


def test_a_run_that_mends_it_is_released_under_the_next_number(home: Home) -> None:
    home.run()
    lose_topics(home)
    home.topics = list(range(30))
    decision = home.run()
    assert decision is not None
    assert (decision.release_id, decision.state, home.in_force) == (3, "released", 3)


@pytest.mark.parametrize(("days", "state"), [(1, "rejected"), (8, "released")])
def test_growth_is_held_against_the_last_release_of_the_same_week(
    home: Home, days: int, state: str
) -> None:
    """Twelve times the tags in a day are a fault; in a week or more a catalogue may have grown."""
    home.run()
    home.tags = {f"t{i}": i for i in range(360)}
    decision = home.run(at=AT + days * 24 * HOUR)
    assert decision is not None
    assert decision.state == state
    text = read_log(home.tables)[-1].verdicts["tag_embedding.appeared_share"]
    assert text == (
        "block: 11 is above 10" if days == 1 else "not applied: the last release is 8 days older"
    )


def test_what_blocks_is_let_pass_by_name_with_who_and_why(home: Home) -> None:
    home.run()
    lose_topics(home)
    with pytest.raises(SettingsError, match=r"topics\.ended_share not allowed"):
        allow(home.tables, [], "meant", run=2**62)
    with pytest.raises(SettingsError, match=r"found topics\.gini, which nothing blocks"):
        allow(home.tables, ["topics.ended_share", "topics.gini"], "meant", run=2**62)
    assert home.in_force == 1
    row = allow(home.tables, ["topics.ended_share"], "meant", run=2**62)
    assert (row.release_id, row.state, row.why, home.in_force) == (2, "released", "meant", 2)
    assert row.verdicts["topics.ended_share"] == "allowed: meant"
    with pytest.raises(TableError, match="found that release 2 is in force"):
        allow(home.tables, ["topics.ended_share"], "meant", run=2**62)


def test_tables_of_two_epochs_are_never_released(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs = {"topics": 2, "video_topics": 2, "topic_queues": 1}
    monkeypatch.setattr("vidtopics.jobs.composition.topic_epochs", lambda tables: epochs)
    decision = home.run()
    assert decision is not None
    found = "topics of epoch 2, video_topics of epoch 2, topic_queues of epoch 1"
    assert (decision.state, decision.reasons) == ("candidate", (found,))
    with pytest.raises(TableError, match=f"expected tables of one topic epoch, found {found}"):
        allow(home.tables, ["topics.epoch"], "I dare", run=2**62)
    with pytest.raises(TableError, match="expected a release, found none"):
        home.tables.latest_release()


def test_of_two_overlapping_runs_only_the_later_one_releases(home: Home) -> None:
    """The first stands still while it computes, its lock is taken over, the second releases."""
    home.run()

    def overtake() -> None:
        path = home.tables.home / FILE
        then = path.stat().st_mtime - STALE_S - 1
        os.utime(path, (then, then))
        other = Home(home.tables, tags=home.tags | {"t0": 2})
        decision = other.run()
        assert decision is not None
        assert (decision.release_id, decision.state) == (2, "released")

    home.meanwhile, home.epoch = overtake, 2
    home.tags = home.tags | {"t1": 3}
    with pytest.raises(BusyError, match="that it was overtaken"):
        home.run()
    assert home.states == [(1, "released"), (2, "released")]
    assert home.tables.read(TOPICS)["topic_epoch"].unique().to_pylist() == [1]


def test_a_run_that_was_overtaken_just_before_its_release_is_refused(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock says nothing yet; the log, in which a later run's number stands, refuses."""
    home.run()
    home.tags["t0"] = 2
    monkeypatch.setattr("vidtopics.releases.folder_lock.FolderLock.check", lambda lock: None)

    def overtake(*_: object) -> None:
        monkeypatch.setattr("vidtopics.jobs.releasing.wait_until_known", lambda logs: None)
        path = home.tables.home / FILE
        then = path.stat().st_mtime - STALE_S - 1
        os.utime(path, (then, then))
        assert Home(home.tables, tags=home.tags | {"t0": 3}).run() is not None

    monkeypatch.setattr("vidtopics.jobs.releasing.wait_until_known", overtake)
    with pytest.raises(BusyError, match=r"that it was overtaken: run \d+ has written since"):
        home.run()
    assert home.states == [(1, "released"), (2, "released")]


def test_a_second_run_is_refused_before_its_first_job(home: Home) -> None:
    with hold(home.tables.home, "vidtopics run"), pytest.raises(BusyError, match="`vidtopics run`"):
        home.run()
    assert not len(home.tables.commits(TAG_EMBEDDING))
    os.close(acquire(home.tables.home, "vidtopics run").file)
