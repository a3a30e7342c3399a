"""Fill the input tables from a folder, MovieLens or the simulated world."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidtopics.cli.common import DEFAULT_HOME, AsJson, Config, MapFile, NewWrittenHome, print_json

if TYPE_CHECKING:
    from vidtopics.ingest import Source
    from vidtopics.settings import Settings

app = typer.Typer(no_args_is_help=True)
Folder = Annotated[Path, typer.Argument(metavar="PATH", help="The directory with the files.")]


Prefix = Annotated[
    str,
    typer.Option(metavar="TEXT", help="Put before each event_id, where ids restart in each file."),
]


@app.command()
def folder(
    path: Folder,
    home: NewWrittenHome = DEFAULT_HOME,
    config: Config = None,
    fields: MapFile = None,
    event_id_prefix: Prefix = "",
    as_json: AsJson = False,
) -> None:
    """Read the folder format: videos and impressions (CSV or Parquet), optionally tags."""
    _ingest("folder", path, home, config, as_json, event_id_prefix, fields)


@app.command()
def movielens(
    path: Folder,
    home: NewWrittenHome = DEFAULT_HOME,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Read a MovieLens folder; a rating of 4 or more is a click, a lower one none."""
    _ingest("movielens", path, home, config, as_json)


@app.command()
def simulated(
    home: NewWrittenHome = DEFAULT_HOME, config: Config = None, as_json: AsJson = False
) -> None:
    """Simulate a short-video world and read it."""
    from vidtopics.cli import homes

    settings = homes.settings(home, config)
    _show(home, settings, simulate(home, settings), as_json)


def simulate(home: Path, settings: Settings) -> Source:
    """The simulated world below the home, written unless these settings wrote it before."""
    from vidtopics.cli.show import console, working
    from vidtopics.ingest import Source
    from vidtopics.settings import digest
    from vidtopics.simulation.writer import write_world

    path = home / "simulated" / digest(settings.simulation, settings.seed)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with working("Simulating a short-video world"):
            world = write_world(settings.simulation, path, seed=settings.seed)
        console.print(
            f"  {world.videos:,} videos, {world.users:,} users,"
            f" {world.impressions:,} impressions, {world.seconds:.1f} s",
            highlight=False,
        )
    return Source("folder", path)


def _ingest(
    kind: str,
    path: Path,
    home: Path,
    config: Path | None,
    as_json: bool,
    prefix: str = "",
    fields: Path | None = None,
) -> None:
    from vidtopics.cli import homes
    from vidtopics.errors import InputError, explain
    from vidtopics.ingest import Source, recognise
    from vidtopics.ingest.delivery_maps import DeliveryMap, read_delivery_map

    recognised = recognise(path)
    if recognised != kind:
        raise InputError(
            explain(
                str(path),
                expected=f"the {kind} format",
                found=f"files of {recognised}",
                mend=f"vidtopics ingest {recognised} PATH",
            )
        )
    settings = homes.settings(home, config, "movielens" if recognised == "movielens" else "demo")
    names = read_delivery_map(fields) if fields else DeliveryMap()
    _show(home, settings, Source(recognised, path, names), as_json, prefix)


def _show(home: Path, settings: Settings, source: Source, as_json: bool, prefix: str = "") -> None:
    from dataclasses import asdict

    from vidtopics.cli import homes, show
    from vidtopics.ingest import ingest
    from vidtopics.tables import Tables

    with show.working(f"Ingesting {source.path.name}") as progress:
        result = ingest(
            Tables(home), source, settings.ingest, event_id_prefix=prefix, progress=progress
        )
    homes.keep(home, settings)
    if as_json:
        print_json(asdict(result))
    else:
        show.ingested(result)
