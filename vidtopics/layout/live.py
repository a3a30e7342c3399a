"""Keys and values of what events change: streams, and the live state of each release's generation.

Everything of a bucket lies in the bucket's slot, so that one script moves it::

    PREFIX:events:video:{TAG}            stream: the video's part of each event
    PREFIX:events:user:{TAG}             stream: the user's part, which has all fields of the event
    PREFIX:live:RELEASE:PART:at:{TAG}    hash: :data:`SETTLED`, and counts of entries by outcome
    PREFIX:live:RELEASE:PART:ids:{TAG}   set: what was applied, a letter of :data:`KINDS` and an id
    PREFIX:live:RELEASE:PART:state:{TAG} hash: id to exposures and clicks, of users records too
    PREFIX:live:RELEASE:queue:LOAD:{TAG}NAME    list: a queue as events have moved it
    PREFIX:live:RELEASE:queue:LOAD:lists:{TAG}  hash: `writes`, and each list's digest by its name

LOAD is that of the batch's queues (:class:`vidtopics.layout.Structures`), which have the members;
the directory's hash `live_queues` has RELEASE:LOAD once all lists are there. A list and its digest
change together.

A video's value (numbers are little-endian) is 16 bytes, the last of them its decayed clicks as of
the release: a click at t counts 2 ** ((t - as_of) / half_life). A user's is a head and records::

    exposures u4 | clicks u4 | decayed clicks f8
    exposures u4 | clicks u4 | floor i8 | limit u2 | records u2
    kind u1 | us i8 | watch f4 | position i4 | bytes of video u1, of event u1 | video | event

Records are in no order: an impression that was shown, a click, or an impression of before the
release that was clicked since.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, TypeVar
from zlib import crc32

from vidtopics.errors import StoreError, explain
from vidtopics.layout.layouts import Layout
from vidtopics.layout.schema import LAYOUT

T = TypeVar("T")
Part = Literal["video", "user"]
PARTS: tuple[Part, ...] = ("video", "user")
KINDS = {"impression": "i", "click": "c", "watch": "w"}
"""Kinds of events, and how an entry of a stream names them."""
FIELDS: dict[Part, str] = {"video": "kevta", "user": "keuvtawpr"}
"""The fields of an entry, a letter each and always in this order: kind, event_id, user_id,
video_id, event time and own time (microseconds), watch seconds, position, request_id; empty: none.
"""
COUNTS = struct.Struct("<II")
"""What the value of a video or user begins with."""
VIDEO = struct.Struct("<IId")
FORMAT = 2
"""Of values and heads: a generation of another one is made anew from the streams."""
SETTLED = frozenset({"as_of", "format", "half_life", "cursor", "entries"})
"""Fields of `at` beside outcomes: as-of time and half-life in microseconds, the last entry that was
applied, and how many were."""
HEAD = struct.Struct("<IIqHH")
RECORD = struct.Struct("<BqfiBB")
QUEUE_REFRESHES = "queue_refreshes"
"""A hash beside the directory: of each set of live queues, RELEASE:LOAD, when it was refreshed last
(microseconds); behind another colon `refreshes`, lists `written`, and `version`, how many of the
refreshes wrote any."""
SHOWN, CLICKED, TAKEN_OUT = 1, 2, 3
NO_FLOOR = -(2**62)
FIRST_US, LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The years 1 to 9999: what a datetime can say."""


@dataclass(frozen=True)
class LiveKeys:
    """The keys of events and live state under a prefix.

    >>> keys = LiveKeys("vt", Layout(16))
    >>> keys.stream("video", 1), keys.state(7, "user", "ids", 1)
    ('vt:events:video:{3}', 'vt:live:7:user:ids:{3}')
    """

    prefix: str
    layout: Layout

    @classmethod
    def of(cls, prefix: str, text: bytes | None) -> LiveKeys:
        """The keys by what lies under `layout`.

        Raises:
            StoreError: nothing was loaded under the prefix, or by an earlier version, whose buckets
                have other names.
        """
        layout = None if text is None else Layout.from_json(prefix, text)
        if layout is not None and layout.version == LAYOUT:
            return cls(prefix, layout)
        raise StoreError(
            explain(
                f"Redis, prefix {prefix!r}",
                expected=f"a store that events can be sent to, of layout {LAYOUT}",
                found="nothing" if layout is None else str(layout),
                mend="load a release first (`vidtopics materialize`), or name its prefix",
            )
        )

    def bucket(self, entity_id: bytes) -> int:
        """The bucket of a video or user, as its features have it."""
        return crc32(entity_id) % self.layout.buckets

    def stream(self, part: Part, bucket: int) -> str:
        """The stream of a bucket's parts of events."""
        return f"{self.prefix}:events:{part}:{self._tag(bucket)}"

    @property
    def dead(self) -> str:
        """The stream of events that were refused, with the reason."""
        return f"{self.prefix}:events:dead:{self._tag(0)}"

    def state(self, release: int, part: Part, name: str, bucket: int) -> str:
        """`at`, `ids` or `state` of a bucket in the generation of a release."""
        return f"{self.prefix}:live:{release}:{part}:{name}:{self._tag(bucket)}"

    def queue(self, release: int, load: int, name: int | str) -> bytes:
        """The list of a queue as the events of a generation have moved it.

        >>> LiveKeys("vt", Layout(16)).queue(7, 4, "p3")
        b'vt:live:7:queue:4:{t}p3'
        """
        raw = str(name).encode()
        return (
            f"{self.prefix}:live:{release}:queue:{load}:{self._tag(self.bucket(raw))}".encode()
            + raw
        )

    def queue_lists(self, release: int, load: int, bucket: int) -> str:
        """What is known of the lists of a bucket: `writes`, and digests by name."""
        return f"{self.prefix}:live:{release}:queue:{load}:lists:{self._tag(bucket)}"

    def generation(self, release: int, part: Part, bucket: int) -> list[str]:
        """The keys of a bucket in a generation."""
        return [self.state(release, part, name, bucket) for name in ("at", "ids", "state")]

    def _tag(self, bucket: int) -> str:
        return f"{{{self.layout.tags[bucket]}}}"


class VideoState(NamedTuple):
    """What events since the release did to a video; `decayed_clicks` as of the release.

    >>> VideoState.parse(VIDEO.pack(9, 2, 1.5))
    VideoState(exposures=9, clicks=2, decayed_clicks=1.5)
    """

    exposures: int
    clicks: int
    decayed_clicks: float

    @classmethod
    def parse(cls, value: bytes) -> VideoState:
        """From the value in Redis; struct.error where it is damaged."""
        return cls(*VIDEO.unpack(value))


def live_counts(value: bytes) -> tuple[int, int] | None:
    """Exposures and clicks of a video's value; None: it is damaged.

    A reader goes on without it: else one value fails each read that has the video among its
    candidates. `events apply` sets its entries aside and counts them as `failed`.

    >>> live_counts(VIDEO.pack(9, 2, 1.5)), live_counts(b"short")
    ((9, 2), None)
    """
    return COUNTS.unpack_from(value) if len(value) == VIDEO.size else None


class Record(NamedTuple):
    """What one event left with its user; times in microseconds."""

    kind: int
    us: int
    watch: float
    position: int
    video: bytes
    event: bytes


class Click(NamedTuple):
    """A click in a user's list: when, on which video, how long it was watched (-1: not known)."""

    us: int
    video: bytes
    watch: float


class Skip(NamedTuple):
    """An impression without a click: when, of which video, at which position (-1: none)."""

    us: int
    video: bytes
    position: int


@dataclass(frozen=True)
class UserState:
    """What a user did since the release.

    Attributes:
        exposures: impressions.
        clicks: clicks.
        floor: skips up to this time may be missing; NO_FLOOR: none is.
        limit: of recent clicks and of recent skips (`recall.recent_clicks`); 0: not known.
        records: in no order.

    >>> UserState.parse(None).clicks
    0
    """

    exposures: int
    clicks: int
    floor: int
    limit: int
    records: tuple[Record, ...]

    @classmethod
    def parse(cls, value: bytes | None) -> UserState:
        """From the value in Redis; without one, nothing was done.

        Raises:
            ValueError: the value is damaged.
        """
        if value is None:
            return cls(0, 0, NO_FLOOR, 0, ())
        try:
            exposures, clicks, floor, limit, count = HEAD.unpack_from(value)
            records = tuple(_records(value))
        except struct.error as error:
            raise ValueError(f"a user's live state: {error}") from error
        if len(records) != count:
            raise ValueError(f"a user's live state: {len(records)} of {count} records")
        for record in records:
            if not FIRST_US <= record.us <= LAST_US:
                raise ValueError(f"a user's live state: a record at {record.us} microseconds")
            for name in (record.video, record.event):
                name.decode()  # what isn't UTF-8 is a ValueError
        return cls(exposures, clicks, floor, limit, records)

    def recent_clicks(self, earlier: Iterable[Click] = ()) -> list[Click]:
        """Each video once at its last click, newest first, before those of the release."""
        last: dict[bytes, Click] = {}
        for record in self.records:
            if record.kind == CLICKED:
                click = Click(record.us, record.video, record.watch)
                best = last.get(click.video, click)
                last[click.video] = max(best, click, key=lambda c: (c.us, c.watch))
        newest = sorted(last.values(), reverse=True)
        return self._limited([*newest, *(c for c in earlier if c.video not in last)])

    def recent_skips(self, earlier: Iterable[Skip] = ()) -> list[Skip]:
        """Impressions that no click is known of, newest first, before those of the release.

        Where a user was shown more than is kept, the list ends before the first that is missing.
        """
        clicked = {record.event for record in self.records if record.kind == CLICKED}
        shown = (r for r in self.records if r.kind == SHOWN and r.event not in clicked)
        own = sorted((Skip(r.us, r.video, r.position) for r in shown), reverse=True)
        if self.floor != NO_FLOOR:
            return self._limited([skip for skip in own if skip.us > self.floor])
        return self._limited([*own, *self._without_clicked(earlier)])

    def _without_clicked(self, earlier: Iterable[Skip]) -> list[Skip]:
        """Skips of the release less what was clicked since; what is alike is one of a number.

        A position that the impression or the click didn't bring is any, once the others are found.
        """
        remaining, unplaced = list(earlier), []
        for record in self.records:
            if record.kind == TAKEN_OUT:
                try:
                    remaining.remove(Skip(record.us, record.video, record.position))
                except ValueError:
                    unplaced.append(record)
        for record in unplaced:
            alike = (s for s in remaining if (s.us, s.video) == (record.us, record.video))
            skip = next((s for s in alike if -1 in (s.position, record.position)), None)
            if skip:
                remaining.remove(skip)
        return remaining

    def _limited(self, entries: list[T]) -> list[T]:
        return entries[: self.limit] if self.limit else entries


@dataclass(frozen=True)
class UserValue:
    """A user's value as it lies in Redis; it is parsed once.

    Attributes:
        raw: the bytes, which a log keeps.

    >>> value = UserValue(b"short")
    >>> value.is_damaged, value.state.clicks
    (True, 0)
    """

    raw: bytes

    @property
    def is_damaged(self) -> bool:
        """Whether it can't be parsed."""
        return self._parsed is None

    @property
    def state(self) -> UserState:
        """What the user did; nothing where the value is damaged."""
        return self._parsed or UserState.parse(None)

    @cached_property
    def _parsed(self) -> UserState | None:
        try:
            return UserState.parse(self.raw)
        except ValueError:
            return None


def _records(value: bytes) -> Iterator[Record]:
    at = HEAD.size
    while at < len(value):
        kind, us, watch, position, video, event = RECORD.unpack_from(value, at)
        middle = at + RECORD.size + video
        end = middle + event
        if end > len(value):
            raise ValueError("a user's live state: a record that ends elsewhere")
        yield Record(kind, us, watch, position, value[middle - video : middle], value[middle:end])
        at = end
