"""What the home's tables say of videos and users for people: titles, covers, who there is.

Nothing of it lies in Redis, and nothing that ranks needs it. A video is looked up once in a version
of the table, and kept while there is room.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import sample
from threading import Lock
from typing import Generic, TypeVar

import pyarrow.dataset as ds

from vidtopics.contracts import CREATED_TIME, EVENT_TIME, USER_RECENT_CLICKS, VIDEO_CATALOG
from vidtopics.tables import FOREVER, Tables

T = TypeVar("T")
BOX = (320, 320)
"""Pixels, width and height, that a cover's thumbnail fits in."""
QUALITY = 70
VIDEOS, THUMBNAILS = 20_000, 1_000
"""That are kept; a thumbnail has some 5 kB."""
USERS = 10_000
"""That some are drawn from."""


@dataclass(frozen=True)
class Described:
    """A video as its source describes it: its title, and the path of its cover; empty: none."""

    title: str = ""
    cover: str = ""


class Kept(Generic[T]):
    """Values by key; those that were used longest ago go first. Threads may share it.

    >>> kept = Kept[int](2)
    >>> for key, value in (("a", 1), ("b", 2), ("c", 3)):
    ...     kept.put(key, value)
    >>> kept.get("a"), kept.get("c")
    (None, 3)
    """

    def __init__(self, most: int) -> None:
        self._most, self._values, self._lock = most, OrderedDict[str, T](), Lock()

    def get(self, key: str) -> T | None:
        """The value; None where it isn't kept."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: str, value: T) -> None:
        """Keep a value."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            if len(self._values) > self._most:
                self._values.popitem(last=False)


class HomeCatalogue:
    """Of a home's tables.

    Args:
        tables: of the home.
        max_pixels: a cover that claims more is not decoded, as in ingestion.
    """

    def __init__(self, tables: Tables, max_pixels: int) -> None:
        self._tables, self._max_pixels = tables, max_pixels
        self._forget(-1)
        self._users: tuple[int, Sequence[str]] = (-1, ())

    def describe(self, video_ids: Iterable[str]) -> dict[str, Described]:
        """The videos by id; one that the catalogue lacks, or that was removed, by nothing.

        Raises:
            TableError: the table can't be read.
        """
        version = self._tables.version(VIDEO_CATALOG)
        if version != self._version:
            self._forget(version)
        descriptions = {video: self._videos.get(video) for video in video_ids}
        if missing := [video for video, described in descriptions.items() if described is None]:
            rows = self._latest(missing)
            descriptions |= rows
            for video, described in rows.items():
                self._videos.put(video, described)
        return {video: described or Described() for video, described in descriptions.items()}

    def _latest(self, video_ids: Sequence[str]) -> dict[str, Described]:
        names = ["video_id", "title", "cover", "removed_at", EVENT_TIME, CREATED_TIME]
        where = ds.field("video_id").isin(video_ids)
        rows = self._tables.read(VIDEO_CATALOG, columns=names, where=where)
        rows = rows.sort_by([(EVENT_TIME, "ascending"), (CREATED_TIME, "ascending")])
        columns = (rows[name].to_pylist() for name in names[:4])
        return {
            video: Described() if removed_at else Described(title or "", cover or "")
            for video, title, cover, removed_at in zip(*columns, strict=True)
        }

    def _forget(self, version: int) -> None:
        """Keep nothing of before a version of the catalogue."""
        self._videos = Kept[Described](VIDEOS)
        self._thumbnails = Kept[bytes](THUMBNAILS)
        self._version = version

    def thumbnail(self, video_id: str) -> bytes:
        """A WebP file that fits :data:`BOX`; empty where the video has no readable cover.

        Raises:
            TableError: the table can't be read.
        """
        cover = self.describe([video_id])[video_id].cover  # first: it finds a newer version
        thumbnails = self._thumbnails
        if (kept := thumbnails.get(video_id)) is not None:
            return kept
        webp = thumbnail(cover, self._max_pixels)
        thumbnails.put(video_id, webp)
        return webp

    def users(self, number: int) -> list[str]:
        """Some users who clicked, at random, each once.

        Raises:
            TableError: the table can't be read.
        """
        version = self._tables.version(USER_RECENT_CLICKS)
        if self._users[0] != version:
            rows = self._tables.as_of(USER_RECENT_CLICKS, FOREVER, columns=["user_id"])
            self._users = version, _some(rows["user_id"].to_pylist(), USERS)
        return _some(self._users[1], number)


def _some(values: Sequence[str], number: int) -> list[str]:
    return sample(values, min(number, len(values)))


def thumbnail(cover: str, max_pixels: int) -> bytes:
    """A WebP file of the cover at a path; empty where there is none that can be read."""
    from PIL import Image

    from vidtopics.images import decode_cover, read_cover

    # One may have been moved away, or replaced, since it was ingested.
    file = read_cover(cover, max_pixels=max_pixels) if cover else "missing"
    pixels = decode_cover(file, max_pixels=max_pixels).pixels if isinstance(file, bytes) else None
    if pixels is None:
        return b""
    image, out = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail(BOX)
    image.save(out, "WEBP", quality=QUALITY)
    return out.getvalue()
