"""`vidtopics explore`: the topic page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidtopics.cli.common import DEFAULT_HOME, AsJson, Config, ExistingHome, print_json


def explore(
    home: ExistingHome = DEFAULT_HOME,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="HOME/explore.html if left out.", dir_okay=False),
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Write the topic page of the latest release, one HTML file.

    It has labels, covers, sizes, a map and queues.
    """
    from vidtopics.cli import homes, show
    from vidtopics.explore import write_page
    from vidtopics.tables import Tables

    settings = homes.settings(home, config)
    with show.working("Writing the topic page"):
        page = write_page(
            Tables(home),
            output or home / "explore.html",
            max_pixels=settings.ingest.max_image_pixels,
            prior_exposures=settings.statistics.prior_exposures,
        )
    size = page.stat().st_size
    if as_json:
        print_json({"page": page, "bytes": size})
    else:
        line = f"Topic page ({size / 1e6:.1f} MB): {page.as_uri()}"
        show.out.print(show.as_text(line), soft_wrap=True)
