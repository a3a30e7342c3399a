"""Connections of a request path: URLs, deadlines, pools, restarts, users, TLS."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from small_store import TOPICS, count_timeouts, put, value

from benchmarks.redis_nodes import Node, debian_server, node, valkey_server, wait
from vidtopics.errors import SettingsError
from vidtopics.layout import Layout, Structures
from vidtopics.layout.live import LiveKeys
from vidtopics.materialization import StoreWriter
from vidtopics.online import AsyncOnlineClient, Features, OnlineClient, connect, connect_async

GUIDE = Path(__file__).parents[2] / "docs" / "online.md"
Reads = list[Callable[[], Features]]


@contextmanager
def clients(url: str, *, timeout_s: float = 20, **options: Any) -> Iterator[Reads]:
    """A read of `a` and `b` by a sync client and one by an async client."""
    loop = asyncio.new_event_loop()
    client, waiting = (
        OnlineClient.from_url(url, timeout_s=timeout_s, **options),
        AsyncOnlineClient.from_url(url, timeout_s=timeout_s, **options),
    )
    try:
        yield [
            lambda: client.read("topics", ["a", "b"]),
            lambda: loop.run_until_complete(waiting.read("topics", ["a", "b"])),
        ]
    finally:
        client.close()
        loop.run_until_complete(waiting.aclose())
        loop.close()


def counts(features: Features) -> list[int]:
    return features["topic_count"].tolist()


@pytest.fixture(scope="module", params=["valkey", pytest.param("debian", marks=pytest.mark.slow)])
def own(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A server that these tests may break; what is in it outlives a kill."""
    if request.param == "debian" and not debian_server():
        pytest.skip("no redis-server on this machine")
    folder, binary = (
        tmp_path_factory.mktemp("own"),
        debian_server() if request.param == "debian" else valkey_server(),
    )
    durable = {"appendonly": "yes", "appendfsync": "always"}
    with node(folder, binary=binary, unixsocket=str(folder / "s"), **durable) as server:
        with redis.Redis.from_url(server.url) as connection:
            put(connection, {"a": value(1), "b": value(2)})
        yield server


HOST = (
    "host:port, found something else behind the scheme. Mend: write special characters of user "
    "and password percent-encoded"
)
OPTION_VALUE = "options of redis-py, found a value that one of them doesn't take"
SCHEMES = "redis:// or rediss:// or unix:// or redis.cluster:// or rediss.cluster://"
WRONG = {
    "${REDIS_URL}": "redis:// or .*, found another scheme, or a variable that is not set",
    "": "found another scheme",
    "http://s3cret@h": f"{SCHEMES}, found another scheme",
    "redis://:s3cret#x@h:6379": HOST,
    "redis://:s3cret/x@h:6379": HOST,
    "redis://:s3cret@h:port": HOST,
    "redis+cluster://:s3cret@h:1,h:port": HOST,
    "redis+cluster://:s3cret@": HOST,
    "redis+cluster://:s3cret@h/1": "no database in the URL of a cluster, found one",
    "redis+cluster://:s3cret@h?db=1": "no database in the URL of a cluster, found one",
    "rediss://:s3cret@h?ssl_ca_cert=x": "options of redis-py, found 'ssl_ca_cert'",
    "rediss+cluster://:s3cret@h?ssl_ca_cert=x": "options of redis-py, found 'ssl_ca_cert'",
    "redis://:s3cret@h?socket_timeout=soon": OPTION_VALUE,
    "rediss://h?ssl_cert_reqs=s3cret": OPTION_VALUE,
}


@pytest.mark.parametrize("make", [connect, connect_async])
@pytest.mark.parametrize("url", WRONG)
def test_a_wrong_url_is_said_without_its_password(url: str, make: Callable[[str], object]) -> None:
    with pytest.raises(SettingsError, match=f"the URL of Redis: expected .*{WRONG[url]}") as caught:
        make(url)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert (
        caught.value.__suppress_context__ or caught.value.__context__ is None
    )  # nor in a traceback


def test_the_url_says_user_password_database_and_options() -> None:
    pool = connect(
        "redis://ranker:a%23b@db.example:7000/3?socket_timeout=0.2&max_connections=4"
    ).connection_pool
    options = pool.connection_kwargs
    assert (options["host"], options["port"], options["db"]) == ("db.example", 7000, 3)
    assert (options["username"], options["password"]) == ("ranker", "a#b")
    assert (options["socket_timeout"], options["socket_connect_timeout"], pool.max_connections) == (
        0.2,
        1.0,
        4,
    )


def test_a_unix_socket_serves_too(own: Node) -> None:
    with clients(f"unix://{own.folder}/s") as reads:
        assert [counts(read()) for read in reads] == [[1, 2], [1, 2]]


def test_a_server_that_hangs_costs_one_timeout(own: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    timeouts = count_timeouts(monkeypatch)
    with clients(own.url, timeout_s=0.8) as reads:
        for read in reads:
            assert counts(read()) == [1, 2]
            timeouts.clear()
            with own.hanging(), pytest.raises(redis.TimeoutError):
                read()
            assert timeouts == [own.port]  # a second attempt would be a second timeout
            assert counts(read()) == [1, 2]  # and not the late answer to the first read


def test_an_address_where_nobody_answers_costs_one_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timeouts = count_timeouts(monkeypatch)
    with ExitStack() as stack:
        silent = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
        port = silent.getsockname()[1]
        url = f"redis://127.0.0.1:{port}"
        for read in stack.enter_context(clients(url, timeout_s=0.8)):
            timeouts.clear()
            with pytest.raises(redis.TimeoutError):
                read()
            assert timeouts == [port]


def test_more_threads_than_connections_wait_and_none_fails(own: Node) -> None:
    client = OnlineClient.from_url(
        f"{own.url}?client_name=threads", max_connections=3, timeout_s=20
    )
    with ThreadPoolExecutor(24) as threads:
        answers = list(threads.map(lambda _: counts(client.read("topics", ["a", "b"])), range(400)))
    assert answers == [[1, 2]] * 400
    assert named(own, "threads") == 3
    client.close()
    wait(lambda: named(own, "threads") == 0, "closed connections")


def test_more_tasks_than_connections_wait_and_none_fails(own: Node) -> None:
    async def read_all() -> list[list[int]]:
        client = AsyncOnlineClient.from_url(
            f"{own.url}?client_name=tasks", max_connections=3, timeout_s=20
        )
        try:
            features = await asyncio.gather(
                *(client.read("topics", ["a", "b"]) for _ in range(100))
            )
            assert named(own, "tasks") == 3
            return [counts(f) for f in features]
        finally:
            await client.aclose()

    assert asyncio.run(read_all()) == [[1, 2]] * 100


def named(server: Node, name: str) -> int:
    with redis.Redis.from_url(server.url) as connection:
        return sum(c["name"] == name for c in connection.client_list())


def test_a_pool_that_stays_empty_is_said_in_time(own: Node) -> None:
    connection = connect(own.url, max_connections=1, timeout_s=0.3)
    assert isinstance(connection, redis.Redis)
    taken = connection.connection_pool.get_connection()
    assert connection.connection_pool.timeout == 0.3
    with pytest.raises(redis.ConnectionError, match="No connection available"):
        OnlineClient(connection).read("topics", ["a"])
    connection.connection_pool.release(taken)
    assert counts(OnlineClient(connection).read("topics", ["a"])) == [1]
    connection.close()


def test_a_server_that_was_killed_and_started_again_is_found(own: Node) -> None:
    with clients(own.url) as reads:
        for read in reads:
            assert counts(read()) == [1, 2]
            own.kill()
            with pytest.raises(redis.ConnectionError):
                read()
            own.start()
            wait(lambda: ready(own), "a server that has read its data")
            assert counts(read()) == [1, 2]


def test_a_restart_that_no_read_saw_fails_none(own: Node) -> None:
    """Every connection of the pool is dead, each is replaced when it is taken."""
    client = OnlineClient.from_url(own.url, max_connections=8, timeout_s=20)
    with ThreadPoolExecutor(8) as threads, clients(own.url) as reads:

        def read_all() -> list[list[int]]:
            return list(threads.map(lambda _: counts(client.read("topics", ["a", "b"])), range(50)))

        assert read_all() == [[1, 2]] * 50
        for read in reads:
            assert counts(read()) == [1, 2]
            own.kill()
            own.start()
            wait(lambda: ready(own), "a server that has read its data")
            assert (counts(read()), read_all()) == ([1, 2], [[1, 2]] * 50)
    client.close()


def ready(server: Node) -> bool:
    try:
        with redis.Redis.from_url(server.url) as connection:
            return bool(connection.ping())
    except redis.RedisError:
        return False


def line_of(user: str) -> list[str]:
    """The ACL SETUSER line of the guide."""
    (line,) = [
        line for line in GUIDE.read_text().splitlines() if line.startswith(f"ACL SETUSER {user} ")
    ]
    return line.split()[2:]


@pytest.fixture
def users(own: Node) -> Iterator[Node]:
    with redis.Redis.from_url(own.url) as admin:
        for user in ("ranker", "loader"):
            admin.execute_command("ACL", "SETUSER", *line_of(user))
        put(admin, {"a": value(9)}, prefix="other")
        yield own
        admin.execute_command("ACL", "DELUSER", "ranker", "loader")


def as_user(server: Node, user: str) -> str:
    return server.url.replace("redis://", f"redis://{user}:SECRET@")


def test_the_guides_reader_reads_its_prefix_and_writes_nothing(users: Node) -> None:
    with clients(as_user(users, "ranker")) as reads:
        assert [counts(read()) for read in reads] == [[1, 2], [1, 2]]
    with connect(as_user(users, "ranker")) as connection:
        client = OnlineClient(connection)
        assert (client.recent_clicks("u"), client.queues([1, 2], epoch=1, limit=3)) == (
            [],
            [[], []],
        )
        live = LiveKeys("vt", Layout(16)).state(1, "video", "state", 0)
        assert connection.hmget(live, ["a"]) == [None]  # as `live_statistics` asks
        with pytest.raises(redis.exceptions.NoPermissionError):
            OnlineClient(connection, prefix="other").read("topics", ["a"])
        (key,) = put_key(users)
        for write in (
            lambda: connection.set(key, b"x"),
            lambda: connection.unlink(key),
            connection.flushall,
            lambda: connection.eval("return redis.call('SET', KEYS[1], 'x')", 1, key),
            lambda: StoreWriter(connection).register("new", TOPICS),
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                write()
        assert counts(client.read("topics", ["a", "b"])) == [1, 2]


def put_key(server: Node) -> list[bytes]:
    with redis.Redis.from_url(server.url) as admin:
        return put(admin, {"a": value(1)}).of([b"a"])


def test_the_guides_loader_loads_its_prefix_and_no_other(users: Node) -> None:
    with connect(as_user(users, "loader")) as connection:
        put(connection, {"x": value(5)}, view="loaded")
        assert counts(OnlineClient(connection).read("loaded", ["x"])) == [5]
        assert StoreWriter(connection).drop("loaded") > 0
        connection.rpush(Structures("vt", Layout(16)).queue(1, "9"), "v")
        for write in (
            lambda: put(connection, {"a": value(3)}, prefix="other"),
            connection.flushall,
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                write()
    with redis.Redis.from_url(users.url) as admin:
        assert counts(OnlineClient(admin, prefix="other").read("topics", ["a"])) == [9]


def test_a_wrong_password_is_said_and_not_shown(users: Node) -> None:
    with clients(as_user(users, "ranker").replace("SECRET", "s3cret")) as reads:
        for read in reads:
            with pytest.raises(redis.AuthenticationError) as caught:
                read()
            assert "s3cret" not in str(caught.value)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca, server and client certificates of openssl; one client's is of an unknown authority."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(command: str) -> None:
        subprocess.run(
            ["openssl", *command.split(" ")], cwd=folder, check=True, capture_output=True
        )

    for authority, names in {"ca": ("server", "client"), "stranger": ("intruder",)}.items():
        openssl(
            f"req -x509 -newkey rsa:2048 -nodes -keyout {authority}.key -out {authority}.crt "
            f"-days 2 -subj /CN={authority}"
        )
        for name in names:
            (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
            openssl(
                f"req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
            )
            openssl(
                f"x509 -req -in {name}.csr -CA {authority}.crt -CAkey {authority}.key "
                "-CAcreateserial"
                f" -out {name}.crt -days 2 -extfile names"
            )
    return folder


@pytest.fixture(scope="module")
def tls(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Debian's redis-server, which takes TLS connections with a known client certificate alone."""
    options = {
        f"tls_{part}_file": str(certificates / name)
        for part, name in {"cert": "server.crt", "key": "server.key", "ca_cert": "ca.crt"}.items()
    }
    folder = tmp_path_factory.mktemp("tls")
    with node(
        folder, binary=debian_server(), tls_port="PORT", tls_auth_clients="yes", **options
    ) as server:
        yield server


def tls_url(server: Node, certificates: Path, name: str, ca: str = "ca") -> str:
    files = {
        "ssl_ca_certs": f"{ca}.crt",
        "ssl_certfile": f"{name}.crt",
        "ssl_keyfile": f"{name}.key",
    }
    return f"rediss://localhost:{server.port}?" + "&".join(
        f"{k}={certificates / v}" for k, v in files.items()
    )


@pytest.mark.slow
@pytest.mark.skipif(not debian_server(), reason="no redis-server with TLS on this machine")
def test_tls_with_a_client_certificate(tls: Node, certificates: Path) -> None:
    url = tls_url(tls, certificates, "client")
    with connect(url) as connection:
        put(connection, {"a": value(1), "b": value(2)})
    with clients(url) as reads:
        assert [counts(read()) for read in reads] == [[1, 2], [1, 2]]
    without = f"rediss://localhost:{tls.port}?ssl_ca_certs={certificates / 'ca.crt'}"
    for wrong in (
        tls_url(tls, certificates, "intruder"),  # the server doesn't know its authority
        tls_url(tls, certificates, "client", "stranger"),  # the client doesn't know the server's
        without,
        f"redis://localhost:{tls.port}",
    ):
        with clients(wrong) as reads:
            for read in reads:
                with pytest.raises((redis.ConnectionError, redis.TimeoutError)):
                    read()
