"""Versions of the layout: which hash tags keys carry, and what readers do with older values."""

from __future__ import annotations

import json
from binascii import crc_hqx
from bisect import bisect
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import count, product
from string import ascii_lowercase, digits

from vidtopics.errors import StoreError, explain
from vidtopics.layout.schema import LAYOUT

SLOTS = 16_384
EVEN = "even"
"""The name of :func:`even_tags` in the text under `layout`."""


def slot(tag: str) -> int:
    """The hash slot of a key whose hash tag this is.

    >>> slot("123456789")  # the example of Redis' cluster specification, 0x31C3
    12739
    """
    return crc_hqx(tag.encode(), 0) % SLOTS


@cache
def even_tags(buckets: int) -> tuple[str, ...]:
    """A hash tag for each bucket, such that any cluster of equal nodes has equally many.

    The slot of bucket i is near (i + .5) * 16384 / buckets: within a quarter of a bucket. Its tag
    is the nearest of the shortest tags that are, as each key has it in its bytes.

    >>> even_tags(4), [slot(tag) for tag in even_tags(4)]
    (('7', '6', '9', '8'), [1716, 5781, 10106, 14171])
    """
    spacing, tags = SLOTS / buckets, [""] * buckets
    for length in count(1):
        tag_of: dict[int, str] = {}
        for signs in product(digits + ascii_lowercase, repeat=length):
            tag_of.setdefault(slot("".join(signs)), "".join(signs))
        slots = sorted(tag_of)
        for bucket in (b for b, tag in enumerate(tags) if not tag):
            middle = (bucket + 0.5) * spacing
            nearest = _nearest(slots, middle)
            is_own = bucket * spacing <= nearest < (bucket + 1) * spacing
            if is_own and abs(nearest - middle) <= max(spacing / 4, 0.5):
                tags[bucket] = tag_of[nearest]
        if all(tags):
            return tuple(tags)
    raise AssertionError


def _nearest(slots: list[int], target: float) -> int:
    at = bisect(slots, target)
    return min(slots[max(0, at - 1) : at + 1], key=lambda s: abs(s - target))


@dataclass(frozen=True)
class Layout:
    """How keys and values of a prefix lie: the version of the layout and the number of buckets.

    Layout 1 had the buckets' numbers as hash tags and headers without a load.

    >>> Layout(16).to_json()
    '{"layout":2,"buckets":16,"tags":"even"}'
    >>> Layout.from_json("vt", Layout(16).to_json()) == Layout(16)
    True
    >>> Layout(3).tags, Layout(3, version=1).tags
    (('f', 'z', '0'), ('0', '1', '2'))
    """

    buckets: int = 16
    version: int = LAYOUT

    @classmethod
    def from_json(cls, prefix: str, text: str | bytes) -> Layout:
        """From the text under `layout`.

        Raises:
            StoreError: its version or tags are not known.
            ValueError, KeyError, TypeError, RecursionError: it is no such text.
        """
        tree = json.loads(text)
        layout = cls(tree["buckets"], tree["layout"])
        if type(layout.buckets) is not int or not 1 <= layout.buckets <= SLOTS:
            raise ValueError(f"{str(layout.buckets)[:40]} buckets")
        if layout.version in {1, LAYOUT} and tree.get("tags", "") == layout.scheme:
            return layout
        raise StoreError(
            explain(
                f"Redis, prefix {prefix!r}",
                expected=f"layout {LAYOUT} with the hash tags {EVEN!r}, or layout 1",
                found=f"layout {layout.version} with the hash tags {tree.get('tags', '')!r}",
                mend="use the version of vidtopics that wrote it",
            )
        )

    def to_json(self) -> str:
        """The text under `layout`."""
        tree = {"layout": self.version, "buckets": self.buckets}
        return json.dumps(tree | ({"tags": EVEN} if self.scheme else {}), separators=(",", ":"))

    def __str__(self) -> str:
        """As messages name it."""
        return f"layout {self.version} with {self.buckets} buckets"

    @property
    def scheme(self) -> str:
        """How the hash tags are chosen; empty: each bucket's number, as layout 1 had it."""
        return "" if self.version == 1 else EVEN

    @cached_property
    def tags(self) -> tuple[str, ...]:
        """The hash tag of each bucket."""
        return even_tags(self.buckets) if self.scheme else tuple(map(str, range(self.buckets)))

    @cached_property
    def bucket_of_tag(self) -> dict[str, int]:
        """The bucket of each hash tag."""
        return {tag: bucket for bucket, tag in enumerate(self.tags)}
