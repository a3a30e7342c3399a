"""Connections for a request path: bounded pools, short timeouts and one retry.

=====================================  ========================================================
`redis://user:password@host:6379/0`    one server
`rediss://host:6379?ssl_ca_certs=...`  one server over TLS; options as redis-py names them
`unix:///run/redis.sock`               one server through a socket
`redis+cluster://host1:6379,host2`     a cluster; one of these nodes has to answer
`rediss+cluster://host1:6379`          a cluster over TLS
=====================================  ========================================================

redis-py 7 waits for ever by default, and tries four times with pauses of up to ten seconds: a
request can't. Here a broken connection is replaced once and at once; a timeout is not repeated, so
a server that hangs costs `timeout_s`.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self, cast
from urllib.parse import parse_qs, urlsplit

import redis
import redis.asyncio
from redis.asyncio.cluster import ClusterNode as AsyncClusterNode
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.connection import parse_url
from redis.exceptions import RedisClusterException
from redis.retry import Retry

from vidtopics.errors import SettingsError, explain

TIMEOUT_S = 1.0
MAX_CONNECTIONS = 32
CLUSTER = "+cluster"
SCHEMES = ("redis", "rediss", "unix", f"redis{CLUSTER}", f"rediss{CLUSTER}")
PORT = 6379
# A peer that vanished without a word is noticed within a minute, and a firewall keeps an idle
# connection.
KEEPALIVE = {
    getattr(socket, name): seconds
    for name, seconds in {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}.items()
    if hasattr(socket, name)
}
HEALTH_CHECK_S = 30
WAIT = (1e-3, 86_400.0)
"""Seconds that a timeout may take."""
LIMITS: dict[str, tuple[float, float]] = {
    "max_connections": (1, 2**31),
    "socket_timeout": WAIT,
    "socket_connect_timeout": WAIT,
    "timeout": WAIT,
    "health_check_interval": (0, 86_400.0),
    "db": (0, 2**31),
    "port": (1, 65_535),
}
"""Numbers that redis-py takes, and the range in which it works with them."""
Connection = redis.Redis | redis.RedisCluster


@contextmanager
def answering() -> Iterator[None]:
    """ConnectionError for RedisClusterException (no node answers), which is no RedisError."""
    try:
        yield
    except RedisClusterException as error:
        raise redis.ConnectionError(str(error)) from error


class Cluster(redis.RedisCluster):
    """redis-py's cluster, with a RedisError also where no node answers or a SCAN loses its node."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        with answering():
            super().__init__(*arguments, **options)
        manager = self.nodes_manager
        manager.initialize = answering()(manager.initialize)  # type: ignore[method-assign]

    def scan_iter(self, *arguments: Any, **options: Any) -> Iterator[Any]:
        """As redis-py's."""
        try:
            yield from super().scan_iter(*arguments, **options)
        except KeyError as error:
            raise redis.ConnectionError(f"The node {error} went away during a SCAN.") from error


class AsyncCluster(redis.asyncio.RedisCluster):
    """redis-py's cluster with turns: at most `max_connections` requests use it at the same time.

    redis-py's own bound raises at once instead of waiting, and goes on counting connections that
    failed.
    """

    def __init__(
        self, *, max_connections: int = MAX_CONNECTIONS, timeout: float = TIMEOUT_S, **options: Any
    ) -> None:
        super().__init__(**options)
        self._turns, self._wait_s = asyncio.Semaphore(max_connections), timeout

    async def initialize(self) -> Self:
        """As redis-py's; ConnectionError where no node answers."""
        with answering():
            return cast("Self", await super().initialize())

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn; redis-py's ConnectionError where none comes in time."""
        try:
            async with asyncio.timeout(self._wait_s):
                await self._turns.acquire()
        except TimeoutError:
            raise redis.ConnectionError("No connection available.") from None
        try:
            yield
        finally:
            self._turns.release()


AsyncConnection = redis.asyncio.Redis | AsyncCluster
"""What :func:`connect_async` gives; redis-py's own async cluster has no turns."""


def connect(
    url: str, *, timeout_s: float = TIMEOUT_S, max_connections: int = MAX_CONNECTIONS
) -> Connection:
    """A connection pool of a server, or one per node of a cluster; safe to share between threads.

    Args:
        url: see the module; options in it win over the arguments.
        timeout_s: for each of: a free connection of the pool, connecting, an answer.
        max_connections: of the pool (of each node's pool). A thread that finds none free waits.

    Raises:
        SettingsError: the URL is wrong (it is never in the message, as it holds a password), or a
            number can't work: no connection, a timeout that isn't above 0, a negative database.
        redis.exceptions.RedisError: no node of a cluster answers (a single server is asked by the
            first command).

    >>> connect("redis://:secret@localhost:6379/3", timeout_s=0.2).connection_pool.max_connections
    32
    >>> connect("redis://:se#cret@localhost:6379")
    Traceback (most recent call last):
    ...
    vidtopics.errors.SettingsError: the URL of Redis: expected host:port, found something else
    behind the scheme. Mend: write special characters of user and password percent-encoded
    (`#` as %23).
    """
    plain, seeds = _parsed(url)
    options = _options(plain, timeout_s, max_connections) | {"timeout": timeout_s}
    _check_options(plain, options)
    retry = Retry(NoBackoff(), 1, (redis.ConnectionError,))
    pool = _checked(redis.BlockingConnectionPool.from_url, plain, options | {"retry": retry})
    if not seeds:
        return redis.Redis.from_pool(pool)
    nodes = [ClusterNode(*seed) for seed in seeds[1:]]  # type: ignore[no-untyped-call]
    options |= {
        "connection_pool_class": redis.BlockingConnectionPool,
        "startup_nodes": nodes,
        "retry": retry,
    }
    return Cluster.from_url(plain, **options)


def connect_async(
    url: str, *, timeout_s: float = TIMEOUT_S, max_connections: int = MAX_CONNECTIONS
) -> AsyncConnection:
    """As :func:`connect`, for one event loop; a cluster too is first asked by the first command."""
    plain, seeds = _parsed(url)
    options = _options(plain, timeout_s, max_connections)
    _check_options(plain, options | {"timeout": timeout_s})
    retry = AsyncRetry(NoBackoff(), 1, (redis.ConnectionError,))
    blocking = {"timeout": timeout_s, "retry": retry}
    pool = _checked(redis.asyncio.BlockingConnectionPool.from_url, plain, options | blocking)
    if not seeds:
        return redis.asyncio.Redis.from_pool(pool)
    nodes = [AsyncClusterNode(*seed) for seed in seeds[1:]]
    never = AsyncRetry(
        NoBackoff(), 0
    )  # it would close connections of other tasks and pause; see round_trip
    cluster = AsyncCluster.from_url(
        plain, startup_nodes=nodes, retry=never, timeout=timeout_s, **options
    )
    return cast("AsyncCluster", cluster)


def _options(url: str, timeout_s: float, max_connections: int) -> dict[str, Any]:
    """What redis-py's pools and connections take, sync or async."""
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "health_check_interval": HEALTH_CHECK_S,
        "max_connections": max_connections,
    }
    if not url.startswith("unix:"):
        options |= {"socket_keepalive": True, "socket_keepalive_options": KEEPALIVE}
    return options


def _parsed(url: str) -> tuple[str, list[tuple[str, int]]]:
    """The URL for redis-py (of a cluster: of its first node), and a cluster's nodes."""
    scheme, _, _ = url.partition("://")
    if scheme not in SCHEMES:
        expected = " or ".join(f"{s}://" for s in SCHEMES)
        raise _wrong(expected, "another scheme, or a variable that is not set", "name a server")
    if not scheme.endswith(CLUSTER):
        _address(url)
        return url, []
    scheme, parts = scheme.removesuffix(CLUSTER), urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    seeds = [_address(f"{scheme}://{host}") for host in hosts.split(",")]
    if parts.path.strip("/0") or "db" in parse_qs(parts.query):
        raise _wrong(
            "no database in the URL of a cluster",
            "one",
            "leave it out: a cluster has database 0 alone",
        )
    if parts.fragment or not all(host for host, _ in seeds):
        raise _no_address()
    return f"{scheme}://{user}{at}{hosts.split(',')[0]}?{parts.query}", seeds


def _address(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", PORT if parts.port is None else parts.port
    except ValueError:  # its text has a piece of the password where that holds a `/`
        raise _no_address() from None
    if parts.fragment:
        raise _no_address()
    _check_number("port", port, 1, 65_535)
    return host, port


def _no_address() -> SettingsError:
    mend = "write special characters of user and password percent-encoded (`#` as %23)"
    return _wrong("host:port", "something else behind the scheme", mend)


def check_connection(connection: Any, kinds: tuple[type, ...]) -> None:
    """SettingsError for a connection of another kind (sync, async), or one that gives text."""
    right_kind = isinstance(connection, kinds)
    if not right_kind:
        expected = " or ".join(f"{kind.__module__}.{kind.__name__}" for kind in kinds)
        raise SettingsError(
            explain(
                "the connection to Redis",
                expected=expected,
                found=f"{type(connection).__module__}.{type(connection).__name__}",
                mend="make the client with `from_url`",
            )
        )
    if connection.get_encoder().decode_responses:
        raise _decoding()


def _check_options(url: str, options: Mapping[str, Any]) -> None:
    """SettingsError for what redis-py takes and can't work with; options of the URL win."""
    try:
        chosen = {**options, **parse_url(url)}  # type: ignore[no-untyped-call]
    except ValueError:
        return  # `_checked` says what is wrong with it
    for name, value in chosen.items():
        if name in LIMITS and value is not None:
            _check_number(name, value, *LIMITS[name])
    if chosen.get("decode_responses"):
        raise _decoding()


def _check_number(name: str, value: Any, least: float, most: float) -> None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if least <= number <= most:
        return
    raise SettingsError(
        explain(
            f"the connection to Redis, {name}",
            expected=f"a number from {_digits(least)} to {_digits(most)}",
            found=repr(value),
            mend="correct it, or leave it out",
        )
    )


def _digits(limit: float) -> str:
    """A limit as people write it.

    >>> _digits(0.001), _digits(86_400.0), _digits(2**31)
    ('0.001', '86400', '2147483648')
    """
    return str(int(limit)) if limit == int(limit) else str(limit)


def _decoding() -> SettingsError:
    return SettingsError(
        explain(
            "the connection to Redis, decode_responses",
            expected="False: values are packed bytes",
            found="True",
            mend="leave it out, or open a connection of its own for this client",
        )
    )


def _checked(make: Callable[..., Any], url: str, options: dict[str, Any]) -> Any:
    """A pool; SettingsError for options that redis-py would refuse only later, or overlook."""
    mend = "mend what stands behind `?`"
    try:
        pool = make(url, **options)
        pool.connection_class(**pool.connection_kwargs)  # not connected yet
    except TypeError as error:  # its text ends with the option's name and holds no value
        raise _wrong("options of redis-py", str(error).rpartition(" ")[2], mend) from None
    except (ValueError, redis.RedisError):
        raise _wrong("options of redis-py", "a value that one of them doesn't take", mend) from None
    return pool


def _wrong(expected: str, actual: str, mend: str) -> SettingsError:
    return SettingsError(explain("the URL of Redis", expected=expected, found=actual, mend=mend))
