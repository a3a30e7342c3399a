"""How verbs reach the home's Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vidtopics.errors import StoreError, explain

if TYPE_CHECKING:
    from vidtopics.events.generations import Generation
    from vidtopics.materialization.live_queues import LoadOrdering, Ordering
    from vidtopics.online import OnlineClient
    from vidtopics.online.connections import Connection
    from vidtopics.settings import Settings
    from vidtopics.tables import Tables
    from vidtopics.tables.releases import Release

TIMEOUT_S = 30.0


def print_warning(text: str) -> None:
    """A line on standard error."""
    import typer

    typer.echo(text, err=True)


def client(url: str, prefix: str) -> OnlineClient:
    """A client of the Redis at `url`."""
    from vidtopics.online import OnlineClient

    return OnlineClient.from_url(url, prefix=prefix, timeout_s=5)


def load_ordering(settings: Settings) -> LoadOrdering:
    """What reads the members of live queues, to be ordered by these settings."""

    def load(tables: Tables, release: Release, generation: Generation) -> Ordering:
        from vidtopics.jobs.live_queues import load_ordering

        return load_ordering(tables, release, generation, settings=settings)

    return load


@contextmanager
def reached(home: Path, embedded: bool) -> Iterator[Connection]:
    """A connection to the home's Redis; StoreError where it can't be reached."""
    from vidtopics.server import url_of

    with _connection(url_of(home, embedded=embedded)) as connection:
        yield connection


@contextmanager
def loaded(
    home: Path, embedded: bool, warn: Callable[[str], None] = print_warning
) -> Iterator[Connection]:
    """As :func:`reached`, for a load: the home remembers the server once it has succeeded."""
    from vidtopics.server import url_of

    url = url_of(home, embedded=embedded)
    with _connection(url) as connection:
        yield connection
    remember(home, url, warn)


@contextmanager
def _connection(url: str) -> Iterator[Connection]:
    from vidtopics.online.connections import connect

    with reaching(url), connect(url, timeout_s=TIMEOUT_S) as connection:
        yield connection


def remember(home: Path, url: str, warn: Callable[[str], None] = print_warning) -> None:
    """Let the home remember the server at `url`; a line where it was another before.

    A home that can't be written to (its tables may be mounted read-only) goes on without, and the
    line says so.
    """
    from vidtopics import server

    try:
        moved = server.remember(home, url)
    except OSError as error:
        warn(f"The home can't remember {server.plain(url)}: {error}")
        return
    if moved:
        before, now = moved
        warn(f"The home was loaded into {before} before, and into {now} now.")


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Turns redis-py's errors into one that says what to do."""
    from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError

    from vidtopics.server import plain

    try:
        yield
    except RedisError as error:
        expected = "a server that answers"
        mend = "check REDIS_URL, or unset it to use the embedded server"
        if isinstance(error, OutOfMemoryError):
            expected, mend = "room", "raise `maxmemory`, or load into a larger server"
        elif isinstance(error, ReadOnlyError):
            expected, mend = "a server that takes writes", "name the primary in REDIS_URL"
        raise StoreError(
            explain(
                f"Redis at {plain(url)}",
                expected=expected,
                found=str(error) or type(error).__name__,
                mend=mend,
            )
        ) from error
