"""What stands before the routes: keys, rates, the size of bodies; and a line and figures after."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from pydantic_core import to_json
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consumers.serving.keys import KeyRing
from consumers.serving.metrics import PATHS, ServingMetrics
from consumers.serving.stages import Stage
from consumers.serving.words import place_of, places_of
from vidtopics.errors import explain
from vidtopics.service import logs

FACTS = "vidtopics"
"""Under which a request's scope has its :class:`Facts`."""
PROBES = frozenset({"/live", "/ready", "/metrics"})
"""Asked every few seconds, by who has no key; no line of the log."""
PAGE = "/"
"""Markup and scripts alone: what it shows it asks for with the key that a person enters."""
OPEN = PROBES | {"/openapi.json", PAGE}
EVENTS = "/events"
"""The only route that changes anything."""
BODY_SECONDS = 10.0
GONE = 499
"""The status of a request whose answer has not begun: who asked has left."""
BUG = "vidtopics: expected an answer, found a bug of ours. Mend: see the service's log."
UNMATCHED = "unmatched"
"""The route of a path that there is not: the path itself could have a user's id."""


@dataclass
class Facts:
    """What a route says of its answer for the log.

    Attributes:
        degraded: what it went without.
        release: that it was answered from.
        cause: why no model scored, a damaged value, or of an error.
    """

    degraded: list[Stage] = field(default_factory=list)
    release: int | None = None
    cause: str = ""


class RefusedError(Exception):
    """A request that doesn't reach its route."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


class Gate:
    """ASGI middleware around the routes.

    Args:
        app: the routes.
        keys: of callers; None: everybody may read and write, as on loopback.
        most: bytes of a body.
        at_once: requests that read, and requests that send events, under way at the same time.
        metrics: count what was answered.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: KeyRing | None,
        most: int,
        at_once: int,
        metrics: ServingMetrics,
    ) -> None:
        self._app = app
        self._keys = keys
        self._most = most
        self._at_once = at_once
        self._metrics = metrics
        self._under_way = dict.fromkeys(PATHS, 0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; an error that no route's handler knows is a bug: 500, and a line of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, facts, status = time.perf_counter(), Facts(), GONE
        scope[FACTS] = facts
        key = ""

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            key = self._admit(scope)
            body = await self._body(scope, receive)
            if body is not None:
                with self._room(scope):
                    await self._app(scope, _replayed(body, receive), answer)
        except RefusedError as refused:
            facts.cause = str(refused)
            await _refuse(refused, answer)
        except Exception as error:  # of ours; what is raised on, uvicorn logs with its text
            facts.cause = place_of(error)
            logs.error("bug", cause=facts.cause, places=places_of(error))
            if status == GONE:
                await _refuse(RefusedError(500, BUG), answer)
        finally:
            self._note(scope, facts, status, time.perf_counter() - began, key)

    def _admit(self, scope: Scope) -> str:
        """The name of the caller's key; empty where none is asked for."""
        headers = dict(scope["headers"])
        if scope["path"] in OPEN:
            return ""
        if self._keys is None:
            _require_loopback(headers.get(b"host", b"").decode("latin-1"))
            return ""
        kind, _, secret = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        name = self._keys.name_of(secret.strip()) if kind.lower() == "bearer" else None
        if name is None:
            text = "the header Authorization: expected Bearer and an API key, found another"
            raise RefusedError(401, f"{text}. Mend: ask for a key.", {"www-authenticate": "Bearer"})
        scopes = self._keys.keys[name].scopes
        needed = "events" if _route_of(scope) == EVENTS else "read"  # as the router will see it
        if needed not in scopes:
            message = explain(
                f"the key {name}",
                expected=f"the scope {needed!r}",
                found=", ".join(sorted(scopes)),
                mend="take a key that has it",
            )
            raise RefusedError(403, message)
        if wait_s := self._keys.buckets[name].take():
            message = explain(
                f"the key {name}",
                expected=f"{self._keys.keys[name].rate:g} requests a second at most",
                found="more",
                mend=f"wait {wait_s:.2g} s",
            )
            raise RefusedError(429, message, {"retry-after": str(math.ceil(wait_s))})
        return name

    @contextmanager
    def _room(self, scope: Scope) -> Iterator[None]:
        """Around a request; one too many ends at once, as it would only make all of them late."""
        if scope["path"] in OPEN:
            yield
            return
        path = "sending" if _route_of(scope) == EVENTS else "reading"
        if self._under_way[path] >= self._at_once:
            self._metrics.busy(path)
            message = explain(
                "this worker",
                expected=f"{self._at_once} requests under way at most",
                found="one more",
                mend="ask again in a moment; more --workers, or another host, carry more",
            )
            raise RefusedError(503, message, {"retry-after": "1"})
        self._under_way[path] += 1
        try:
            yield
        finally:
            self._under_way[path] -= 1

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """The body, read to its end but not parsed; None: the caller is gone."""
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._most:
            raise self._too_large()
        try:
            return await asyncio.wait_for(self._chunks(receive), BODY_SECONDS)
        except TimeoutError:
            message = explain(
                "the body",
                expected=f"its end within {BODY_SECONDS:g} s",
                found="a part",
                mend="send it faster",
            )
            raise RefusedError(408, message, {"connection": "close"}) from None

    async def _chunks(self, receive: Receive) -> bytes | None:
        chunks, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self._most:
                raise self._too_large()
            if not message.get("more_body", False):
                return b"".join(chunks)

    def _too_large(self) -> RefusedError:
        message = explain(
            "the body",
            expected=f"{self._most:,} bytes at most",
            found="more",
            mend="ask for less at once, or raise `serving.max_body`",
        )
        return RefusedError(413, message, {"connection": "close"})

    def _note(self, scope: Scope, facts: Facts, status: int, seconds: float, key: str) -> None:
        route = _route_of(scope)
        self._metrics.answered(route, status, seconds, facts.degraded)
        if route in PROBES:
            return
        fields: dict[str, Any] = {
            "method": scope["method"],
            "route": route,
            "status": status,
            "ms": round(1e3 * seconds, 2),
        }
        fields |= {"key": key} if key else {}
        fields |= {} if facts.release is None else {"release": facts.release}
        fields |= {"degraded": facts.degraded} if facts.degraded else {}
        fields |= {"cause": facts.cause} if facts.cause else {}
        logs.info("request", **fields)


def _require_loopback(host: str) -> None:
    """RefusedError for a host's name that a stranger's page may have given to this machine.

    >>> _require_loopback("127.0.0.1:8080"), _require_loopback("[::1]"), _require_loopback("")
    (None, None, None)
    >>> _require_loopback("evil.example:8080")
    Traceback (most recent call last):
    ...
    consumers.serving.gate.RefusedError: the header Host: expected localhost or a loopback address,
    as there are no API keys, found 'evil.example'. Mend: name it so, or serve with --keys FILE.
    """
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    try:
        is_loopback = ip_address(name).is_loopback
    except ValueError:
        is_loopback = name in ("", "localhost")
    if not is_loopback:
        message = explain(
            "the header Host",
            expected="localhost or a loopback address, as there are no API keys",
            found=ascii(name),
            mend="name it so, or serve with --keys FILE",
        )
        raise RefusedError(403, message)


def _route_of(scope: Scope) -> str:
    """The route's path with names in the place of values, also of a request that was refused."""
    if "route" in scope:
        return str(scope["route"].path)
    for route in scope["app"].routes:
        if route.matches(scope)[0] != Match.NONE:
            return str(route.path)
    return UNMATCHED


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body as one message, then what the server says."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message


async def _refuse(refused: RefusedError, send: Send) -> None:
    body = to_json({"errors": [str(refused)]})
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    headers |= refused.headers
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
