"""`vidtopics materialize`: the latest release into Redis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidtopics.cli.common import DEFAULT_HOME, AsJson, Config, Home, print_json

if TYPE_CHECKING:
    from vidtopics.materialization import Moved
    from vidtopics.settings import OnlineSettings


def materialize(
    full: Annotated[bool, typer.Option("--full", help="Read every row again, whatever the watermarks say.")] = False,
    home: Home = DEFAULT_HOME,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Move what is new in the latest release to Redis; a run that died is simply run again."""
    from vidtopics.cli import homes, show

    with show.working("Materialising the latest release") as progress:
        done = move(home, homes.settings(home, config).online, full, lambda m: progress(m.name))
    if as_json:
        print_json([asdict(m) for m in done])
    else:
        show.moved(done)


def move(home: Path, settings: OnlineSettings, full: bool, report: Callable[[Moved], None]) -> list[Moved]:
    """Materialise into the home's Redis; StoreError where it can't be reached."""
    import redis

    from vidtopics.cli import stores
    from vidtopics.materialization import materialize as bring
    from vidtopics.tables import Tables

    url = stores.url_of(home)
    with stores.reaching(url):
        return bring(Tables(home), redis.Redis.from_url(url), settings, full=full, report=report)
