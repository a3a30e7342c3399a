"""`vidtopics serve`: what a request may ask for, how long it takes, and how the service ends."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from vidtopics.settings.section import Positive, Section

Space = Literal["joint", "tag"]
"""What two videos are compared by: cover and title, or tags."""


class ServingSettings(Section):
    """Limits of the HTTP service (docs/serving.md)."""

    deadline: Annotated[timedelta, Field(gt=timedelta(0))] = timedelta(milliseconds=500)
    """Within which a request is answered, or ends with 503."""
    ranker_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Of what is left of the deadline; a ranker that takes longer is done without."""
    threads: Positive = 2
    """Requests that one worker reads for, ranks, and sends events of, at the same time."""
    max_requests: Positive = 16
    """Requests under way in one worker, and as many that send events; one more ends with 503."""
    breaker_failures: Positive = 5
    """Requests in a row that got no answer of Redis, after which it isn't asked for a pause."""
    breaker_pause: Annotated[timedelta, Field(gt=timedelta(0))] = timedelta(seconds=1)
    """Until one request finds out whether it answers again."""
    max_body: Positive = 2**20
    """Bytes of a request's body."""
    max_events: Positive = 2_000
    """Events of a body of `POST /events`."""
    max_ids: Positive = 5_000
    """Ids of all entities in a request for features."""
    max_videos: Positive = 100
    """Videos that a recommendation, or a topic's queue, is asked for."""
    similar: tuple[Space, ...] = ()
    """Spaces that `POST /similar` finds neighbours in; each takes memory (docs/serving.md)."""
    check_every: Annotated[timedelta, Field(gt=timedelta(0))] = timedelta(seconds=1)
    """Between two looks at which release is live, and whether there is another ranker."""
    require_events: bool = False
    """Whether `/ready` says no while events are behind by more than `online.max_event_lag`. All
    workers read one Redis: a balancer would take them all out at once."""
    page: bool | None = None
    """Whether `/` is a page for people, with the routes that it needs; none: where only loopback is
    served."""
    drain: Annotated[timedelta, Field(ge=timedelta(0))] = timedelta(seconds=5)
    """From SIGTERM, when `/ready` begins to say no, until no connection is taken any more."""
