"""A request's line and headers end, in bytes and in seconds, before anybody's key is looked at."""

import socket
import threading
from contextlib import contextmanager
from http.client import HTTPConnection

import pytest
from uvicorn import Config, Server

from consumers.serving import protocol
from consumers.serving.protocol import MAX_HEAD, BoundedProtocol

pytestmark = pytest.mark.timeout(60)
START = b"GET / HTTP/1.1\r\nHost: a\r\n"


async def echo(scope, receive, send):
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % size})


@pytest.fixture
def port():
    config = Config(echo, http=BoundedProtocol, ws="none", lifespan="off", log_config=None)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join()


@contextmanager
def connected(port):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        yield connection


def answer(connection, *pieces):
    """The first bytes of the answer; none where the connection ended without one."""
    try:
        for piece in pieces:
            connection.sendall(piece)
        return connection.recv(4_096)
    except (ConnectionResetError, BrokenPipeError):
        return b"HTTP/1.1 400 "  # which it sent before it closed


@pytest.mark.parametrize(
    "piece", [b"x" * 65_536, b"X-A: " + b"y" * 4_000 + b"\r\n"], ids=["one header", "many"]
)
def test_headers_without_end_are_refused(port, piece):
    for start in (START + b"X: ", b"GET /"):
        with connected(port) as connection:
            assert answer(connection, start, *[piece] * 500).startswith(b"HTTP/1.1 400 ")


def test_large_bodies_and_further_requests_are_read(port):
    """A body isn't counted, and each request on a connection has the whole of the limit."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    for _ in range(4):
        headers = {"X": "x" * (MAX_HEAD // 2)}
        connection.request("POST", "/", b"b" * (4 * MAX_HEAD), headers)
        assert connection.getresponse().read() == b"%d" % (4 * MAX_HEAD)
    connection.close()


def test_a_head_that_never_ends_is_ended(port, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.05)
    with connected(port) as connection:
        assert answer(connection, START) == b""
