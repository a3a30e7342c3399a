"""The metadata of our commits: runs, data-changing versions, skip keys.

One JSON text under the commit's `userMetadata`, the key that Spark writes and that both engines'
histories show.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from deltalake import DeltaTable

from vidtopics.contracts import Table
from vidtopics.layout.known import known_fields
from vidtopics.paths import from_uri
from vidtopics.settings import digest

METADATA = "userMetadata"
ROLLBACK = "rollback_to"
"""The fact of a commit that brought back the values of an earlier version: that version."""
ENTRY = re.compile(r"\d{20}\.json")


@dataclass(frozen=True)
class Commit:
    """One run of one job as its commit records it.

    `as_of_us`, `created_us`: from when the values hold and are known. `live`: the wall clock, no
    backfill. `inputs`: the last data-changing version of every input that the run could know.
    `facts`: figures of the result (topic epoch, quality). `rows` and `created_min_us` are filled in
    when the difference is known; `content` hashes a snapshot. `lead_us`: how far ahead of its
    write a live run stamped `created_us`.
    """

    job: str
    as_of_us: int
    created_us: int
    live: bool = False
    code: str = ""
    settings: str = ""
    weights: str = ""
    inputs: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, float | str] = field(default_factory=dict)
    rows: int = 0
    created_min_us: int | None = None
    content: str = ""
    ordinal: int = 0
    lead_us: int = 0
    version: int = -1

    @property
    def skip_key(self) -> str:
        """Equal where a run would give the same result. A live run's time is not part of it."""
        return digest(
            self.job,
            self.code,
            self.settings,
            self.weights,
            dict(self.inputs),
            "live" if self.live else self.as_of_us,
        )

    def to_json(self) -> str:
        """The text for the commit's metadata."""
        return json.dumps({**asdict(self), "key": self.skip_key, "vidtopics": 1}, sort_keys=True)


def commits(table: DeltaTable) -> list[Commit]:
    """Our commits to a table, oldest first; those of others (OPTIMIZE, VACUUM) are left out."""
    log = from_uri(table.table_uri) / "_delta_log"
    versions = sorted(int(name[:20]) for name in os.listdir(log) if ENTRY.fullmatch(name))
    ours = (_commit(log, version) for version in versions if version <= table.version())
    return [commit for commit in ours if commit is not None]


def _commit(log: Path, version: int) -> Commit | None:
    """The commit that made a version; None where it isn't ours.

    The file is read here, since delta-rs' `history` is empty below a folder with `#` or `?`, and
    off by the commits that came since its handle was opened.
    """
    with open(log / f"{version:020}.json", encoding="utf-8") as actions:
        info = next((line for line in actions if '"commitInfo"' in line[:20]), "{}")
    text = json.loads(info).get("commitInfo", {}).get(METADATA)
    if not text or '"vidtopics"' not in text:
        return None
    fields = json.loads(text)
    del fields["key"], fields["vidtopics"]
    return replace(Commit(**known_fields(Commit, fields)), version=version)


def data_version(table: Table, log: list[Commit], *, as_of_us: int, known_by_us: int) -> int:
    """The last version that changed what a reader at these times sees; 0 if none.

    A snapshot table is read as of the latest run up to the as-of time; where that run found the
    rows unchanged, at the version that wrote them.
    """
    if table.kind == "snapshot":
        runs = [c for c in log if c.as_of_us <= as_of_us]
        if not runs:
            return 0
        latest = max(runs, key=lambda c: (c.as_of_us, c.version))
        wrote = [
            c
            for before, c in zip([None, *log], log, strict=False)
            if before is None or c.content != before.content
        ]
        return max(c.version for c in wrote if c.version <= latest.version)
    seen = (
        c.version
        for c in log
        if c.rows and c.created_min_us is not None and c.created_min_us <= known_by_us
    )
    return max(seen, default=0)


def latest_commit(log: Sequence[Commit], as_of_us: int) -> Commit | None:
    """The last commit of the latest as-of time up to that one; None where there is none.

    Commits that a rollback took back don't count.

    >>> log = [Commit("j", 10, 11, version=1), Commit("j", 20, 21, version=2)]
    >>> log += [Commit("j", 30, 31, facts={ROLLBACK: "1"}, version=3)]
    >>> [latest_commit(log, at).version for at in (15, 25, 35)]
    [1, 1, 3]
    """
    known = (c for c in standing(log) if c.as_of_us <= as_of_us)
    return max(known, key=lambda c: (c.as_of_us, c.version), default=None)


def standing(log: Sequence[Commit]) -> list[Commit]:
    """The commits that no rollback took back; nor one that went back to before the first."""
    taken_back = [(int(c.facts[ROLLBACK]), c.version) for c in log if ROLLBACK in c.facts]
    return [
        c
        for c in log
        if c.facts.get(ROLLBACK) != "0"
        and not any(low < c.version < high for low, high in taken_back)
    ]


def is_done(log: list[Commit], commit: Commit) -> bool:
    """Whether the last run at this as-of time (or the last live run) had the same skip key."""
    same = [
        c
        for c in log
        if c.job == commit.job and (c.live if commit.live else c.as_of_us == commit.as_of_us)
    ]
    return bool(same) and same[-1].skip_key == commit.skip_key


def next_ordinal(log: list[Commit], job: str) -> int:
    """The number of the job's next transaction on this table."""
    return max((c.ordinal for c in log if c.job == job), default=0) + 1
