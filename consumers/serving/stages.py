"""In what an answer may be less than it could be."""

from __future__ import annotations

from enum import StrEnum

DAMAGED = "the user's live value in Redis is damaged"
"""The cause in the log, where `events` could mean either."""


class Stage(StrEnum):
    """What a recommendation went without; docs/serving.md says what stands in its place."""

    RANKER = "ranker"
    """No model scored: the order of recall."""
    QUEUES = "queues"
    """No queue of a topic gave anything: what is popular with all."""
    USER = "user"
    """Nothing is known of the user's topics: what is popular in each topic group."""
    LABELS = "labels"
    """The tables can't be read: topics by number alone."""
    EVENTS = "events"
    """Events wait for longer than `online.max_event_lag`, or the user's live value is damaged: what
    users, or this one, did since isn't counted."""
