"""How a run ends: what it names becomes a release, a candidate, or a rejected one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vidtopics.contracts import DERIVED, INPUTS
from vidtopics.gates import Verdict, judge
from vidtopics.jobs import composition
from vidtopics.jobs.job import Job, Run
from vidtopics.releases.allowing import NEVER_ALLOWED
from vidtopics.settings import digest
from vidtopics.tables import Publication
from vidtopics.tables.releases import (
    TOPIC_MODEL,
    Release,
    State,
    append,
    in_force,
    operator,
    read_log,
)
from vidtopics.tables.stamps import wait_until_known

BLOCK = "block: "


@dataclass(frozen=True)
class Decision:
    """What became of a run's release.

    `verdicts`: of the gates. `reasons`: why it is a candidate.
    """

    release_id: int
    state: State
    verdicts: Sequence[Verdict] = ()
    reasons: Sequence[str] = field(default_factory=tuple)

    @property
    def objections(self) -> list[str]:
        """All that keeps it from being released: the reasons, and the gates that block.

        >>> verdict = Verdict("topics.rows", 0, 1, 1, "block")
        >>> Decision(3, "rejected", [verdict]).objections
        ['topics.rows block: 0 is below 1']
        """
        blocked = [v for v in self.verdicts if v.verdict == "block"]
        return [*self.reasons, *(f"{v.name} {v.text}" for v in blocked)]


def updated_versions(
    run: Run, versions: Mapping[str, int], job: Job, publication: Publication
) -> dict[str, int]:
    """The versions that a run names after one of its jobs: with its own and what it read."""
    log = run.tables.commits(job.table)
    commit = next(c for c in reversed(log) if c.version == publication.version)
    own = composition.named_version(run.tables, job.table, publication.version)
    read = {t.name: max(commit.inputs.get(t.name, 0), versions.get(t.name, 0)) for t in INPUTS}
    changed = {**read, job.name: max(own, versions.get(job.name, 0))}
    return {**versions, **{name: version for name, version in changed.items() if version}}


def decide(run: Run, versions: Mapping[str, int], quality: Mapping[str, float]) -> Decision | None:
    """Append what became of the versions that a run names; None where they are in force already.

    Tables that weren't computed from each other make a candidate, a gate that blocks a rejected
    release: the release in force stays. A run that comes to the same versions again has the same
    number.

    Raises:
        BusyError: a later run took this one's place.
    """
    log = read_log(run.tables)
    current = in_force(log)
    if current and current.versions == versions:
        return None
    epochs, models = composition.topic_epochs(run.tables), composition.topic_models(run.tables)
    reasons = _reasons(run, versions, epochs, models)
    if models:
        quality = {**quality, TOPIC_MODEL: max(models.values())}
    verdicts = judge(
        run.tables,
        current.versions if current else None,
        versions,
        as_of_us=run.as_of_us,
        settings=run.settings.gates,
        last_as_of_us=current.as_of_us if current else None,
        models=(current.topic_model if current else 0, max(models.values(), default=0)),
        history=figures_of(log),
    )
    wait_until_known(run.tables.commits(t) for t in DERIVED if t.name in versions)
    row = Release(
        number_of(log, versions),
        _state(reasons, verdicts),
        run.as_of_us,
        run.created_us,
        versions,
        max(epochs.values(), default=0),
        digest(run.settings),
        quality=quality,
        figures={v.name: v.figure for v in verdicts if v.figure is not None},
        verdicts={v.name: v.text for v in verdicts} | reasons,
        by=operator(),
    )
    if run.lock:
        run.lock.check()
    append(run.tables, [row], run=run.lock.number if run.lock else 0)
    texts = tuple(reason.removeprefix(BLOCK) for reason in reasons.values())
    return Decision(row.release_id, row.state, verdicts, texts)


def _reasons(
    run: Run, versions: Mapping[str, int], epochs: Mapping[str, int], models: Mapping[str, int]
) -> dict[str, str]:
    """Why the tables don't belong together, as verdicts; empty where they do."""
    reasons = {b.gate: f"{BLOCK}{b}" for b in composition.find_behind(run, versions)}
    for name, of_tables, what in (
        (NEVER_ALLOWED, epochs, "epoch"),
        ("topics.model", models, "topic model"),
    ):
        if len(set(of_tables.values())) > 1:
            reasons[name] = BLOCK + composition.describe(of_tables, what)
    return reasons


def _state(reasons: Mapping[str, str], verdicts: Sequence[Verdict]) -> State:
    if reasons:
        return "candidate"
    return "rejected" if any(v.verdict == "block" for v in verdicts) else "released"


def number_of(log: Sequence[Release], versions: Mapping[str, int]) -> int:
    """That of the last release, if it has these versions and was never released; else the next.

    >>> row = Release(3, "rejected", 0, 0, {"topics": 7})
    >>> number_of([row], {"topics": 7}), number_of([row], {"topics": 8}), number_of([], {})
    (3, 4, 1)
    """
    last = max((row.release_id for row in log), default=0)
    rows = [row for row in log if row.release_id == last]
    pending = all(row.state in ("candidate", "rejected") for row in rows)
    return last if rows and pending and rows[-1].versions == versions else last + 1


def figures_of(log: Sequence[Release]) -> dict[str, list[float]]:
    """What the gates measured of earlier releases, by name, oldest first.

    >>> rows = [Release(n, "released", 0, 0, {}, figures={"topics.gini": n / 10}) for n in (1, 2)]
    >>> figures_of(rows)
    {'topics.gini': [0.1, 0.2]}
    """
    figures: dict[str, list[float]] = {}
    for row in log:
        if row.state == "released":
            for name, value in row.figures.items():
                figures.setdefault(name, []).append(value)
    return figures
