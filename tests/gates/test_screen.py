"""The screen of the gates: one screen, the worst first, and how to go on."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from vidtopics.gates import Verdict, render


def lines(verdicts: list[Verdict], width: int = 100) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width, force_terminal=False).print(render(verdicts))
    return file.getvalue().splitlines()


def verdict(n: int, level: str, **more: object) -> Verdict:
    keys = tuple(f"video_with_a_rather_long_name_{i:06d}" for i in range(10))
    fields = {"examples": keys, "history": (0.01, 0.02, 0.01, 0.03, 0.02), **more}
    return Verdict(f"video_topics.column_{n}.psi", 0.5, 0.1, 0.3, level, **fields)  # type: ignore[arg-type]


def test_what_is_blocked_and_what_lets_it_pass() -> None:
    ended = Verdict(
        "video_topics.ended_share",
        0.42,
        0.1,
        0.3,
        "block",
        examples=("v1", "[red]v2\x1b[2J"),
        history=(0.01, 0.02),
    )
    few = Verdict("topics.gini", 0.5, 0.8, 0.95, "not applied", "19 keys, fewer than 20")
    gini = Verdict("video_topics.gini", 0.85, 0.8, 0.95, "warn")
    assert lines([Verdict("topics.rows", 9, 1, 1, "ok"), gini, few, ended]) == [
        "Gates: blocked. 1 of 4 figures are past their block limit, 1 past their warn limit.",
        "block video_topics.ended_share 0.42 is above 0.3",
        "      last values: 0.01  0.02",
        r"      changed most: v1, [red]v2\x1b[2J",
        "warn  video_topics.gini 0.85 is above 0.8",
        "Not applied: 19 keys, fewer than 20 (1)",
        "The last release stays in force. Mend the cause and run again, or let this one pass:",
        "vidtopics release \\",
        "  --allow video_topics.ended_share \\",
        '  --because "..."',
    ]


def test_where_nothing_is_blocked_there_is_nothing_to_let_pass() -> None:
    assert lines([Verdict("topics.rows", 9, 1, 1, "ok")]) == [
        "Gates: passed. 0 of 1 figures are past their block limit, 0 past their warn limit."
    ]


@pytest.mark.parametrize("count", [1, 4, 40])
def test_it_is_one_screen_however_much_is_wrong(count: int) -> None:
    verdicts = [
        verdict(n, level, note=f"reason {n}" if level == "not applied" else "")
        for n in range(count)
        for level in ("block", "warn", "not applied")
    ]
    shown = lines(verdicts)
    assert len(shown) <= 40
    assert max(map(len, shown)) <= 100


@pytest.mark.parametrize("width", [80, 120])
def test_commands_are_not_broken_by_a_narrow_terminal(width: int) -> None:
    shown = lines([verdict(1, "block")], width)
    assert "  --allow video_topics.column_1.psi \\" in shown
