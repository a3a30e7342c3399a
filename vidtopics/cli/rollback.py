"""`vidtopics rollback`: consumers and tables back to an earlier release."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidtopics.cli.common import (
    DEFAULT_HOME,
    AsJson,
    Because,
    Config,
    Embedded,
    WrittenHome,
    print_json,
)

if TYPE_CHECKING:
    from vidtopics.releases.rollback import Target
    from vidtopics.settings import OnlineSettings
    from vidtopics.tables import Tables


def rollback(
    because: Because,
    to: Annotated[
        int | None,
        typer.Option("--to", metavar="N", min=1, help="The release; the one before if left out."),
    ] = None,
    home: WrittenHome = DEFAULT_HOME,
    embedded: Embedded = False,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Go back to an earlier release: Redis at once, then the tables, under a new release.

    Redis switches to the release if it is retained there (`online.keep`); else it follows with the
    tables. The tables get its values as new rows; nothing is taken out of them. May be run again
    after it died. Ends with 2 if there is no such release, 3 if another run has the home: Redis
    has been switched then, and the command has to be run again for the tables.
    """
    from vidtopics.cli import homes
    from vidtopics.cli.materialize import move
    from vidtopics.releases.lock import hold
    from vidtopics.releases.rollback import restore, take_back, target_of
    from vidtopics.tables import Tables

    tables, settings = Tables(home), homes.settings(home, config)
    target = target_of(tables, to)
    switched = "" if target.done else _switch(home, embedded, settings.online, tables, target)
    if switched:
        _say(switched, as_json)
    release = target.done
    if release is None:
        with hold(home, "vidtopics rollback") as lock:
            take_back(tables, target, because, lock)
            release = restore(tables, target, because, lock)
    moved = move(home, embedded, settings, lambda _: None)
    number = release.release_id
    if as_json:
        print_json({"release": number, "why": release.why, "redis": switched})
    else:
        views = ", ".join(m.name for m in moved)
        _say(f"Release {number} is in force ({release.why}) and in Redis: {views}", as_json)


def _switch(
    home: Path, embedded: bool, settings: OnlineSettings, tables: Tables, target: Target
) -> str:
    """Switch Redis, and enter it in the load log; what came of it, for people."""
    from vidtopics.cli import stores
    from vidtopics.errors import StoreError
    from vidtopics.materialization import owners
    from vidtopics.materialization.generations import Generations
    from vidtopics.materialization.rollback import switch_back
    from vidtopics.releases.loads import record

    number = target.release.release_id
    try:
        with stores.reached(home, embedded) as connection:
            owners.check(connection, settings.prefix, tables)
            back = switch_back(connection, settings, number)
            store = Generations(connection, settings.prefix, settings.buckets).address
            record(tables, number, store, back.load, back.live_us)
    except owners.OwnerError:
        raise
    except StoreError as error:
        return f"Redis isn't switched, it follows with the tables: {error}"
    return f"Redis serves release {number} again, after {back.seconds:.3f} s"


def _say(text: str, as_json: bool) -> None:
    from vidtopics.cli.show import as_text, console, out

    (console if as_json else out).print(as_text(text), soft_wrap=True)
