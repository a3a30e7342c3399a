"""The command that kills senders, consumers, Redis and materialisation, with fewer kills."""

from __future__ import annotations

import pytest

from benchmarks import event_kills


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_was_acknowledged_counts_once_whatever_is_killed() -> None:
    made = event_kills.kill(20, seed=11)
    assert made.kills.total() >= 20
    assert {"sender", "consumer", "redis"} <= set(made.kills)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_event_that_is_missing_is_a_difference() -> None:
    """The check can fail."""
    with event_kills.world("always", 3) as made:
        made.check()
        made.log.shown["never-sent"] = (made.log.users[0], made.log.videos[0])
        with pytest.raises(event_kills.DifferenceError, match=r"videos: .* of 1: {'v0'"):
            made.check()
        with pytest.raises(event_kills.DifferenceError, match=r"impressions: .*never-sent': .None"):
            made.check_log()
