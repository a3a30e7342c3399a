"""Redis, what maintenance keeps, and what an erasure takes along."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from vidtopics.settings.section import Section


class OnlineSettings(Section):
    """What goes to Redis, and how its keys begin."""

    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,32}$")] = "vt"
    """Every key begins with it; short, as each video pays for it once per view."""
    buckets: Annotated[int, Field(ge=1, le=16_384)] = 16
    """Hash slots that the keys of a view share; 64 for large clusters. Fixed once data is there."""
    vectors: bool = True
    """Whether views of vectors go online too; at the paper's size 3 M joint vectors are 27.6 GB.
    Where they are online already, the next run takes them out of Redis."""
    max_lag: Annotated[timedelta, Field(gt=timedelta(0))] = timedelta(minutes=15)
    """`/ready` says no while a release waits for longer; three rounds of five minutes."""
    max_ahead: Annotated[timedelta, Field(gt=timedelta(0))] = timedelta(days=1)
    """How far an event time may lie ahead of now; a row beyond is refused, as no right one could
    ever take its place."""
    max_event_lag: Annotated[timedelta, Field(gt=timedelta(0))] = timedelta(minutes=1)
    """How long an event may wait to be applied until `events apply` isn't ready, and `serve` marks
    its recommendations with `events`; in ordinary running it is milliseconds."""
    lateness: Annotated[timedelta, Field(ge=timedelta(0))] = timedelta(seconds=5)
    """How long a run waits, once its as-of time is fixed, for events of before it that are still on
    their way; what comes later counts in the next release."""
    keep: Annotated[timedelta, Field(ge=timedelta(0))] = timedelta(hours=24)
    """How long a release can be gone back to once the next one is live; 8 releases at most."""


class MaintenanceSettings(Section):
    """How long `vidtopics maintain` keeps what it may remove (docs/tables.md, "Maintenance")."""

    keep_releases: Annotated[timedelta, Field(ge=timedelta(0))] = timedelta(days=400)
    """Versions that a release of this age or younger names stay readable, as the one in force."""
    keep_versions: Annotated[timedelta, Field(ge=timedelta(0))] = timedelta(days=400)
    """Any other version stays readable this long: above the longest run, load or training join.
    Pins of training sets count for the same time."""


class ErasureSettings(Section):
    """What `vidtopics erase` does beside erasing a person's own rows (docs/erasure.md)."""

    counts: Literal["keep", "remove"] = "keep"
    """Of videos: sums over all users. `remove`: the next run counts the log anew, without the
    people; it takes as long as a first run."""
    user_columns: Annotated[tuple[str, ...], Field(min_length=1)] = ("user_id",)
    """Columns that hold ids of users, in saved training sets and other files below the home."""
