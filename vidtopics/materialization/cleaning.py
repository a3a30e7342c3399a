"""What goes from Redis: records past their time, and what only they needed.

Keys of generations and of sets of queues go, versions of values are trimmed; all in one look
through the keys (:meth:`Generations.sweep`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from vidtopics.layout import ViewEntry, place
from vidtopics.materialization.batches import tag_of
from vidtopics.materialization.generations import Generations, field_of
from vidtopics.materialization.lock import GUARD, fence, queue
from vidtopics.materialization.records import expired, generations_of, retained_loads
from vidtopics.materialization.registration import Generation, retired_generations
from vidtopics.materialization.switching import dirty, forget, records
from vidtopics.materialization.writer import StoreWriter

EVERY_LOAD = 2**32 - 1

# KEYS: the bucket's fence, its watermark. ARGV: the writer's number, the watermark (empty: none).
REWIND = f"""{GUARD}
if ARGV[2] == '' then redis.call('DEL', KEYS[2]) else redis.call('SET', KEYS[2], ARGV[2]) end
"""


def expire(writer: StoreWriter, keep_us: int, now_us: int) -> int:
    """Drop records past their time and what only they named. Returns how many keys went.

    A run that died here has its trims noted (hash `trims`): the next one makes them.
    """
    store = writer.generations
    before = records(store)
    old = expired(before, now_us, keep_us)
    after = [record for record in before if record not in old]
    entries = store.entries().values()
    live = {(entry.number, entry.generation): entry for entry in entries}

    def retained(among: Sequence[Any], generation: Generation) -> list[int]:
        return retained_loads(among, live.get(generation), generation)

    changed = {g for g in generations_of(old) if retained(before, g) != retained(after, g)}
    if old:
        forget(store, [record.load for record in old], changed)
    unclean = dirty(store)
    trims = {}
    for generation in _noted(store, "trims"):
        # Rows of a load that couldn't go live yet stay, but for those that were gone back from.
        waiting = [] if "{}:{}".format(*generation) in unclean else [EVERY_LOAD]
        trims[generation] = retained(after, generation) + waiting
    return _swept(writer, trims)


def reset(writer: StoreWriter) -> None:
    """Take out of live generations what was gone back from, and put their watermarks back.

    Versions of values that no retained load shows go: those of loads above the live one with them.
    The next load reads again all that came since, so that it writes whatever the table has now.
    """
    store, unclean = writer.generations, dirty(writer.generations)
    known, entries = records(store), store.entries()
    live = {view: entry for view, entry in entries.items() if field_of(entry) in unclean}
    if not live:
        return
    generations = {view: (entry.number, entry.generation) for view, entry in live.items()}
    _swept(writer, {g: retained_loads(known, live[v], g) for v, g in generations.items()})
    for view, entry in live.items():
        _rewind(store, entry, known[-1].marks.get(view, "") if known else "")
    _settle(store, "dirty", [field_of(entry) for entry in live.values()])


def _rewind(store: Generations, entry: ViewEntry, mark: str) -> None:
    """Set the watermarks of a generation; none where `mark` is empty."""
    assert store.lease is not None
    space = store.keys(entry)
    with store.connection.pipeline(transaction=False) as pipe:
        for bucket, tag in enumerate(store.layout.tags):
            keys: list[bytes | str] = [fence(store.prefix, tag), space.watermark(bucket)]
            queue(pipe, REWIND, keys, store.lease.number, mark)
        pipe.execute()


def _swept(writer: StoreWriter, trims: dict[Generation, list[int]] | Any) -> int:
    """Sweep, with the versions of values in some generations trimmed on the way."""
    store = writer.generations

    def trim(generation: Generation, keys: list[bytes]) -> None:
        buckets: dict[int, list[bytes]] = defaultdict(list)
        for key in keys:
            buckets[store.layout.bucket_of_tag[tag_of(key)]].append(key)
        for bucket, batch in buckets.items():
            writer.trim(bucket, batch, trims[generation])

    removed = store.sweep({g: trim for g, loads in trims.items() if loads})
    _settle(store, "trims", [f"{number}:{generation}" for number, generation in trims])
    return removed


def _noted(store: Generations, name: str) -> list[Generation]:
    names: Any = store.connection.hkeys(place(store.prefix, name))
    return retired_generations(names)


def _settle(store: Generations, name: str, fields: Sequence[str]) -> None:
    def change(pipe: Any) -> None:
        pipe.multi()
        pipe.hdel(place(store.prefix, name), *fields)

    if fields:
        store.change(change)
