"""Bodies of requests and answers; OpenAPI shows them with their examples."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from consumers.serving.stages import Stage
from vidtopics.settings import Space

Limit = Annotated[
    int | None, Field(ge=1, description="`serving.max_videos` at most; null: 10, or that many.")
]
Id = Annotated[str, Field(min_length=1, max_length=256)]


def _body(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [example]})


class RecommendRequest(BaseModel):
    """Videos for a user."""

    model_config = _body({"user_id": "u0000047", "limit": 5})

    user_id: Id
    limit: Limit = None
    seed: Annotated[
        int | None, Field(ge=0, lt=2**63, description="Of the draw of fresh videos; none: a new.")
    ] = None


class VideoTopic(BaseModel):
    """A topic of a video."""

    topic_id: int
    weight: Annotated[float, Field(description="Cosine to the topic's centre.")]
    label_terms: list[str]


class RecommendedVideo(BaseModel):
    """A video with its reason, as `vidtopics recommend --json` has it, and its topics."""

    rank: int
    video_id: str
    score: Annotated[float | None, Field(description="Click probability; null: none was ranked.")]
    level: Literal["topic", "parent", "catalogue"]
    topic_id: int
    label_terms: list[str]
    queue_position: int
    topic_clicks: int
    fresh: bool
    reason: str
    topics: list[VideoTopic]


class ModelVersion(BaseModel):
    """Which ranker scored."""

    version: str
    trained_on_release: int


class LiveEvents(BaseModel):
    """The events that count beside the release."""

    since_us: Annotated[int, Field(description="The release's as-of time, Unix microseconds.")]
    exposures: Annotated[int, Field(description="The user's impressions since then.")]
    clicks: int
    damaged: Annotated[
        bool, Field(description="The user's value can't be parsed, so none of theirs counts.")
    ]


class RecommendAnswer(BaseModel):
    """Videos, best first, and what they come from."""

    user_id: str
    videos: list[RecommendedVideo]
    clicks: Annotated[int, Field(description="Recent clicks that recall started from.")]
    candidates: int
    popular: Annotated[str, Field(description="Empty, or why popular topics were taken.")]
    left_out: dict[str, dict[str, int]]
    live: Annotated[LiveEvents | None, Field(description="Null: the release's values alone.")]
    release: int
    model: ModelVersion | None
    degraded: Annotated[list[Stage], Field(description="What the answer went without.")]


class SimilarRequest(BaseModel):
    """Videos near one, or near the mean direction of several."""

    model_config = _body({"video_ids": ["v0000786"], "limit": 5})

    video_ids: Annotated[list[Id], Field(min_length=1, max_length=100)]
    by: Annotated[
        Space | None, Field(description="Of `serving.similar`; null: the first of it.")
    ] = None
    limit: Limit = None


class SimilarVideo(BaseModel):
    """A video and how near it is."""

    rank: int
    video_id: str
    cosine: float


class SimilarAnswer(BaseModel):
    """Videos by falling cosine; those asked for aren't among them."""

    by: Space
    videos: list[SimilarVideo]
    left_out: Annotated[list[str], Field(description="Of those asked for: without a vector.")]
    release: int


class FeaturesRequest(BaseModel):
    """Views of a service, or those that are named, for ids of each entity."""

    model_config = _body({"service": "ranking_v2", "ids": {"video": ["v1"], "user": ["u1"]}})

    service: str | None = None
    views: Annotated[list[str] | None, Field(min_length=1, max_length=100)] = None
    ids: Annotated[
        dict[str, list[Id]], Field(description="By entity; `serving.max_ids` in all at most.")
    ]


class ViewRows(BaseModel):
    """Rows of a view, one for each id in the order asked for."""

    entity: str
    status: list[str]
    event_timestamp: list[str | None]
    created_timestamp: list[str | None]
    features: dict[str, list[Any]]


class FeaturesAnswer(BaseModel):
    """Rows by view, all of one release."""

    release: int
    views: dict[str, ViewRows]


class TopicAnswer(BaseModel):
    """A topic, its parent, and the first videos of its queue."""

    topic_id: int
    label_terms: list[str]
    parent_topic_id: int | None
    parent_label_terms: list[str]
    videos: list[str]
    release: int


class RefusedEvent(BaseModel):
    """An event that broke a rule: its place in the body (from 0), and why."""

    number: int
    reason: str
    detail: str


class EventsAnswer(BaseModel):
    """How many events Redis has now, and those that it won't have."""

    acknowledged: int
    refused: list[RefusedEvent]


class RefusedEvents(EventsAnswer):
    """No event was taken: that in words, and each with its reason."""

    errors: list[str]


class Readiness(BaseModel):
    """Whether the service is ready, and why not."""

    ready: bool
    reasons: list[str]


class Liveness(BaseModel):
    """That the process runs."""

    live: Literal[True] = True


class Errors(BaseModel):
    """What is wrong: where, what was expected, what was found, and the mend."""

    model_config = ConfigDict(extra="forbid")  # an answer that says more has a model of its own

    errors: list[str]
