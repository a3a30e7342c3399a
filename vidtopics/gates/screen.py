"""The screen of a release's gates: what is blocked, why, and how to let it pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from vidtopics.faults import visible
from vidtopics.gates.verdicts import Verdict

BLOCKED, WARNED, NAMED, ALLOWED, KEY_LENGTH = 3, 5, 3, 6, 26
"""At most so many of each are shown, so that the whole has 40 lines at 100 columns."""


def render(verdicts: Sequence[Verdict]) -> RenderableType:
    """One screen: blocked figures first, each with its limit, last five values and ten keys."""
    blocked = [v for v in verdicts if v.verdict == "block"]
    warned = [v for v in verdicts if v.verdict == "warn"]
    return Group(
        _title(verdicts, blocked, warned),
        *(line for verdict in blocked[:BLOCKED] for line in _blocked(verdict)),
        *_others("Also blocked", blocked[BLOCKED:]),
        *(_headline(verdict, "warn ", "yellow") for verdict in warned[:WARNED]),
        *_others("Also warned of", warned[WARNED:]),
        *_not_applied(verdicts),
        *_way_on(blocked),
    )


def _title(
    verdicts: Sequence[Verdict], blocked: Sequence[Verdict], warned: Sequence[Verdict]
) -> Text:
    state = ("Gates: blocked. ", "bold red") if blocked else ("Gates: passed. ", "bold green")
    counts = f"{len(blocked)} of {len(verdicts)} figures are past their block limit"
    return Text.assemble(state, f"{counts}, {len(warned)} past their warn limit.")


def _headline(verdict: Verdict, level: str, style: str) -> Text:
    reason = verdict.text.partition(": ")[2]
    return Text.assemble((level, style), " ", (verdict.name, "bold"), f" {reason}")


def _blocked(verdict: Verdict) -> Iterator[RenderableType]:
    yield _headline(verdict, "block", "bold red")
    last = "  ".join(f"{value:.4g}" for value in verdict.history) or "none"
    yield _indented(f"last values: {last}")
    if verdict.examples:
        keys = ", ".join(_short(visible(key)) for key in verdict.examples)
        yield _indented(f"changed most: {keys}")


def _indented(text: str) -> Padding:
    return Padding(Text(text), (0, 0, 0, 6), expand=False)


def _short(key: str) -> str:
    """A key with its middle left out where it is long.

    >>> _short("v0000042"), _short("a_rather_long_name_of_video_000042")
    ('v0000042', 'a_rather_lon…_video_000042')
    """
    half = KEY_LENGTH // 2
    return key if len(key) <= KEY_LENGTH else f"{key[: half - 1]}…{key[-half:]}"


def _others(title: str, verdicts: Sequence[Verdict]) -> Iterator[Text]:
    if verdicts:
        names, rest = [v.name for v in verdicts[:NAMED]], len(verdicts) - NAMED
        more = f" and {rest} more" if rest > 0 else ""
        yield Text(f"{title}: {', '.join(names)}{more}")


def _not_applied(verdicts: Sequence[Verdict]) -> Iterator[Text]:
    notes = Counter(v.note for v in verdicts if v.verdict == "not applied")
    if notes:
        parts = [f"{note} ({count})" for note, count in notes.most_common(NAMED)]
        more = "; ..." if len(notes) > NAMED else ""
        yield Text(f"Not applied: {'; '.join(parts)}{more}")


def _way_on(blocked: Sequence[Verdict]) -> Iterator[RenderableType]:
    if not blocked:
        return
    yield Text(
        "The last release stays in force. Mend the cause and run again, or let this one pass:"
    )
    allowed = [f"  --allow {verdict.name} \\" for verdict in blocked[:ALLOWED]]
    yield Text("\n".join(["vidtopics release \\", *allowed, '  --because "..."']))
    if len(blocked) > ALLOWED:
        yield Text("with all that are blocked: `vidtopics releases --json` names them.")
