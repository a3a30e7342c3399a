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
    """Write the topic page of the release in force, for a browser.

    It answers the morning's questions: what grew, what is new, what moved, which videos may be
    misplaced, which are copies. A large catalogue's page loads its parts from a folder beside it.
    """
    from producers.topics.neighbours import near_duplicates
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
            find_pairs=near_duplicates,
        )
    if as_json:
        print_json(
            {
                "page": page.path,
                "bytes": page.size,
                "folder": page.folder,
                "folder_bytes": page.folder_size,
            }
        )
    else:
        beside = f" and {page.folder_size / 1e6:.0f} MB in {page.folder}" if page.folder else ""
        line = f"Topic page ({page.size / 1e6:.1f} MB{beside}): {page.path.as_uri()}"
        show.out.print(show.as_text(line), soft_wrap=True)
