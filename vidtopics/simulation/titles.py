"""Titles and tags: words of topic, secondary and primary class among everyday words.

A title has 6 to 13 words: 22% from its topic, 24% secondary, 4% primary, the rest Zipf over
background words. Which tags a video has is in :mod:`.tags`; here they get their words and times.
Titles and tags of a block of videos are drawn and joined as arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vidtopics.simulation.items import DAY
from vidtopics.simulation.philox import Stream, uniforms
from vidtopics.simulation.tags import (
    MAX_TAGS,
    choose_tags,
    draw,
    levels_of,
    place,
    tag_sizes,
)
from vidtopics.simulation.words import BACKGROUND, FIELDS, MODIFIERS, SCENES
from vidtopics.simulation.world import World

TITLE_WORDS = (6, 13)
TITLE_LEVELS = np.cumsum([0.22, 0.24, 0.04])
"""Topic, secondary, primary; the rest is background."""
LATE_SHARE, LATE_DAYS = 0.4, 2.0
"""Share of a video's tags but its first that come late, and the mean of their delay (A)."""
_SECONDARY_WORDS, _TOPIC_WORDS = 3, 4


class Pools(NamedTuple):
    """Words of one level of classes in one flat list.

    Class c owns `words[starts[c] : starts[c + 1]]`.
    """

    words: tuple[str, ...]
    starts: NDArray[np.int64]

    def draw(
        self, of: NDArray[np.int64], u: NDArray[np.float64], *, zipf: bool = False
    ) -> NDArray[np.int64]:
        """Places in `words` for classes `of` by numbers `u` in (0, 1) (:func:`place`)."""
        return place(self.starts, of, u, zipf=zipf)


class Vocabulary(NamedTuple):
    """Class names, and title words and tags by level: topic, secondary, primary."""

    primary_names: tuple[str, ...]
    secondary_names: tuple[str, ...]
    words: tuple[Pools, Pools, Pools]
    tags: tuple[Pools, Pools, Pools]


class Tags(NamedTuple):
    """Tags of n videos.

    `slug` [n, 8] as places in the flat list of all slugs, -1 where there is none, `given` in
    microseconds.
    """

    slug: NDArray[np.int64]
    given: NDArray[np.int64]


def make_vocabulary(world: World) -> Vocabulary:
    """Names, words and tags of a world's classes; every tag belongs to one class."""
    classes, seed = world.classes, world.seed
    s, p = world.settings.secondary_classes, world.settings.primary_classes
    primary_of = classes.primary[np.searchsorted(classes.secondary, np.arange(s))]
    fields = list(FIELDS.items())[:p]
    general = [field.general for _, field in fields]
    local = np.arange(s) - np.searchsorted(primary_of, primary_of)
    specific = [
        _hand(fields[c][1].specific, _SECONDARY_WORDS, int(n), seed)
        for c, n in zip(primary_of, local, strict=True)
    ]
    scenes = [_hand(SCENES, _TOPIC_WORDS, t, seed) for t in range(world.settings.topics)]
    counts = tag_sizes(world.settings)
    taken: set[str] = set()
    primary_tags = _slugs((product(w, ("", *MODIFIERS)) for w in general), counts[2], taken)
    secondary_tags = _slugs((product(w, ("", *MODIFIERS)) for w in specific), counts[1], taken)
    mixed = (
        product(w, ("", *specific[c], *MODIFIERS))
        for w, c in zip(scenes, classes.secondary, strict=True)
    )
    return Vocabulary(
        primary_names=tuple(name for name, _ in fields),
        secondary_names=_names(
            [f"{fields[c][0]}-{w[0]}" for c, w in zip(primary_of, specific, strict=True)]
        ),
        words=(_pools(scenes), _pools(specific), _pools(general)),
        tags=(_slugs(mixed, counts[0], taken), secondary_tags, primary_tags),
    )


def titles(world: World, vocabulary: Vocabulary, rows: NDArray[np.int64]) -> pa.StringArray:
    """Titles of videos `rows` [n], in the words of their title topics."""
    least, most = TITLE_WORDS
    u = uniforms(world.seed, Stream.TITLE, rows, 1 + 2 * most)
    length = least + (u[:, 0] * (most - least + 1)).astype(np.int64)
    level, within = u[:, 1 : 1 + most], u[:, 1 + most :]
    of = levels_of(world.classes, world.items.title_topic[rows])
    background = Pools(BACKGROUND, np.array([0, len(BACKGROUND)]))
    pools = (*vocabulary.words, background)
    words, offsets = _joined(pools)
    chosen = offsets[-1] + background.draw(np.zeros_like(level, dtype=np.int64), within, zipf=True)
    for k in range(3):
        own = offsets[k] + vocabulary.words[k].draw(of[k][:, None], within)
        chosen = np.where(np.searchsorted(TITLE_LEVELS, level) == k, own, chosen)
    return join(words, chosen, np.arange(most) < length[:, None], " ")


def tags(world: World, rows: NDArray[np.int64]) -> Tags:
    """Distinct tags of videos `rows` [n], each of another topic's classes with probability e_G."""
    u = draw(world.seed, rows)
    late = (u.lateness < LATE_SHARE) & (np.arange(MAX_TAGS) > 0)
    wait = np.where(late, -np.log(u.delay) * LATE_DAYS * DAY, 0).astype(np.int64)
    slug = choose_tags(world.settings, world.classes, world.items.topic[rows], u)
    return Tags(slug, world.items.published[rows][:, None] + wait)


def slugs(vocabulary: Vocabulary) -> pa.StringArray:
    """All tags, in the order that :class:`Tags` counts them."""
    return _joined(vocabulary.tags)[0]


def join(
    words: pa.StringArray, chosen: NDArray[np.int64], is_used: NDArray[np.bool_], separator: str
) -> pa.StringArray:
    """The used words of each row [n, k] in one string.

    >>> places, used = np.array([[0, 1], [1, 1]]), np.array([[True, True], [False, True]])
    >>> join(pa.array(["a", "b"]), places, used, "|").to_pylist()
    ['a|b', 'b']
    """
    ends = np.concatenate([[0], np.cumsum(is_used.sum(axis=1))]).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(ends), words.take(pa.array(chosen[is_used])))
    return pc.binary_join(lists, separator)


def _hand(words: tuple[str, ...], n: int, number: int, seed: int) -> tuple[str, ...]:
    """The `number`-th hand of n words.

    Hands of one shuffle share none, later shuffles mix them anew.
    """
    a_shuffle = len(words) // n
    u = uniforms(seed, Stream.WORDS, np.array([number // a_shuffle]), len(words), day=len(words))[0]
    place = number % a_shuffle * n
    return tuple(words[i] for i in np.argsort(u)[place : place + n])


def _slugs(
    pairs: Iterable[Iterable[tuple[str, str]]], counts: NDArray[np.int64], taken: set[str]
) -> Pools:
    return _pools([_new_slugs(p, n, taken) for p, n in zip(pairs, counts.tolist(), strict=True)])


def _new_slugs(pairs: Iterable[tuple[str, str]], count: int, taken: set[str]) -> tuple[str, ...]:
    """`count` slugs that nobody has: words alone first, then with a second word, then numbered."""
    ordered = sorted(pairs, key=lambda pair: pair[1] != "")
    slugs: list[str] = []
    for slug in _endless(["-".join(filter(None, pair)) for pair in ordered]):
        if len(slugs) == count:
            break
        if slug not in taken:
            taken.add(slug)
            slugs.append(slug)
    return tuple(slugs)


def _endless(slugs: list[str]) -> Iterator[str]:
    yield from slugs
    number = 2
    while True:
        yield from (f"{slug}-{number}" for slug in slugs)
        number += 1


def _names(repeated: list[str]) -> tuple[str, ...]:
    """Names made distinct by numbers."""
    seen: dict[str, int] = {}
    for name in repeated:
        seen[name] = seen.get(name, 0) + 1
    count: dict[str, int] = {}
    out = []
    for name in repeated:
        count[name] = count.get(name, 0) + 1
        out.append(name if count[name] == 1 else f"{name}-{count[name]}")
    return tuple(out)


def _pools(groups: Iterable[tuple[str, ...]]) -> Pools:
    listed = list(groups)
    return Pools(tuple(w for g in listed for w in g), np.cumsum([0, *map(len, listed)]))


def _joined(pools: Iterable[Pools]) -> tuple[pa.StringArray, NDArray[np.int64]]:
    """All levels' words in one array, and where each level starts."""
    listed = list(pools)
    return pa.array([w for p in listed for w in p.words]), np.cumsum(
        [0, *(len(p.words) for p in listed)]
    )[:-1]
