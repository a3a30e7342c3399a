"""A Kafka broker on loopback for benchmarks and tests: one process, broker and controller (KRaft).

spark-submit brings its jars, at the first time from Maven, and starts it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyspark
from kafka import KafkaProducer

from benchmarks.redis_nodes import free_ports

VERSION = "3.9.2"
"""Of the client that Spark 4.2 brings."""
PACKAGES = f"org.apache.kafka:kafka_2.13:{VERSION}"
WAIT_S = 300.0
USER, PASSWORD = "reader", "reader-secret"
PARTITIONS = 3
LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config={login} user_{user}="{password}";
log.dirs={folder}
num.partitions={partitions}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
"""


@dataclass(frozen=True)
class Broker:
    """A broker that runs: ports of the plain listener, and of the one that asks for a password."""

    plain_port: int
    sasl_port: int

    @property
    def servers(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.plain_port}"

    def produce(
        self, topic: str, messages: Iterable[bytes | None], *, at_ms: int | None = None
    ) -> None:
        """Put messages into a topic, over its partitions in turn; all are acknowledged."""
        producer = KafkaProducer(
            bootstrap_servers=self.servers, acks="all", linger_ms=20, batch_size=1 << 18
        )
        try:
            for number, message in enumerate(messages):
                place = number % PARTITIONS
                producer.send(topic, message, key=b"-", partition=place, timestamp_ms=at_ms)
            producer.flush()
        finally:
            producer.close()


def client_properties(user: str = USER, password: str = PASSWORD) -> str:
    """What a client's file says to log in."""
    return (
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n"
        f'sasl.jaas.config={LOGIN} username="{user}" password="{password}";\n'
    )


@contextmanager
def kafka_broker(folder: Path) -> Iterator[Broker]:
    """A fresh broker with its data in a folder; it ends with the block."""
    plain, sasl, controller = free_ports(3)
    ports = {"plain": plain, "sasl": sasl, "controller": controller}
    who = {"login": LOGIN, "user": USER, "password": PASSWORD, "partitions": PARTITIONS}
    properties = folder / "server.properties"
    properties.write_text(PROPERTIES.format(folder=folder / "data", **ports, **who))
    cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    format_storage = ["format", "--cluster-id", cluster, "--config", str(properties)]
    with (folder / "broker.log").open("ab") as log:
        subprocess.run(  # noqa: S603
            _command("kafka.tools.StorageTool", *format_storage),
            stdout=log,
            stderr=log,
            env=_environment(),
            check=True,
            timeout=WAIT_S,
        )
        process = subprocess.Popen(  # noqa: S603
            _command("kafka.Kafka", str(properties)), stdout=log, stderr=log, env=_environment()
        )
        try:
            _wait(lambda: _listens(plain, process), folder / "broker.log")
            yield Broker(plain, sasl)
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _command(name: str, *arguments: str) -> list[str]:
    """Java's command for a class of the broker's jars."""
    submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    options = ["--master", "local[1]", "--driver-memory", "512m", "--packages", PACKAGES]
    excluded = ["--exclude-packages", "org.scala-lang:scala-library,org.scala-lang:scala-reflect"]
    return [str(submit), *options, *excluded, "--class", name, "spark-internal", *arguments]


def _environment() -> dict[str, str]:
    home = Path(pyspark.__file__).parent
    return os.environ | {
        "SPARK_HOME": str(home),
        "SPARK_CONF_DIR": "",
        "PYSPARK_PYTHON": sys.executable,
    }


def _listens(port: int, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "the broker ended"
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait(done: Callable[[], bool], log: Path) -> None:
    until = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < until, log.read_text(errors="replace")[-2_000:]
        time.sleep(0.1)
