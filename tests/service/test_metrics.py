"""Metrics of a service: what a status and rounds show, and the table of them in the docs."""

from __future__ import annotations

import re
import time
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn, cast

import pytest
import redis
from exported import (
    WORKS,
    events_registry,
    labels_of,
    online_registry,
    service_registry,
    serving_registry,
)

from vidtopics.contracts import RELEASES
from vidtopics.materialization.reports import Moved
from vidtopics.online.connections import Connection
from vidtopics.service import status
from vidtopics.service.metrics import ServiceMetrics
from vidtopics.service.rounds import (
    BlockedError,
    Outcome,
    PartialError,
    Round,
    Work,
    _attempt,
)
from vidtopics.service.status import Status, read_status
from vidtopics.tables import Tables
from vidtopics.tables.releases import Release, State, append

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
ROW = re.compile(r"^\| `(vidtopics_\w+)(?:\{([\w, ]+)\})?` \| (histogram)?", re.MULTILINE)


def test_the_docs_name_every_metric_and_its_labels() -> None:
    documented = {}
    for name, labels, histogram in ROW.findall(PAGE.read_text(encoding="utf-8")):
        documented[f"{name}_bucket" if histogram else name] = set(
            filter(None, labels.split(", "))
        ) | ({"le"} if histogram else set())
    registries = service_registry(), serving_registry(), events_registry()
    all_labels = dict(chain.from_iterable(labels_of(r).items() for r in registries))
    of_the_client = labels_of(online_registry())  # docs/online.md has its table
    exported = {
        name: labels
        for name, labels in all_labels.items()
        if name not in of_the_client and not name.endswith(("_created", "_sum", "_count"))
    }
    plain = {n for n in exported if {f"{n}_total", f"{n}_bucket"} & exported.keys()}
    assert documented == {n: labels for n, labels in exported.items() if n not in plain}


def log(home: Path, *rows: Release) -> Tables:
    """A home whose release log has these rows, each a commit of its own."""
    tables = Tables(home)
    for row in rows:
        append(tables, [row], run=1)
    return tables


def nobody() -> AbstractContextManager[Connection]:
    raise redis.ConnectionError("no answer")


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis has release 2 live and is pinned to 3, which became known 40 s ago."""
    monkeypatch.setattr(status, "loaded_release", lambda connection, prefix: 2)
    monkeypatch.setattr(status, "pinned", lambda store: SimpleNamespace(release=3))
    monkeypatch.setattr(status, "lag_s", lambda tables, loaded, until: 40.0 if until == 3 else 0)


def judged(number: int, state: State, **verdicts: str) -> Release:
    figures = dict.fromkeys(verdicts, 0.25)
    return Release(number, state, number, number, {}, figures=figures, verdicts=verdicts)


@pytest.mark.usefixtures("live")
def test_a_status_shows_states_and_the_newest_verdicts(tmp_path: Path) -> None:
    tables = log(
        tmp_path,
        judged(1, "rejected", ended="ok"),
        judged(2, "released", ended="warn .25 > .2"),
        judged(3, "rejected", ended="block .25 > .1", psi="allowed: sale"),
    )
    seen = read_status(tables, lambda: nullcontext(cast("Connection", None)), "vt")
    assert (seen.in_force, seen.live, seen.latest) == (2, 2, {"released": 2, "rejected": 3})
    assert seen.verdicts == {"ended": 2, "psi": 0}
    metrics = ServiceMetrics(Path(), WORKS)
    metrics.observe(seen)
    value = metrics.registry.get_sample_value
    assert value("vidtopics_release_in_force") == 2
    assert value("vidtopics_release_live") == 2
    assert value("vidtopics_release_latest", {"state": "rejected"}) == 3
    assert value("vidtopics_gate_verdict", {"gate": "ended"}) == 2
    assert value("vidtopics_gate_figure", {"gate": "psi"}) == 0.25
    assert (value("vidtopics_materialize_lag_seconds") or 0) >= 40
    metrics.observe(Status(in_force=3, verdicts={"psi": 1}))
    assert value("vidtopics_gate_verdict", {"gate": "ended"}) is None  # of a release before
    assert value("vidtopics_gate_verdict", {"gate": "psi"}) == 1


@pytest.mark.usefixtures("live")
def test_what_cannot_be_read_is_nan_and_never_0(tmp_path: Path) -> None:
    broken = cast("Tables", SimpleNamespace(newest_rows=lambda _: 1 / 0))
    homes = (log(tmp_path / "a", judged(2, "released")), 2), (broken, None), (log(tmp_path), None)
    for tables, in_force in homes:
        seen = read_status(tables, nobody, "vt")
        assert (seen.in_force, seen.live, str(seen.lag_now_s())) == (in_force, None, "nan")
    metrics = ServiceMetrics(Path("/no/such/home"), WORKS)
    names = "release_in_force", "release_live", "materialize_lag_seconds", "home_free_bytes"
    for name in (*names, "release_waiting_seconds"):
        assert str(metrics.registry.get_sample_value(f"vidtopics_{name}")) == "nan"


@pytest.mark.usefixtures("live")
def test_rows_before_the_release_in_force_are_not_read(tmp_path: Path) -> None:
    """A look after each round costs the same after a year: their commits may be gone."""
    tables = log(
        tmp_path,
        judged(1, "rejected"),
        judged(2, "released", ended="ok"),
        judged(3, "released"),
        judged(3, "rolled_back"),
    )
    (tables.path(RELEASES) / "_delta_log" / f"{1:020}.json").unlink()  # of release 1
    seen = read_status(tables, nobody, "vt")
    assert (seen.in_force, seen.latest) == (2, {"released": 3, "rolled_back": 3})


def test_what_waits_is_as_old_as_the_first_release_that_nobody_released(tmp_path: Path) -> None:
    """Release 2 was rejected at 3 s, 3 at 4 s; 4 is released, which ends it; all since 1970."""

    def made(number: int, state: State, second: int) -> Release:
        return Release(number, state, 0, second * 1_000_000, {})

    rows = [made(1, "released", 2), made(2, "rejected", 3), made(3, "candidate", 4)]
    tables = log(tmp_path / "a", *rows)
    metrics, now_s = ServiceMetrics(Path(), WORKS), time.time()
    metrics.observe(read_status(tables, nobody, "vt"))
    value = metrics.registry.get_sample_value("vidtopics_release_waiting_seconds")
    assert value == pytest.approx(now_s - 3, abs=60)
    append(tables, [made(4, "released", 5)], run=1)
    metrics.observe(read_status(tables, nobody, "vt"))
    assert metrics.registry.get_sample_value("vidtopics_release_waiting_seconds") == 0
    metrics.observe(read_status(log(tmp_path / "b", made(1, "rejected", 7)), nobody, "vt"))
    first = metrics.registry.get_sample_value("vidtopics_release_waiting_seconds")
    assert first == pytest.approx(now_s - 7, abs=60)


def test_what_was_rolled_back_waits_for_nobody(tmp_path: Path) -> None:
    """Times are microseconds since 1970, and the numbers of the releases."""
    rows = [judged(1, "released"), judged(2, "released"), judged(2, "rolled_back")]
    tables = log(tmp_path, *rows)
    assert read_status(tables, nobody, "vt").waiting_us == 0
    append(tables, [judged(3, "rejected")], run=1)
    assert read_status(tables, nobody, "vt").waiting_us == 3


def test_a_lag_grows_until_the_next_round_and_none_stays_none() -> None:
    assert Status(lag_s=10, read_s=-1e9).lag_now_s() >= 1e9
    assert Status(lag_s=0, read_s=-1e9).lag_now_s() == 0


def test_rounds_are_counted_from_0_by_how_they_end() -> None:
    metrics = ServiceMetrics(Path(), WORKS)
    value = metrics.registry.get_sample_value
    run = {"work": "run"}
    outcomes = {o: value("vidtopics_round_outcomes_total", run | {"outcome": o}) for o in Outcome}
    assert outcomes == dict.fromkeys(Outcome, 0)
    began = value("vidtopics_round_last_success_timestamp_seconds", run)
    metrics.ended(Round("run", 1, Outcome.FAILED, 2.0, 1, {}, OSError()))
    metrics.ended(Round("run", 2, Outcome.BLOCKED, 2.0, 0, {}, BlockedError()))
    assert value("vidtopics_round_last_success_timestamp_seconds", run) == began
    assert value("vidtopics_round_errors_total", run | {"kind": "OSError"}) == 1
    assert value("vidtopics_round_errors_total", run | {"kind": "BlockedError"}) is None
    moved = [Moved("topics", 3, written=4, why="asked for"), Moved("topics", 3, written=1)]
    metrics.ended(Round("materialize", 1, Outcome.OK, 0.3, 0, {"moved": moved}))
    assert value("vidtopics_materialize_rows_total", {"view": "topics"}) == 5
    assert value("vidtopics_materialize_rebuilds_total", {"view": "topics"}) == 1
    assert value("vidtopics_round_seconds_count", run) == 2
    assert value("vidtopics_round_interval_seconds", run) == 3_600


def test_a_view_left_behind_shows_until_a_round_brings_it() -> None:
    metrics = ServiceMetrics(Path(), WORKS)
    value = metrics.registry.get_sample_value
    behind = [Moved("topics", 3, error="no file"), Moved("video_topics", 3, written=2)]
    supervised = Work(
        "materialize", 300, lambda: raised(PartialError("no file", {"moved": behind}))
    )
    metrics.ended(_attempt(supervised, 1, 0))
    damaged = [value("vidtopics_materialize_damaged", {"view": m.name}) for m in behind]
    assert damaged == [1, 0]
    assert value("vidtopics_materialize_rows_total", {"view": "video_topics"}) == 2
    metrics.ended(Round("materialize", 2, Outcome.OK, 0.3, 0, {"moved": [Moved("topics", 3)]}))
    assert value("vidtopics_materialize_damaged", {"view": "topics"}) == 0


def raised(error: Exception) -> NoReturn:
    raise error
