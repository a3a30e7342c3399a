"""What happens to topics over time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vidtopics.cli.common import DEFAULT_HOME, AsJson, Config, ExistingHome, print_json

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """What happens to topics over time."""


@app.command()
def diff(
    old: Annotated[int, typer.Argument(metavar="A", help="A release.")],
    new: Annotated[
        int | None, typer.Argument(metavar="B", help="Another; the one in force if left out.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a page with covers.", dir_okay=False),
    ] = None,
    models: Annotated[
        bool,
        typer.Option("--models", help="A and B are model versions: last release of A, first of B."),
    ] = False,
    home: ExistingHome = DEFAULT_HOME,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Topics born, split, merged and retired between two releases, and videos that moved.

    Shares are of the videos with a topic in both whose cover, title and tags are the same.
    """
    from vidtopics.cli import homes, show
    from vidtopics.evaluate.changes import changes_report, find_release, find_releases_of_models
    from vidtopics.tables import Tables

    tables = Tables(home)
    if models:
        sides = find_releases_of_models(
            tables, old, find_release(tables, None).topic_model if new is None else new
        )
    else:
        sides = find_release(tables, old), find_release(tables, new)
    with show.working("Comparing topics"):
        report = changes_report(tables, *sides)
    if html:
        from vidtopics.cli.change_pages import write_change_page

        pixels = homes.settings(home, config).ingest.max_image_pixels
        report["page"] = str(write_change_page(html, report, max_pixels=pixels))
    if as_json:
        print_json(report)
    else:
        _show(report)


FIGURES = {
    "topics": "{:,.0f}",
    "videos": "{:,.0f}",
    "topics_per_video": "{:.2f}",
    "below_threshold": "{:.1%}",
    "mean_cosine": "{:.3f}",
    "largest_share": "{:.1%}",
}
SHOWN = 20


def _show(report: dict[str, Any]) -> None:
    from rich.table import Table

    from vidtopics.cli.show import as_text, out

    sides = report["from"], report["to"]
    table = Table("", *(f"release {s['release']}" for s in sides), box=None, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("as of", *(s["as_of"][:16].replace("T", " ") for s in sides))
    for name, form in FIGURES.items():
        table.add_row(name.replace("_", " "), *(form.format(s[name]) for s in sides))
    out.print(table)
    for line in change_lines(report):
        out.print(as_text(line), soft_wrap=True)
    if "page" in report:
        out.print(as_text(f"Page: {Path(report['page']).as_uri()}"), soft_wrap=True)


def change_lines(report: dict[str, Any]) -> list[str]:
    """The changes in words, a line each."""
    epoch = "" if report["same_epoch"] else "Another topic epoch: no ID of one is in the other. "
    lines = [
        f"{epoch}Of {report['unchanged_videos']:,} unchanged videos {report['first_kept']:.1%} "
        f"kept their first topic, {report['set_kept']:.1%} their set of topics."
    ]
    for topic in report["born"][:SHOWN]:
        lines.append(f"born: {topic_text(topic)}")
    for topic in report["split"][:SHOWN]:
        lines.append(f"split: {topic_text(topic)}, from {topic_text(topic['split_from'])}")
    for merge in report["merged"][:SHOWN]:
        parts = " and ".join(topic_text(topic) for topic in merge["topics"])
        lines.append(f"merged: {parts} into {topic_text(merge['into'])}")
    for topic in report["retired"][:SHOWN]:
        lines.append(f"retired: {topic_text(topic)}")
    for kind in ("born", "split", "merged", "retired"):
        if (more := len(report[kind]) - SHOWN) > 0:
            lines.append(f"{kind}: {more:,} more (--json has all)")
    for video in report["moved"][:SHOWN]:
        sides = (f"{video[side]} ({', '.join(video[f'label_{side}'][:3])})" for side in SIDES)
        lines.append(f"moved: {video['video_id']} {video['title']!r} from {' to '.join(sides)}")
    if (more := report["moved_videos"] - SHOWN) > 0:
        lines.append(f"moved: {more:,} more videos")
    return lines


SIDES = ("before", "after")


def topic_text(topic: dict[str, Any]) -> str:
    """A topic's ID, label and sizes.

    >>> topic_text({"topic_id": 7, "label_terms": ["dog", "fur"], "before": 0, "after": 12})
    '7 (dog, fur; 0 to 12 videos)'
    """
    terms = ", ".join(topic["label_terms"][:3]) or "no label"
    return f"{topic['topic_id']} ({terms}; {topic['before']:,} to {topic['after']:,} videos)"
