"""`POST /similar`: the videos nearest to some, from vectors of the release kept in memory."""

from __future__ import annotations

from functools import partial
from typing import Any

from consumers.serving.live import Live
from consumers.serving.messages import SimilarRequest
from consumers.serving.neighbours import Neighbours
from consumers.serving.service import Service, within
from vidtopics.errors import InputError, StoreError, explain
from vidtopics.settings import Space


async def similar(service: Service, request: SimilarRequest) -> dict[str, Any] | None:
    """The answer in plain values; None where none of the videos has a vector.

    Raises:
        InputError: more videos than `serving.max_videos`, or a space that isn't served.
        StoreError: the vectors couldn't be read, or nothing is live.
        DeadlineError: it took too long.
    """
    limit, deadline = service.videos("body", request.limit), service.deadline()
    live = service.watch.needed()
    space = _space(service, request)
    index = _index(live, space)
    with_vector = [video for video in dict.fromkeys(request.video_ids) if video in index.row_of]
    if not with_vector:
        return None
    nearest = partial(index.near, with_vector, limit)
    try:
        near = await within(deadline.left(), service.ranking, nearest)
    except TimeoutError:
        raise deadline.late() from None
    return {
        "by": space,
        "videos": [
            {"rank": rank, "video_id": video, "cosine": cosine}
            for rank, (video, cosine) in enumerate(near, 1)
        ],
        "left_out": [v for v in dict.fromkeys(request.video_ids) if v not in index.row_of],
        "release": live.release,
    }


def _space(service: Service, request: SimilarRequest) -> Space:
    served = service.settings.similar
    if request.by is not None and request.by not in served:
        raise InputError(
            explain(
                "body, by",
                expected=" or ".join(served),
                found=request.by,
                mend="name a space of `serving.similar`, or add this one to it",
            )
        )
    return request.by or served[0]


def _index(live: Live, space: Space) -> Neighbours:
    if live.neighbours is None or space not in live.neighbours:
        raise StoreError(
            explain(
                f"vectors of release {live.release}",
                expected="the tables' at the service's last look",
                found="tables that can't be read",
                mend="see the service's log",
            )
        )
    return live.neighbours[space]
