"""Bodies of what the page for people asks for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from consumers.serving.messages import ModelVersion
from consumers.serving.stages import Stage


class RecentClick(BaseModel):
    """A video that a user clicked."""

    video_id: str
    clicked_at: str
    watch_seconds: Annotated[float | None, Field(description="null: not known.")]


class UserTopic(BaseModel):
    """A topic of a user's recent clicks."""

    topic_id: int
    clicks: Annotated[int, Field(description="Recent clicks on videos that have the topic.")]
    label_terms: list[str]
    parent_topic_id: int | None
    parent_label_terms: list[str]


class UserAnswer(BaseModel):
    """What a user did up to the last event that was applied; zeros of one nobody knows."""

    user_id: str
    exposures: int
    clicks: int
    recent_clicks: Annotated[list[RecentClick], Field(description="Newest first.")]
    topics: Annotated[list[UserTopic], Field(description="By falling number of clicks.")]
    release: int
    degraded: Annotated[
        list[Literal[Stage.EVENTS]], Field(description="`events`: not all of them are counted.")
    ]


class PartStatus(BaseModel):
    """How far the streams of videos, or of users, were applied."""

    events_from: Annotated[
        str | None, Field(description="Earlier ones are the release's; null: nobody applies.")
    ]
    entries: Annotated[dict[str, int], Field(description="Applied entries, by what they became.")]
    waiting: Annotated[bool, Field(description="Whether there are entries to be applied.")]
    lag_ms: Annotated[
        int | None,
        Field(description="How long the first entry that isn't applied has waited; 0: none waits."),
    ]


class EventStatusAnswer(BaseModel):
    """How far events were applied to what is read."""

    release: int
    model: ModelVersion | None
    now: Annotated[str, Field(description="The clock of Redis, by which events are judged.")]
    video: PartStatus
    user: PartStatus


class VideoFacts(BaseModel):
    """A video as the catalogue has it, and its counts up to the last event."""

    video_id: str
    title: Annotated[str | None, Field(description="null: the tables can't be read.")]
    has_cover: bool
    exposures: int
    clicks: int


class VideosAnswer(BaseModel):
    """Videos in the order asked for."""

    videos: list[VideoFacts]
    release: int


class UsersAnswer(BaseModel):
    """Some users at random."""

    user_ids: list[str]
