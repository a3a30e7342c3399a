"""`vidtopics join`: a spine with a service's features, as they were known."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from vidtopics.cli.common import DEFAULT_HOME, AsJson, ReadableHome, print_json


def join(
    spine: Annotated[
        Path,
        typer.Argument(
            help="Rows with video_id and event_timestamp: Parquet, a .csv file or a Delta table."
        ),
    ],
    out: Annotated[
        Path, typer.Argument(help="A new Parquet file (.parquet), else a new Delta table.")
    ],
    service: Annotated[str, typer.Option(metavar="NAME", help="Whose features.")] = "training_v1",
    pins: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="An earlier result (Parquet, Delta) or its pins (JSON): join the same rows again.",
        ),
    ] = None,
    served: Annotated[
        bool,
        typer.Option(
            "--served", help="Only what a live release could have served then, by the load log."
        ),
    ] = False,
    store: Annotated[
        str | None,
        typer.Option(
            "--store", metavar="NAME", help="With --served: in that store; else in the first."
        ),
    ] = None,
    home: ReadableHome = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Join a service's features to SPINE as they held and were known at its times.

    Memory is bounded. One row out for one row in, in SPINE's order, at the versions of the last
    release, or those of --pins. OUT is written as a whole or not at all.
    """
    from consumers.training import join_stream
    from consumers.training.coverage import Coverage
    from consumers.training.files import refuse_existing, write
    from consumers.training.spines import open_spine
    from vidtopics.cli import show
    from vidtopics.contracts import SERVICES
    from vidtopics.errors import SettingsError, explain
    from vidtopics.releases.served import ANY
    from vidtopics.tables import Tables
    from vidtopics.tables.pins import read_pins

    if service not in SERVICES:
        raise SettingsError(
            explain(
                "--service",
                expected=f"one of {', '.join(SERVICES)}",
                found=service,
                mend="name one of them",
            )
        )
    if store and not served:
        raise typer.BadParameter("--store goes with --served")
    refuse_existing(out)
    tables, views, started = Tables(home), SERVICES[service], time.monotonic()
    coverage = Coverage(views)
    with show.working(f"Joining {service}"):
        pinned = (
            read_pins(pins).of_views([view.name for view in views], str(pins)) if pins else None
        )
        if pinned:
            versions = {name: pin.version for name, pin in pinned.views.items()}
            rules = [pinned.views[view.name].rules for view in views]
            known_by, source = all(rule.known_by for rule in rules), rules[0].served
        else:
            versions, known_by = tables.latest_release()["versions"], True
            source = (store or ANY) if served else ""
        rows = join_stream(
            tables,
            open_spine(spine, views),
            views,
            known_by=known_by,
            served=source,
            versions=versions,
            pins=pinned,
        )
        count = write(coverage.counting(rows), out)
    done = {"rows": count, "out": str(out), "seconds": round(time.monotonic() - started, 2)}
    done["present"] = coverage.present
    if as_json:
        print_json(done | {"versions": {view.name: versions.get(view.name) for view in views}})
    else:
        line = f"{count:,} rows in {out}, {done['seconds']} s"
        show.out.print(show.as_text(line), soft_wrap=True)
        show.out.print(show.as_text(f"with a value: {coverage.shares()}"), soft_wrap=True)
