"""The changes between two releases as one HTML file with covers."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
ul { list-style: none; padding: 0 } li { border-top: 1px solid #8884; padding: .6rem 0 }
figure { display: inline-block; width: 92px; margin: .3rem .4rem 0 0; vertical-align: top }
figcaption { font-size: 11px; line-height: 1.3; overflow: hidden; max-height: 2.6em }
img { display: block; max-width: 88px }
table { border-collapse: collapse } td, th { text-align: right; padding: .1rem 1rem .1rem 0 }
th[scope=row] { text-align: left; font-weight: normal }
"""


def write_change_page(file: Path, report: dict[str, Any], *, max_pixels: int) -> Path:
    """Write the page of a report (`vidtopics.evaluate.changes`) to `file`; its absolute path."""
    from vidtopics.files import write_whole

    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, render(report, max_pixels=max_pixels))
    return file.absolute()


def render(report: dict[str, Any], *, max_pixels: int) -> str:
    """The page: nothing that it doesn't hold may load or run, whatever a title says."""
    from vidtopics.cli.topics import FIGURES, change_lines, topic_text

    def topics(kind: str) -> Iterable[str]:
        for topic in report[kind]:
            parent = f", from {topic_text(topic['split_from'])}" if kind == "split" else ""
            yield item(topic_text(topic) + parent, topic["videos"], max_pixels)

    sides = report["from"], report["to"]
    title = f"Topics of release {sides[0]['release']} and {sides[1]['release']}"
    head = "".join(f"<th scope=col>release {s['release']}" for s in sides)
    figures = "".join(
        f"<tr><th scope=row>{name.replace('_', ' ')}"
        + "".join(f"<td>{form.format(s[name])}" for s in sides)
        for name, form in FIGURES.items()
    )
    merged = (
        item(
            " and ".join(map(topic_text, merge["topics"])) + " into " + topic_text(merge["into"]),
            merge["into"]["videos"],
            max_pixels,
        )
        for merge in report["merged"]
    )
    moved = (item(moved_text(video), [video], max_pixels) for video in report["moved"])
    sections = {
        "Born": topics("born"),
        "Split": topics("split"),
        "Merged": merged,
        "Retired": topics("retired"),
        f"Moved ({report['moved_videos']:,} videos)": moved,
    }
    body = "".join(
        f"<h2>{heading}</h2><ul>{''.join(items) or '<li>none'}</ul>"
        for heading, items in sections.items()
    )
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'"
    return (
        f'<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width='
        f'device-width"><meta http-equiv=Content-Security-Policy content="{policy}">'
        f"<title>{title}</title><style>{STYLE}</style><h1>{title}</h1>"
        f"<p>{escape(change_lines(report)[0])}</p>"
        f"<table><tr><td>{head}{figures}</table>{body}</html>"
    )


def item(text: str, videos: Iterable[dict[str, Any]], max_pixels: int) -> str:
    """A list item with the videos' covers; those without one are shown by title."""
    return f"<li>{escape(text)}<div>{''.join(figure(v, max_pixels) for v in videos)}</div>"


def figure(video: dict[str, Any], max_pixels: int) -> str:
    """A video's cover, if it has a readable one, and its title."""
    from vidtopics.explore.covers import thumbnail

    image, _ = thumbnail(video["cover"], max_pixels)
    title = escape(video["title"] or video["video_id"])
    picture = f'<img alt="" src="data:image/webp;base64,{image}">' if image else ""
    return f"<figure>{picture}<figcaption>{title}</figcaption></figure>"


def moved_text(video: dict[str, Any]) -> str:
    """From which topic to which.

    >>> moved_text({"video_id": "v", "before": 1, "after": 2, "label_before": ["cat"],
    ...             "label_after": []})
    'v: 1 (cat) to 2 (no label)'
    """
    sides = (
        f"{video[side]} ({', '.join(video[f'label_{side}'][:3]) or 'no label'})"
        for side in ("before", "after")
    )
    return f"{video['video_id']}: {' to '.join(sides)}"
