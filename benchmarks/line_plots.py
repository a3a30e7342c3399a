"""Small line plots as SVG: panels side by side that share their lines' names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, COLUMNS = 300, 170, 3
LEFT, RIGHT, TOP, BOTTOM = 48, 10, 26, 24
STROKES = (("#1f5fa8", ""), ("#b5541c", "6 3"), ("#2d7d46", "2 3"), ("#7a4a9e", "8 2 2 2"))
"""Colour and dashes of each line, so that they differ in print too."""
Line = Sequence[tuple[float, float]]


def draw_panels(panels: Mapping[str, Mapping[str, Line]], marks: Sequence[float] = ()) -> str:
    """An SVG image of a panel for each title, its lines by name, and a legend.

    Args:
        panels: title -> name -> points (x, y); four names at most, the same in every panel.
        marks: x of vertical lines.

    >>> svg = draw_panels({"rows": {"ours": [(0, 1), (10, 3)]}})
    >>> svg.count("<polyline"), "48.0,146.0 290.0,26.0" in svg
    (1, True)
    """
    rows = -(-len(panels) // COLUMNS)
    width, height = WIDTH * min(COLUMNS, len(panels)), HEIGHT * rows + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="10" fill="#222">'
        f'<rect width="{width}" height="{height}" fill="#fff"/>'
    ]
    for number, (title, lines) in enumerate(panels.items()):
        x, y = WIDTH * (number % COLUMNS), HEIGHT * (number // COLUMNS)
        parts.append(f'<g transform="translate({x} {y})">{_panel(title, lines, marks)}</g>')
    names = list(next(iter(panels.values())))
    parts += [_key(name, 48 + 130 * i, height - 10, i) for i, name in enumerate(names)]
    return "\n".join([*parts, "</svg>\n"])


def _panel(title: str, lines: Mapping[str, Line], marks: Sequence[float]) -> str:
    points = [point for line in lines.values() for point in line]
    (x0, x1), (y0, y1) = (_range([p[axis] for p in points]) for axis in (0, 1))
    inner, depth = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + inner * (x - x0) / (x1 - x0), HEIGHT - BOTTOM - depth * (y - y0) / (y1 - y0)

    parts = [f'<text x="{LEFT}" y="16" font-size="11">{escape(title)}</text>']
    for mark in marks:
        x, y = place(mark, y0)
        parts.append(f'<path d="M{x:.1f} {y:.1f}V{TOP}" stroke="#ccc"/>')
    parts.append(
        f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" fill="none" stroke="#888"/>'
    )
    for value in (y0, (y0 + y1) / 2, y1):
        y = place(x0, value)[1] + 3
        parts.append(f'<text x="{LEFT - 4}" y="{y:.1f}" text-anchor="end">{value:,.4g}</text>')
    for value in (x0, x1):
        x = place(value, y0)[0]
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{value:g}</text>')
    for number, line in enumerate(lines.values()):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line))
        parts.append(f'<polyline points="{path}" fill="none" {_stroke(number)}/>')
    return "".join(parts)


def _key(name: str, x: int, y: int, number: int) -> str:
    line = f'<path d="M{x} {y - 3}h24" {_stroke(number)}/>'
    return f'{line}<text x="{x + 30}" y="{y}">{escape(name)}</text>'


def _stroke(number: int) -> str:
    colour, dashes = STROKES[number]
    return f'stroke="{colour}" stroke-width="1.6" stroke-dasharray="{dashes}"'


def _range(values: Sequence[float]) -> tuple[float, float]:
    """From the least to the greatest; one more where they are equal."""
    low, high = min(values), max(values)
    return low, high if high > low else low + 1
