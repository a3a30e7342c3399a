"""`vidtopics features`: what an online consumer gets."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from vidtopics.cli.common import (
    DEFAULT_HOME,
    AsJson,
    Config,
    Embedded,
    ReadableHome,
    print_json,
)


def features(
    video_id: Annotated[list[str], typer.Argument(metavar="VIDEO_ID...")],
    view: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VIEW", help="Topics and statistics if none is named; may be repeated."
        ),
    ] = None,
    home: ReadableHome = DEFAULT_HOME,
    config: Config = None,
    embedded: Embedded = False,
    as_json: AsJson = False,
) -> None:
    """Features of videos as a ranking service reads them from Redis, with status and age."""
    from vidtopics.cli import homes, stores
    from vidtopics.server import plain, url_of

    url = url_of(home, embedded=embedded)
    with stores.reaching(url):
        client = stores.client(url, homes.prefix(home, config))
        views = view or [
            name
            for name in ("video_topics", "video_statistics")
            if name in client.directory().views
        ]
        client.read_views(
            views, []
        )  # connected and the directory read, as in a service; what is timed is a request
        began = time.perf_counter()
        features_of = client.read_views(views, video_id)
        took_ms = (time.perf_counter() - began) * 1e3
    rows = [
        _row(name, i, video, features_of[name])
        for i, video in enumerate(video_id)
        for name in views
    ]
    if as_json:
        print_json(rows)
    else:
        _show(rows)
        counts = f"{len(video_id)} videos, {len(views)} views"
        typer.echo(f"{counts}, one round trip: {took_ms:.2f} ms ({plain(url)})")


def _row(view: str, i: int, video_id: str, view_features: Any) -> dict[str, Any]:
    from vidtopics.online import Status
    from vidtopics.times import moment

    status = Status(view_features.status[i])
    row: dict[str, Any] = {
        "video_id": video_id,
        "view": view,
        "status": status.name.lower().replace("_", " "),
    }
    if view_features.event_us[i]:
        row |= {
            "event_timestamp": moment(int(view_features.event_us[i])),
            "created_timestamp": moment(int(view_features.created_us[i])),
        }
        row["age_s"] = str(int(time.time() - view_features.event_us[i] / 1e6))
    if status == Status.PRESENT:
        row["features"] = {name: _plain(view_features[name][i]) for name in view_features.names}
    return row


def _plain(value: Any) -> Any:
    """Numbers and lists as JSON has them."""
    return value.tolist() if hasattr(value, "tolist") else value  # of numpy


def _show(rows: list[dict[str, Any]]) -> None:
    from rich.table import Column, Table

    from vidtopics.cli.show import as_text, out

    table = Table(
        "id",
        "view",
        "status",
        Column("holds from", no_wrap=True),
        Column("age", no_wrap=True),
        Column("features", overflow="fold"),
        box=None,
        header_style="bold",
    )
    for row in rows:
        age = f"{int(row['age_s']) / 86_400:.1f} d" if "age_s" in row else ""
        values = "\n".join(
            f"{name} {_short(value)}" for name, value in row.get("features", {}).items()
        )
        table.add_row(
            *map(as_text, (row["video_id"], row["view"], row["status"])),
            row.get("event_timestamp", "")[:19],
            age,
            as_text(values),
        )
    out.print(table)


def _short(value: Any) -> str:
    """A value on one line; a long vector by its first numbers and its width."""
    if not isinstance(value, list):
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    shown = ", ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in value[:8])
    return f"[{shown}]" if len(value) <= 8 else f"[{shown}, ...] ({len(value)} wide)"
