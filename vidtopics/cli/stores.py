"""How verbs reach the home's Redis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from vidtopics.errors import StoreError, explain
from vidtopics.online import OnlineClient
from vidtopics.server import url_of

__all__ = ["client", "plain", "reaching", "url_of"]


def client(home: Path, prefix: str) -> OnlineClient:
    """A client of the home's Redis."""
    return OnlineClient.from_url(url_of(home), prefix=prefix, timeout_s=5)


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Turns redis-py's errors into one that says what to do."""
    from redis.exceptions import RedisError

    try:
        yield
    except RedisError as error:
        raise StoreError(
            explain(
                f"Redis at {plain(url)}",
                expected="a server that answers",
                found=str(error) or type(error).__name__,
                mend="check REDIS_URL, or unset it to use the embedded server",
            )
        ) from error


def plain(url: str) -> str:
    """The address alone: no user, password or option, wherever in the URL they stand.

    >>> plain("rediss://u:p@cache:6379/0?password=q"), plain("redis://:p/q@cache"), plain("redis+cluster://a:1,b:2")
    ('rediss://cache:6379/0', 'redis://...', 'redis+cluster://a:1,b:2')
    """
    scheme, parts = url.partition("://")[0], urlsplit(url)
    if (
        "@" in parts.path + parts.query + parts.fragment
    ):  # a password that should have been percent-encoded
        return f"{scheme}://..."
    return f"{scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
