"""Good and bad impressions in any mixture, against a plain reading of the rules, row by row."""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from small_delivery import IMPRESSIONS, Deliver

HEADER = IMPRESSIONS.strip() + ",clicked_at,watch_seconds,event_id\n"


class Row(NamedTuple):
    user: str
    video: str
    time: str
    clicked: str
    clicked_at: str
    watch: str
    event_id: str
    damage: str

    @property
    def line(self) -> bytes:
        spoilt = {"not_utf8": b"\xff", "nul_byte": b"\0"}.get(self.damage, b"")
        user, *rest = (field.replace('"', '""').encode() for field in self[:-1])
        text = (
            b'"'
            + spoilt
            + user
            + b'",'
            + b",".join(b'"' + field + b'"' if field else b"" for field in rest)
        )
        if self.damage == "malformed_row":
            return b'"x"y' + text.replace(b"\n", b" ")  # on one line, as reading resumes after it
        return text + b",x" if self.damage == "field_count" else text


def mostly(good: list[str], bad: list[str]) -> st.SearchStrategy[str]:
    return st.sampled_from(good * 12 + bad)


rows = st.builds(
    Row,
    user=mostly(["u1", 'quoted "word", comma', "🎬"], ["", "é" * 65, "ta\tb", "line\nend"]),
    video=mostly(["v1", "v2"], ["v9", ""]),
    time=mostly(["2026-02-01", "2026-02-02T00:00:00Z"], ["later", "1850-01-01", "2030-01-01", ""]),
    clicked=mostly(["0", "1", "1"], ["2", ""]),
    clicked_at=mostly(["", ""], ["2026-01-31", "2026-02-03", "now"]),
    watch=mostly(["", "1.5"], ["nan", "-1", "long"]),
    event_id=st.sampled_from(["", "", "a", "b", *map(str, range(60))]),
    damage=mostly(["", ""], ["field_count", "malformed_row", "not_utf8", "nul_byte"]),
)


def time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        return None


def time_reason(text: str) -> str | None:
    moment = time(text)
    if moment is None:
        return "bad_time"
    return (
        "early_time"
        if moment.year < 1900
        else "future_time"
        if moment > datetime(2026, 11, 23, 12)
        else None
    )


def id_reason(text: str) -> str | None:
    if not text:
        return "empty_id"
    return (
        "long_id"
        if len(text.encode()) > 128
        else "control_character"
        if any(c < " " for c in text)
        else None
    )


def click_reason(row: Row) -> str | None:
    if row.clicked not in ("0", "1"):
        return "bad_clicked"
    if row.clicked_at and time_reason(row.clicked_at):
        return time_reason(row.clicked_at)
    if row.clicked_at and row.clicked == "0":
        return "contradicting_click"
    if row.clicked_at and time(row.clicked_at) < time(row.time):
        return "click_before_impression"
    if row.watch == "long":
        return "bad_number"
    if row.watch and not math.isfinite(float(row.watch)):
        return "not_finite"
    return "negative_watch" if row.watch and float(row.watch) < 0 else None


def reason(row: Row) -> str | None:
    return (
        row.damage
        or id_reason(row.user)
        or id_reason(row.video)
        or time_reason(row.time)
        or click_reason(row)
        or ("unknown_video" if row.video == "v9" else None)
    )


def oracle(delivered: list[Row]) -> tuple[dict[int, str], list[Row]]:
    """Reason by row number, and the accepted rows, in their order."""
    refused = {number: why for number, row in enumerate(delivered, 1) if (why := reason(row))}
    groups = defaultdict(list)
    for number, row in enumerate(delivered, 1):
        if number not in refused:
            groups[row.event_id or (row.user, row.video, time(row.time))].append((number, row))
    accepted = []
    for group in groups.values():
        rows = [
            row._replace(time=time(row.time), clicked_at=time(row.clicked_at)) for _, row in group
        ]
        # what a row doesn't say, another of its impression may
        values = [set(column) - {"", None} for column in zip(*rows, strict=True)]
        if all(len(column) <= 1 for column in values):
            number, row = group[0]
            watch = values[Row._fields.index("watch")]
            accepted.append((number, row._replace(watch=next(iter(watch), ""))))
        else:
            refused |= dict.fromkeys((number for number, _ in group), "conflicting_rows")
    return refused, [row for _, row in sorted(accepted)]


# Without shrinking: a failing mixture is short enough to read, and each attempt stages a delivery.
@settings(max_examples=10, phases=[Phase.explicit, Phase.generate])
@given(st.lists(rows, min_size=20, max_size=40))
def test_what_is_kept_and_what_is_refused_is_what_the_rules_say(delivered):
    with tempfile.TemporaryDirectory() as root:
        content = HEADER.encode() + b"".join(row.line + b"\n" for row in delivered)
        staged = Deliver(Path(root))(impressions=content)
    refused, accepted = oracle(delivered)
    assert dict(staged.rejected("impressions") + staged.rejected("clicks")) == refused
    assert [row["user_id"] for row in staged.tables["impressions"]] == [
        row.user for row in accepted
    ]
    assert [row["watch_seconds"] for row in staged.tables["clicks"]] == [
        float(row.watch) if row.watch else None for row in accepted if row.clicked == "1"
    ]
    file = staged.file("impressions.csv")
    assert (file.accepted, file.refused_rows) == (len(accepted), len(refused))
    assert file.accepted + file.refused_rows + file.left_out == len(delivered)
