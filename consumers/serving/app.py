"""The routes, and what errors are answered with."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from http import HTTPStatus
from math import ceil
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from pydantic_core import to_json
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException

import vidtopics
from consumers.serving import event_status, events, messages, reading, recommending, users
from consumers.serving import similar as neighbours
from consumers.serving.breaker import OpenError
from consumers.serving.catalogue import HomeCatalogue
from consumers.serving.gate import EVENTS, FACTS, Facts, Gate
from consumers.serving.keys import KeyRing
from consumers.serving.media_types import ARROW, JSON, LINES, MediaTypeError, require_json
from consumers.serving.page_messages import EventStatusAnswer, UserAnswer
from consumers.serving.page_routes import add_page
from consumers.serving.service import Service
from consumers.serving.words import in_words
from vidtopics.errors import InputError, StoreError, explain

RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": messages.Errors, "description": text}
    for status, text in {
        401: "No API key, or an unknown one",
        403: "The key's scopes don't allow it",
        408: "The body's end didn't come in time",
        413: "The body is too large",
        422: "The request is wrong",
        429: "Too many requests by this key",
        503: "Nothing is live, Redis doesn't answer in time, or enough requests are under way",
    }.items()
}
NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"model": messages.Errors, "description": "Nothing of this id in the live release"}
}
NO_ID: dict[int | str, dict[str, Any]] = {
    404: {"model": messages.Errors, "description": "The path has a line break, which no id has"}
}
OPTIONS: dict[str, Any] = {
    "responses": RESPONSES,
    "dependencies": [Depends(HTTPBearer(auto_error=False))],
}
"""Of what is asked with a key; the gate looks at it, the dependency shows it in OpenAPI."""
MEDIA_TYPE: dict[int | str, dict[str, Any]] = {
    415: {"model": messages.Errors, "description": "The header Content-Type is missing or another"}
}
JSON_OPTIONS: dict[str, Any] = {
    "responses": RESPONSES | MEDIA_TYPE,
    "dependencies": [*OPTIONS["dependencies"], Depends(require_json)],
}
"""Likewise, of routes whose body is JSON."""
NONE_TAKEN: dict[int | str, dict[str, Any]] = {
    422: {
        "model": messages.RefusedEvents | messages.Errors,
        "description": "No event was taken, or the body is wrong",
    }
}
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
EVENT = {
    "kind": "click",
    "event_id": "e7",
    "user_id": "u0000047",
    "video_id": "v0000786",
    "event_timestamp": "2026-01-15T00:05:00Z",
    "clicked_at": "2026-01-15T00:05:02Z",
}
"""The example of OpenAPI."""
WORDS = {
    "missing": "a value",
    "extra_forbidden": "a known field",
    "string_unicode": "text in UTF-8",
    "string_too_short": "text",
    "string_too_long": "256 characters at most",
}
"""Of pydantic's errors whose own words don't follow "expected"."""
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60


def make_app(
    service: Service,
    keys: KeyRing | None,
    lifespan: Lifespan | None = None,
    page: HomeCatalogue | None = None,
) -> FastAPI:
    """The service's routes behind its gate.

    Args:
        service: answers.
        keys: of callers; None: no key is asked for.
        lifespan: what runs beside it.
        page: what the page for people shows of the home's tables; None: there is no page.
    """
    app = FastAPI(
        title="vidtopics",
        version=vidtopics.__version__,
        description="Recommendations and features of videos by their topics (docs/serving.md).",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # it would send callers where their header Host says
        lifespan=lifespan,
    )
    _add_routes(app, service)
    _add_live(app, service)
    if page is not None:
        add_page(app, service, page, OPTIONS)
    _add_probes(app, service)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(MediaTypeError, _media_type)
    app.add_exception_handler(InputError, _wrong)
    for kind in (StoreError, RedisError):
        app.add_exception_handler(kind, _unavailable)
    limits = {"most": service.settings.max_body, "at_once": service.settings.max_requests}
    app.add_middleware(Gate, keys=keys, metrics=service.metrics, **limits)
    return app


def _add_routes(app: FastAPI, service: Service) -> None:
    @app.post("/recommend", response_model=messages.RecommendAnswer, **JSON_OPTIONS)
    async def recommend(body: messages.RecommendRequest, request: Request) -> Response:
        """Videos for a user, each with its reason and topics."""
        answer, cause = await recommending.recommend(service, body)
        facts: Facts = request.scope[FACTS]
        facts.degraded, facts.release = answer["degraded"], answer["release"]
        facts.cause = cause
        return _json(answer)

    arrow = {"content": {ARROW: {"schema": {"type": "string", "format": "binary"}}}}

    @app.post(
        "/features",
        response_model=messages.FeaturesAnswer,
        **JSON_OPTIONS | {"responses": RESPONSES | MEDIA_TYPE | {200: arrow}},
    )
    async def features(body: messages.FeaturesRequest, request: Request) -> Response:
        """Features of videos and users; Arrow IPC where that is what is accepted."""
        live, views = await reading.features(service, body)
        request.scope[FACTS].release = live.release
        if ARROW in request.headers.get("accept", ""):
            return Response(reading.as_arrow(live, views, body.ids), media_type=ARROW)
        return _json(reading.as_json(live, views))

    @app.get(
        "/topics/{topic_id}",
        response_model=messages.TopicAnswer,
        **OPTIONS | {"responses": RESPONSES | NOT_FOUND},
    )
    async def topic(
        topic_id: int, request: Request, limit: Annotated[messages.Limit, Query()] = None
    ) -> Response:
        """What a topic is called, its parent, and the first videos of its queue."""
        answer = await reading.topic(service, topic_id, limit)
        if answer is None:
            text = explain(
                f"topic {topic_id}",
                expected="a topic of the live release",
                found="none",
                mend="take an id of `topics` in a recommendation",
            )
            raise HTTPException(404, text)
        request.scope[FACTS].release = answer["release"]
        return _json(answer)

    _add_similar(app, service)
    _add_events(app, service)


def _add_similar(app: FastAPI, service: Service) -> None:
    @app.post(
        "/similar",
        response_model=messages.SimilarAnswer,
        **JSON_OPTIONS | {"responses": RESPONSES | MEDIA_TYPE | NOT_FOUND},
    )
    async def similar(body: messages.SimilarRequest, request: Request) -> Response:
        """The videos nearest to one or several, by cosine."""
        if not service.settings.similar:
            text = explain(
                "similar videos",
                expected="spaces in `serving.similar`",
                found="none",
                mend="set it, for instance to [joint], and start the service again",
            )
            raise HTTPException(404, text)
        answer = await neighbours.similar(service, body)
        if answer is None:
            text = explain(
                "body, video_ids",
                expected="a video with a vector in the live release",
                found="none",
                mend="take ids of a recommendation",
            )
            raise HTTPException(404, text)
        request.scope[FACTS].release = answer["release"]
        return _json(answer)


def _add_live(app: FastAPI, service: Service) -> None:
    """What events did up to now."""

    @app.get(
        "/users/{user_id:path}",
        response_model=UserAnswer,
        **OPTIONS | {"responses": RESPONSES | NO_ID},
    )
    async def user(
        user_id: messages.Id, request: Request, limit: Annotated[messages.Limit, Query()] = None
    ) -> Response:
        """What a user did up to the last event that was applied, and the topics of it."""
        answer, cause = await users.user(service, user_id, limit)
        facts: Facts = request.scope[FACTS]
        facts.degraded, facts.release = answer["degraded"], answer["release"]
        facts.cause = cause
        return _json(answer)

    @app.get("/events/status", response_model=EventStatusAnswer, **OPTIONS)
    async def status(request: Request) -> Response:
        """How far the events that were sent have been applied."""
        answer = await event_status.status(service)
        request.scope[FACTS].release = answer["release"]
        return _json(answer)


def _add_events(app: FastAPI, service: Service) -> None:
    content: dict[str, Any] = {kind: {} for kind in (JSON, LINES, ARROW)}
    content[JSON]["example"] = [EVENT]

    @app.post(
        EVENTS,
        response_model=messages.EventsAnswer,
        openapi_extra={"requestBody": {"content": content, "required": True}},
        **OPTIONS | {"responses": RESPONSES | MEDIA_TYPE | NONE_TAKEN},
    )
    async def send_events(request: Request) -> Response:
        """What users did: impressions, clicks and watches; an answer says that Redis has them."""
        kind = request.headers.get("content-type", "")
        sent = await events.send(service, kind, await request.body())
        refused = [asdict(refusal) for refusal in sent.refused]
        answer = {"acknowledged": sent.acknowledged, "refused": refused}
        if refused and not sent.acknowledged:
            return _json({"errors": [events.none_taken(sent.refused)]} | answer, 422)
        return _json(answer)


def _add_probes(app: FastAPI, service: Service) -> None:
    @app.get("/live", response_model=messages.Liveness)
    async def live() -> Response:
        """That the process runs; it depends on nothing."""
        return _json({"live": True})

    @app.get(
        "/ready",
        response_model=messages.Readiness,
        responses={503: {"model": messages.Readiness, "description": "Not ready"}},
    )
    async def ready() -> Response:
        """Whether requests should come here: 503 with the reasons where they shouldn't."""
        reasons = list(service.not_ready())
        return _json({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(service.metrics.page(), media_type="text/plain; version=0.0.4")


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    body = to_json(value, inf_nan_mode="null")
    return Response(body, status, media_type=JSON, headers=headers)


def _errors(
    request: Request, status: int, errors: list[str], headers: dict[str, str] | None = None
) -> Response:
    """The answer of a request that failed; the log has the words of our side's faults alone."""
    if status >= 500:
        request.scope[FACTS].cause = errors[0]
    return _json({"errors": errors}, status, headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _errors(request, 422, [_in_words(e) for e in error.errors()])


def _in_words(error: dict[str, Any]) -> str:
    """One of pydantic's errors.

    >>> _in_words({"loc": ("body", "limit"), "type": "missing", "msg": "Field required"})
    'body, limit: expected a value, found none. Mend: see /openapi.json.'
    """
    if error["type"] == "json_invalid":
        problem = str(error.get("ctx", {}).get("error", "something else"))
        return explain("body", expected="JSON", found=problem, mend="send one JSON object")
    where = ", ".join(str(part) for part in error["loc"])
    return explain(
        where.encode("ascii", "backslashreplace").decode(),
        expected=WORDS.get(error["type"], str(error["msg"]).removeprefix("Input should be ")),
        found="none" if error["type"] == "missing" else ascii(_SHORT.repr(error["input"]))[1:-1],
        mend="see /openapi.json",
    )


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = str(error.detail)
    if error.status_code == 400:  # FastAPI's, whatever the parser raised
        expected, mend = "JSON in UTF-8, not too deep", "send one JSON object"
        detail = explain("body", expected=expected, found="something else", mend=mend)
        return _errors(request, 422, [detail])
    if error.status_code in (404, 405) and detail == HTTPStatus(error.status_code).phrase:
        asked = "another path" if error.status_code == 404 else f"{request.method} of this one"
        detail = explain("the path", expected="a route", found=asked, mend="see /openapi.json")
    return _errors(request, error.status_code, [detail], dict(error.headers or {}))


async def _wrong(request: Request, error: Exception) -> Response:
    return _errors(request, 422, [str(error)])


async def _media_type(request: Request, error: Exception) -> Response:
    return _errors(request, 415, [str(error)])


async def _unavailable(request: Request, error: Exception) -> Response:
    wait_s = error.wait_s if isinstance(error, OpenError) else 1.0
    return _errors(request, 503, [in_words(error)], {"retry-after": str(max(1, ceil(wait_s)))})
