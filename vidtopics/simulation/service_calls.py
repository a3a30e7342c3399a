"""What a simulated platform asks a running `vidtopics serve`, over HTTP."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from vidtopics.errors import MachineError, explain

TIMEOUT_S = 30.0
PATIENCE_S = 60.0
"""For how long an answer of 503, or none, is asked for again: a service may restart."""
PAUSE_S = 0.2


class NotNowError(Exception):
    """The service can't answer at the moment."""


class ServiceCalls:
    """A service, with a connection for each thread that asks.

    Args:
        url: `http://HOST:PORT`.
        patience_s: for how long a request is repeated.
    """

    def __init__(self, url: str, *, patience_s: float = PATIENCE_S) -> None:
        self.url = url
        self._patience_s = patience_s
        self._local = threading.local()

    def recommend(self, user_id: str, limit: int) -> dict[str, Any]:
        """The answer of `POST /recommend`."""
        body = {"user_id": user_id, "limit": limit}
        answer: dict[str, Any] = self._ask("POST", "/recommend", body)
        return answer

    def send(self, events: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The answer of `POST /events`; what was sent before a failure counts once all the same."""
        answer: dict[str, Any] = self._ask("POST", "/events", list(events))
        return answer

    def status(self) -> dict[str, Any]:
        """The answer of `GET /events/status`."""
        answer: dict[str, Any] = self._ask("GET", "/events/status")
        return answer

    def queue(self, topic_id: int, limit: int) -> list[str]:
        """The first videos of a topic's queue."""
        videos: list[str] = self._ask("GET", f"/topics/{topic_id}?limit={limit}")["videos"]
        return videos

    def not_ready(self) -> list[str]:
        """Why the service isn't ready; nothing where it is."""
        try:
            reasons: list[str] = json.loads(self._once("GET", "/ready", None)[1])["reasons"]
        except (OSError, http.client.HTTPException) as error:
            return [f"no answer: {error}"]
        return reasons

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        """The parsed answer.

        Raises:
            MachineError: none within the patience, or one that says that the request is wrong.
        """
        try:
            for attempt in Retrying(
                stop=stop_after_delay(self._patience_s),
                wait=wait_fixed(PAUSE_S),
                retry=retry_if_exception_type((OSError, http.client.HTTPException, NotNowError)),
                reraise=True,
            ):
                with attempt:
                    status, text = self._once(method, path, body)
                    if status == 503:
                        raise NotNowError(text.decode(errors="replace"))
                    if status == 200:
                        return json.loads(text)
                    raise _failed(f"{method} {path.partition('?')[0]}", f"{status} {text[:200]!r}")
        except (OSError, http.client.HTTPException, NotNowError) as error:
            raise _failed(self.url, str(error) or type(error).__name__) from error

    def _once(self, method: str, path: str, body: object) -> tuple[int, bytes]:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            parts = urlsplit(self.url)
            connection = http.client.HTTPConnection(
                parts.hostname or "", parts.port, timeout=TIMEOUT_S
            )
            self._local.connection = connection
        data = None if body is None else json.dumps(body)
        headers = {} if data is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            raise


def _failed(where: str, found: str) -> MachineError:
    mend = "see the service's log"
    return MachineError(explain(where, expected="an answer", found=found, mend=mend))
