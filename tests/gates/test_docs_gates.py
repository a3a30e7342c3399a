"""docs/releases.md has every figure with its default limits."""

from __future__ import annotations

import re
from pathlib import Path

from vidtopics.settings import GateSettings, Limits

PAGE = Path(__file__).parents[2] / "docs" / "releases.md"
ROW = re.compile(r"^\| `(\w+)` \|.*\| (\S+) \| (\S+) \|$", re.MULTILINE)


def limit(text: str) -> float | None:
    return None if text == "off" else float(text)


def test_every_figure_is_there_with_its_limits() -> None:
    page = {n: Limits(warn=limit(w), block=limit(b)) for n, w, b in ROW.findall(PAGE.read_text())}
    settings = GateSettings()
    names = [n for n, f in GateSettings.model_fields.items() if f.annotation is Limits]
    assert page == {name: getattr(settings, name) for name in names}
