"""The routes of the page for people: itself, and what it shows of the home's tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Query, Request, Response
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from consumers.serving import messages, page_messages
from consumers.serving.catalogue import Described, HomeCatalogue
from consumers.serving.gate import FACTS, PAGE
from consumers.serving.live import Live
from consumers.serving.page import page
from consumers.serving.pools import DaemonPool
from consumers.serving.service import Service, within
from consumers.serving.words import place_of
from vidtopics.errors import TableError, VidtopicsError, explain
from vidtopics.online.live import LiveStatistics

T = TypeVar("T")
THREADS = 2
"""That read tables and covers: they keep no other request waiting."""
TABLES_S = 10.0
"""That a read of the home's tables may take."""
IMAGE = "image/webp"
VideoIds = Annotated[list[messages.Id], Query(alias="id", min_length=1)]


class UnreadError(TableError):
    """The home's tables can't be read, or not in time."""


class _Reader:
    """Reads the home's tables in threads of its own."""

    def __init__(self) -> None:
        self._pool = DaemonPool(THREADS, "tables")

    async def read(self, call: Callable[[], T]) -> T:
        """What a read gives; UnreadError where it fails, whatever the reason."""
        try:
            return await within(TABLES_S, self._pool, call)
        except VidtopicsError as error:
            raise UnreadError(str(error)) from error
        except Exception as error:  # of a damaged table, whose text could have ids
            message = explain(
                "tables",
                expected="rows",
                found="no end" if isinstance(error, TimeoutError) else place_of(error),
                mend="see that the home can be read",
            )
            raise UnreadError(message) from error


def add_page(
    app: FastAPI, service: Service, catalogue: HomeCatalogue, options: dict[str, Any]
) -> None:
    """Add the page and its routes.

    Args:
        app: of the service.
        service: answers.
        catalogue: of the home.
        options: of routes that a key is asked for.
    """
    reader = _Reader()

    @app.get(PAGE, response_class=Response, include_in_schema=False)
    async def show_page() -> Response:
        """The page."""
        return Response(page().body, media_type="text/html", headers=page().headers)

    @app.get("/users", response_model=page_messages.UsersAnswer, **options)
    async def users(limit: Annotated[messages.Limit, Query()] = None) -> Response:
        """Some users who clicked, at random."""
        number = service.videos("query", limit)
        try:
            user_ids = await reader.read(lambda: catalogue.users(number))
        except UnreadError as error:
            raise HTTPException(503, str(error), {"retry-after": "1"}) from None
        return _json({"user_ids": user_ids})

    @app.get("/videos", response_model=page_messages.VideosAnswer, **options)
    async def videos(ids: VideoIds, request: Request) -> Response:
        """Titles and counts of videos, counts up to the last event."""
        service.check_limit("query, id", len(ids), service.settings.max_videos, "max_videos")
        live, counts = await service.answer(service.deadline(), lambda live: _counts(live, ids))
        request.scope[FACTS].release = live.release
        described: dict[str, Described] | None = None
        try:
            described = await reader.read(lambda: catalogue.describe(ids))
        except UnreadError as error:
            request.scope[FACTS].cause = str(error)
        return _json({"videos": _facts(ids, counts, described), "release": live.release})

    image: dict[int | str, dict[str, Any]] = {
        200: {"content": {IMAGE: {}}},
        204: {"description": "The catalogue has no cover of it that can be read"},
    }

    @app.get(
        "/covers/{video_id:path}",
        response_class=Response,
        **options | {"responses": options["responses"] | image},
    )
    async def cover(video_id: messages.Id, request: Request) -> Response:
        """A small WebP of a video's cover."""
        thumbnail = b""
        try:
            thumbnail = await reader.read(lambda: catalogue.thumbnail(video_id))
        except UnreadError as error:
            request.scope[FACTS].cause = str(error)
        if not thumbnail:
            return Response(status_code=204)
        headers = {"cache-control": "private, max-age=3600"}
        return Response(thumbnail, media_type=IMAGE, headers=headers)


def _counts(live: Live, video_ids: Sequence[str]) -> LiveStatistics:
    return live.store.live_statistics(video_ids)


def _facts(
    video_ids: Sequence[str], counts: LiveStatistics, described: dict[str, Described] | None
) -> list[dict[str, Any]]:
    """Plain values of videos, in their order; without titles where there are none to be had."""
    numbers = zip(video_ids, counts.exposures.tolist(), counts.clicks.tolist(), strict=True)
    return [
        {
            "video_id": video,
            "title": None if described is None else described[video].title,
            "has_cover": described is not None and bool(described[video].cover),
            "exposures": exposures,
            "clicks": clicks,
        }
        for video, exposures, clicks in numbers
    ]


def _json(value: object) -> Response:
    return Response(to_json(value), media_type="application/json")
