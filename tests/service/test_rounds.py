"""The loops of a service: pace, outcomes, failures in a row, the end; no clock is asserted."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidtopics.errors import StoreError
from vidtopics.service.rounds import (
    BlockedError,
    Outcome,
    PartialError,
    Round,
    StandbyError,
    Supervisor,
    Work,
    seconds,
    signals,
)

RAISES: dict[Outcome, Exception | None] = {
    Outcome.OK: None,
    Outcome.FAILED: StoreError("no answer"),
    Outcome.LOCKED: StandbyError("another has it"),
    Outcome.BLOCKED: BlockedError("a gate"),
}


def script(outcomes: Sequence[Outcome], then: Callable[[], None]) -> Callable[[], dict[str, int]]:
    """Rounds that end as listed; behind the last `then` is called."""
    remaining = iter(outcomes)

    def once() -> dict[str, int]:
        outcome = next(remaining, None)
        if outcome is None:
            then()
            return {}
        if error := RAISES[outcome]:
            raise error
        return {"rows": 1}

    return once


def supervise(
    outcomes: Sequence[Outcome], max_failures: int | None = None
) -> tuple[list[Round], str]:
    ended: list[Round] = []

    def finish() -> None:
        supervisor.end()

    work = Work("load", 1e-4, script(outcomes, finish))
    supervisor = Supervisor([work], [ended.append], max_failures)
    supervisor.run()
    return ended, supervisor.exhausted


@given(st.lists(st.sampled_from(Outcome), max_size=12), st.integers(1, 4))
def test_failures_in_a_row_end_the_service_and_nothing_else_does(
    outcomes: list[Outcome], limit: int
) -> None:
    """A lock that another holds neither counts nor breaks the row; a gate and a success break it.

    The oracle reads the row off the outcomes' text.
    """
    ended, exhausted = supervise(outcomes, limit)
    text = "".join(o[0] for o in outcomes)  # o, f, l, b
    row = 0
    for position, letter in enumerate(text, 1):
        row = row + 1 if letter == "f" else row if letter == "l" else 0
        assert ended[position - 1].failures == row
        assert ended[position - 1].outcome == outcomes[position - 1]
        if row == limit:
            assert (len(ended), exhausted) == (position, "load")
            return
    assert (len(ended), exhausted) == (len(text) + 1, "")


def test_without_a_limit_a_service_goes_on() -> None:
    ended, exhausted = supervise([Outcome.FAILED] * 30)
    assert [r.failures for r in ended] == [*range(1, 31), 0]
    assert exhausted == ""
    assert isinstance(ended[0].error, StoreError)


def test_what_a_round_did_before_it_failed_is_reported() -> None:
    def once() -> dict[str, int]:
        raise PartialError("one view is damaged", {"rows": 3})

    ended: list[Round] = []
    Supervisor([Work("load", 1, once)], [ended.append], 1).run()
    assert [(r.outcome, r.facts, str(r.error)) for r in ended] == [
        (Outcome.FAILED, {"rows": 3}, "one view is damaged")
    ]


def test_the_end_interrupts_a_wait_but_no_round() -> None:
    """An hour's pace: the process would stay for as long if the end didn't wake it."""
    in_round, may_end = threading.Event(), threading.Event()
    finished = []

    def slow() -> dict[str, int]:
        in_round.set()
        may_end.wait()
        finished.append("slow")
        return {}

    idle, busy = Work("idle", 3_600, dict), Work("busy", 3_600, slow)
    supervisor = Supervisor([idle, busy], [lambda r: finished.append(r.work)])
    runner = threading.Thread(target=supervisor.run)
    runner.start()
    in_round.wait()
    supervisor.end()
    assert runner.is_alive()
    may_end.set()
    runner.join()
    assert sorted(finished) == ["busy", "idle", "slow"]


def test_a_work_that_is_due_does_not_wait_for_its_pace() -> None:
    loads = []

    def load() -> dict[str, int]:
        loads.append(1)
        if len(loads) == 2:
            supervisor.end()
        return {}

    first = threading.Event()
    second = Work("load", 3_600, load)

    def run() -> dict[str, int]:
        first.wait()
        second.due.set()
        return {}

    supervisor = Supervisor(
        [second, Work("run", 3_600, run)], [lambda r: first.set() if r.work == "load" else None]
    )
    supervisor.run()
    assert len(loads) == 2


def test_one_work_that_fails_too_often_ends_the_others() -> None:
    def fail() -> dict[str, int]:
        raise OSError

    supervisor = Supervisor([Work("a", 3_600, dict), Work("b", 1e-4, fail)], [], 3)
    supervisor.run()
    assert supervisor.exhausted == "b"


def test_a_bug_in_a_listener_ends_all_works_with_its_traceback() -> None:
    def listen(ended: Round) -> None:
        if ended.work == "b":
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        Supervisor([Work("a", 3_600, dict), Work("b", 3_600, dict)], [listen]).run()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_service_and_are_given_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    rounds: list[Round] = []

    def once() -> dict[str, int]:
        os.kill(os.getpid(), number)
        return {}

    supervisor = Supervisor([Work("load", 3_600, once)], [rounds.append])
    with signals(supervisor.end):
        supervisor.run()
    assert [r.outcome for r in rounds] == [Outcome.OK]
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("text", ["", "5", "0s", "-1m", "1.5h", "5 m", "5d"])
def test_a_duration_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write 30s, 5m or 1h"):
        seconds(text)
