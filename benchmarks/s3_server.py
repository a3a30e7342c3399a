"""An S3 server on loopback, and a proxy in front of it that counts, for benchmarks and tests."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# In a process of its own: delta-rs holds Python's lock while it waits for some answers.
SERVER = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").disabled = True
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
SECRET = "never-to-be-shown"  # noqa: S105  of a server on loopback


@dataclass(frozen=True)
class Proxy:
    """A proxy, by its port."""

    port: int

    def requests(self) -> list[dict[str, Any]]:
        """What passed: method, path, range, status, bytes sent and received, fault."""
        address = f"http://127.0.0.1:{self.port}/-/requests"
        with urllib.request.urlopen(address) as answer:
            requests: list[dict[str, Any]] = json.load(answer)
        return requests


@contextmanager
def s3_server() -> Iterator[int]:
    """The port of a fresh server, which keeps its buckets in memory."""
    with _serving("-c", SERVER) as port:
        yield port


@contextmanager
def s3_proxy(upstream: int, fault: str = "none", every: int = 0) -> Iterator[Proxy]:
    """A proxy that spoils every nth request; see :mod:`benchmarks.s3_proxy`."""
    with _serving("-m", "benchmarks.s3_proxy", str(upstream), fault, str(every)) as port:
        yield Proxy(port)


def environment(port: int) -> dict[str, str]:
    """The variables by which a server on loopback is reached."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


@contextmanager
def _serving(*command: str) -> Iterator[int]:
    """The port that a process prints; it ends with its input."""
    with subprocess.Popen(  # noqa: S603  commands of ours
        [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        yield int(server.stdout.readline())
        server.stdin.close()
