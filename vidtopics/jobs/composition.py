"""What a release names, and whether the tables that it names were computed from each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vidtopics.contracts import DERIVED, TABLES, TOPIC_QUEUES, TOPICS, VIDEO_TOPICS, Table
from vidtopics.jobs.job import REPEATS_US, Run
from vidtopics.tables import FOREVER, Commit, Tables
from vidtopics.tables.commits import CommitLog, data_version, latest_commit
from vidtopics.tables.releases import TOPIC_MODEL


@dataclass(frozen=True)
class Behind:
    """A table of a release that was computed from another version of an input than it names."""

    table: str
    reads: str
    computed_from: int
    named: int

    @property
    def gate(self) -> str:
        """What the verdict is called."""
        return f"{self.table}.{self.reads}"

    def __str__(self) -> str:
        return (
            f"{self.table} was computed from version {self.computed_from} of {self.reads}, "
            f"this release names {self.named}"
        )


def named_version(tables: Tables, table: Table, published: int) -> int:
    """The last version up to `published` that changed rows; 0 where none did."""
    log = tables.commits(table).until(published)
    return data_version(table, log, as_of_us=FOREVER, known_by_us=FOREVER)


def find_behind(run: Run, versions: Mapping[str, int]) -> list[Behind]:
    """The tables that weren't computed from what a release would name.

    Of each derived table the commit counts that the run would read. Tables of deliveries aren't
    compared: deliveries go on while jobs run.
    """
    logs = {t.name: run.tables.commits(t) for t in DERIVED if versions.get(t.name)}
    return list(_compare(logs, run.as_of_us))


def _compare(logs: Mapping[str, CommitLog], as_of_us: int) -> Iterator[Behind]:
    for name, log in logs.items():
        commit = latest_commit(log, as_of_us)
        if commit is None:
            continue
        known_us = FOREVER if commit.live else commit.created_us + REPEATS_US
        for reads in commit.inputs.keys() & logs.keys():
            now = data_version(
                TABLES[reads], logs[reads], as_of_us=commit.as_of_us, known_by_us=known_us
            )
            if now != commit.inputs[reads]:
                yield Behind(name, reads, commit.inputs[reads], now)


def topic_models(tables: Tables) -> dict[str, int]:
    """The topic model version that each table's latest rows were made with, where one was."""
    commits = {t.name: latest_commit(tables.commits(t), FOREVER) for t in DERIVED}
    return {
        name: int(commit.facts[TOPIC_MODEL])
        for name, commit in commits.items()
        if commit and TOPIC_MODEL in commit.facts
    }


def topic_epochs(tables: Tables) -> dict[str, int]:
    """The epoch of the topics that each of three tables' latest rows were made from.

    Those are topics, video_topics and topic_queues; one without such a run is left out.
    """
    topics, assigned, queues = (tables.commits(t) for t in (TOPICS, VIDEO_TOPICS, TOPIC_QUEUES))
    own, of_video, of_queue = (latest_commit(log, FOREVER) for log in (topics, assigned, queues))
    made_from = {
        TOPICS.name: own,
        VIDEO_TOPICS.name: _read_by(of_video, topics, TOPICS),
        TOPIC_QUEUES.name: _read_by(_read_by(of_queue, assigned, VIDEO_TOPICS), topics, TOPICS),
    }
    return {
        name: int(commit.facts.get("topic_epoch", 0))
        for name, commit in made_from.items()
        if commit
    }


def describe(of_tables: Mapping[str, int], what: str) -> str:
    """Which table has which epoch or topic model.

    >>> describe({"topics": 2, "topic_queues": 1}, "epoch")
    'topics of epoch 2, topic_queues of epoch 1'
    """
    return ", ".join(f"{name} of {what} {number}" for name, number in of_tables.items())


def _read_by(commit: Commit | None, log: CommitLog, table: Table) -> Commit | None:
    """The commit to `table` whose rows a commit was computed from.

    Of the version that it read not the last one, which may be a backfill of an earlier time, but
    the latest one as of its own time.
    """
    if commit is None or table.name not in commit.inputs:
        return None
    return log.until(commit.inputs[table.name]).latest_as_of(commit.as_of_us)
