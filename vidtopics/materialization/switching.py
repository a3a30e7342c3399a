"""The transactions by which readers see another load: forward by a run, backward by a rollback.

Values, lists and generations of a load are in Redis before; one transaction on the directory makes
all of them live. Readers select by the directory that they hold, so none sees a part of a load.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from vidtopics.errors import StoreError, explain
from vidtopics.layout import Schema, ViewEntry, place
from vidtopics.materialization.generations import Generations, entries_of, field_of
from vidtopics.materialization.pins import Held
from vidtopics.materialization.records import LiveRecord, parse_records
from vidtopics.materialization.registration import Generation


@dataclass(frozen=True)
class Staged:
    """A view whose rows are in Redis and that the next switch makes live.

    `mark`: the lowest watermark of its buckets, empty where one has none. `is_new`: the generation
    takes the place of the live one. `shown`: what readers are told that the values are of
    (:attr:`ViewEntry.source`).
    """

    view: str
    entry: ViewEntry
    schema: Schema
    source: str
    mark: str
    is_new: bool
    shown: str


@dataclass(frozen=True)
class Switch:
    """All that one load makes live.

    `structures`: fields of the hash of that name. `incomplete`: what was left behind.
    """

    load: int
    release: int
    live_us: int
    staged: Sequence[Staged]
    structures: Mapping[str, str]
    incomplete: Sequence[str] = ()


def next_load(store: Generations, release: int, *, after_failover: bool = False) -> int:
    """A number for a load of `release`, greater than any before it.

    A failover may take the counter back, not the values that a load wrote: after one the numbers
    leave a gap that no lost loads fill.
    """

    def change(pipe: Any) -> int:
        number = max(
            int(pipe.get(place(store.prefix, "loads")) or 0),
            *map(int, pipe.hkeys(place(store.prefix, "releases"))),
            0,
        )
        number += 1_000 if after_failover and number else 1
        pipe.multi()
        pipe.set(place(store.prefix, "loads"), number)
        pipe.set(place(store.prefix, "loading"), release)
        return number

    return store.change(change)


def records(store: Generations) -> list[LiveRecord]:
    """What can be gone back to, by rising load; the last is live."""
    texts: Any = store.connection.hgetall(place(store.prefix, "releases"))
    return parse_records(texts)


def go_live(store: Generations, switch: Switch) -> LiveRecord:
    """Make a load live. Returns its record, which takes the place of the release's earlier one."""
    names = {n: place(store.prefix, n) for n in ("views", "sources", "structures", "releases")}

    def change(pipe: Any) -> LiveRecord:
        entries = entries_of(pipe.hgetall(names["views"]))
        before = parse_records(pipe.hgetall(names["releases"]))
        last = before[-1] if before else LiveRecord(0, 0, 0, {})
        sources = {v.decode(): s.decode() for v, s in pipe.hgetall(names["sources"]).items()}
        structures = {n.decode(): s.decode() for n, s in pipe.hgetall(names["structures"]).items()}
        marks = dict(last.marks)
        ends_hold = _ends_hold(pipe, store.prefix, switch.release)
        pipe.multi()
        for staged in switch.staged:
            live = entries.get(staged.view)
            if live is None or not (staged.is_new or is_same_generation(live, staged.entry)):
                continue  # Feast's writer began another generation meanwhile: it stays live
            base = staged.entry if staged.is_new else live
            entry = replace(base, live=switch.load, source=staged.shown)
            if is_same_generation(live, entry):
                pipe.hset(names["views"], staged.view, entry.to_json())
            else:
                pipe.hdel(place(store.prefix, "generations"), field_of(entry))
                store.enter(pipe, staged.view, entry, staged.schema, retired=live)
            entries[staged.view], marks[staged.view] = entry, staged.mark
            sources[staged.view] = staged.source
            pipe.hset(names["sources"], staged.view, staged.source)
            pipe.hdel(place(store.prefix, "attempts"), staged.view)
        structures |= switch.structures
        if switch.structures:
            pipe.hset(names["structures"], mapping=dict(switch.structures))
        loaded = {view: entry for view, entry in entries.items() if view in sources}
        record = LiveRecord(
            switch.load,
            switch.release,
            switch.live_us,
            loaded,
            sources,
            {view: marks.get(view, "") for view in loaded},
            structures,
            tuple(switch.incomplete),
        )
        for earlier in before:
            if earlier.release == switch.release:
                pipe.hdel(names["releases"], earlier.load)
        pipe.hset(names["releases"], switch.load, record.to_json())
        if ends_hold:
            pipe.delete(place(store.prefix, "held"))
        pipe.incr(place(store.prefix, "directory"))
        return record

    return store.change(change)


def go_back(store: Generations, release: int, *, held: Held | None = None) -> LiveRecord:
    """Make an earlier record live again; later ones are no more. Returns the record.

    It is live from now on, again. With `held`, the releases after it, up to the newest that was
    ever on its way here, don't go live by themselves any more.

    Raises:
        StoreError: no record of the release is retained.
    """
    names = {n: place(store.prefix, n) for n in ("views", "sources", "structures", "releases")}

    def change(pipe: Any) -> LiveRecord:
        before = parse_records(pipe.hgetall(names["releases"]))
        goal = replace(record_of(before, release, store.prefix), live_us=time.time_ns() // 1000)
        entries = entries_of(pipe.hgetall(names["views"]))
        sources = [view.decode() for view in pipe.hkeys(names["sources"])]
        structures = [name.decode() for name in pipe.hkeys(names["structures"])]
        loading = int(pipe.get(place(store.prefix, "loading")) or 0)
        ends_hold = _ends_hold(pipe, store.prefix, release)
        pipe.multi()
        for view in set(sources) - goal.entries.keys():  # it was loaded first by a later release
            if view in entries:
                pipe.hset(names["views"], view, replace(entries[view], live=0, source="").to_json())
                _mark_dirty(store, pipe, entries[view])
            pipe.hdel(names["sources"], view)
        for view, entry in goal.entries.items():
            live = entries[view]
            pipe.hset(names["views"], view, entry.to_json())
            pipe.hset(names["sources"], view, goal.sources[view])
            if not is_same_generation(live, entry):
                pipe.hdel(place(store.prefix, "generations"), field_of(entry))
                pipe.hset(place(store.prefix, "generations"), field_of(live), view)
            _mark_dirty(store, pipe, entry)
        for name in set(structures) - goal.structures.keys():
            pipe.hdel(names["structures"], name)
        if goal.structures:
            pipe.hset(names["structures"], mapping=dict(goal.structures))
        pipe.hset(names["releases"], str(goal.load), goal.to_json())
        for later in before:
            if later.load > goal.load:
                pipe.hdel(names["releases"], later.load)
        if ends_hold:
            pipe.delete(place(store.prefix, "held"))
        if held:
            newest = max(loading, *(record.release for record in before))
            text = json.dumps(asdict(replace(held, until=newest)))
            pipe.set(place(store.prefix, "held"), text)
            pipe.delete(place(store.prefix, "pin"))
        pipe.set(place(store.prefix, "release"), release)
        pipe.incr(place(store.prefix, "directory"))
        return goal

    return store.change(change)


def record_of(records: Sequence[LiveRecord], release: int, prefix: str) -> LiveRecord:
    """The record of a release; StoreError names those that are retained.

    >>> record_of([LiveRecord(4, 2, 0, {})], 1, "vt")
    Traceback (most recent call last):
    ...
    vidtopics.errors.StoreError: Redis, prefix 'vt': expected release 1 to be retained, found
    releases 2. Mend: load it from the tables: `vidtopics materialize --release 1`.
    """
    whole = {record.release: record for record in records if not record.incomplete}
    if release not in whole:
        raise StoreError(
            explain(
                f"Redis, prefix {prefix!r}",
                expected=f"release {release} to be retained",
                found=f"releases {', '.join(map(str, whole))}" if whole else "no release",
                mend=f"load it from the tables: `vidtopics materialize --release {release}`",
            )
        )
    return whole[release]


def forget(store: Generations, loads: Collection[int], trims: Collection[Generation]) -> None:
    """Drop records and note the generations whose values have versions that only they needed."""

    def change(pipe: Any) -> None:
        pipe.multi()
        pipe.hdel(place(store.prefix, "releases"), *loads)
        for number, generation in trims:
            pipe.hset(place(store.prefix, "trims"), f"{number}:{generation}", "")

    store.change(change)


def is_same_generation(one: ViewEntry, other: ViewEntry) -> bool:
    """Whether two entries name the same keys."""
    return (one.number, one.generation) == (other.number, other.generation)


def dirty(store: Generations) -> set[str]:
    """Generations (`number:generation`) with versions of loads that were gone back from.

    They are removed before another load goes there (:func:`vidtopics.materialization.cleaning`).
    """
    names: Any = store.connection.hkeys(place(store.prefix, "dirty"))
    return {name.decode() for name in names}


def _ends_hold(pipe: Any, prefix: str, release: int) -> bool:
    """Whether a release that goes live is after the one that was rolled back to."""
    text = pipe.get(place(prefix, "held"))
    return bool(text) and release > Held(**json.loads(text)).release


def _mark_dirty(store: Generations, pipe: Any, entry: ViewEntry) -> None:
    pipe.hset(place(store.prefix, "dirty"), field_of(entry), "")
