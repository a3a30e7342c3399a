"""`/live`, `/ready` and `/metrics`."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request

import pytest

from vidtopics.service.health import LOOPBACK, answering


def get(port: int, page: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}{page}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_only_readiness_depends_on_anything() -> None:
    reasons = ["Redis doesn't answer", "lag"]
    with answering(LOOPBACK, 0, lambda: iter(reasons), lambda: b"up 1\n") as port:
        assert get(port, "/live") == (200, '{"live": true}\n')
        status, body = get(port, "/ready")
        assert (status, json.loads(body)) == (503, {"ready": False, "reasons": reasons})
        reasons.clear()
        assert get(port, "/ready?verbose") == (200, '{"ready": true, "reasons": []}\n')
        assert get(port, "/metrics") == (200, "up 1\n")
        assert get(port, "/")[0] == 404


def test_a_client_that_says_nothing_holds_up_no_other() -> None:
    with (
        answering(LOOPBACK, 0, list, bytes) as port,
        socket.create_connection((LOOPBACK, port)),
        socket.create_connection((LOOPBACK, port)),
    ):
        assert get(port, "/live")[0] == 200


def test_a_port_that_is_taken_is_an_error_at_once() -> None:
    with answering(LOOPBACK, 0, list, bytes) as port, pytest.raises(OSError, match="in use"):  # noqa: SIM117
        with answering(LOOPBACK, port, list, bytes):
            pass


def test_it_answers_on_loopback_of_both_families() -> None:
    try:
        with answering("::1", 0, list, bytes) as port:
            socket.create_connection(("::1", port)).close()
    except OSError:
        pytest.skip("no IPv6 here")
