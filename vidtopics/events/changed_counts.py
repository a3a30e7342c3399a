"""Which videos' live counts have changed since the last look.

A look reads a bucket's entries between two cursors, or all of its values where that is less. The
number of applied entries rises by the number of those between the cursors; where it doesn't, a
server came back with an earlier state, or the stream was trimmed: what was read may have gone back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from vidtopics.events.calls import call_each
from vidtopics.events.generations import Generation
from vidtopics.events.scripts import CLOSED
from vidtopics.layout.live import VIDEO, LiveKeys, VideoState
from vidtopics.online.connections import Connection

PAGE = 400
"""Entries that one call looks through."""
BEGIN = b"0-0"

# KEYS: the stream; `at` and `state` of the generation. ARGV: as-of time, the cursor, entries at
# most. Gives the cursor that was reached, applied entries in all, entries between, and each video
# of these once with its value. Values are read behind the cursor, so that they have all up to it.
_CHANGED = f"""
local at = redis.call('HMGET', KEYS[2], 'as_of', 'cursor', 'entries')
if at[1] ~= ARGV[1] then return redis.error_reply('{CLOSED} ' .. KEYS[2]) end
if not at[2] then return {{ARGV[2], 0, 0, {{}}}} end
local entries = redis.call('XRANGE', KEYS[1], '(' .. ARGV[2], at[2], 'COUNT', ARGV[3])
local names, seen, pairs = {{}}, {{}}, {{}}
for _, entry in ipairs(entries) do
  local fields, name = entry[2], nil
  for i = 1, #fields, 2 do
    if fields[i] == 'v' then name = fields[i + 1] end
  end
  if name and not seen[name] then names[#names + 1], seen[name] = name, true end
end
if #names > 0 then
  local values = redis.call('HMGET', KEYS[3], unpack(names))
  for i, name in ipairs(names) do
    if values[i] then
      pairs[#pairs + 1] = name
      pairs[#pairs + 1] = values[i]
    end
  end
end
local reached = #entries == tonumber(ARGV[3]) and entries[#entries][1] or at[2]
return {{reached, tonumber(at[3]), #entries, pairs}}
"""


class ClosedError(Exception):
    """What was read is no more: it was dropped, or a server came back without, or before it."""


class _Seen(NamedTuple):
    """How far a bucket was read: the cursor, and how many entries were applied until then."""

    cursor: bytes
    entries: int


@dataclass(frozen=True)
class _Head:
    """What a bucket has: how far it was applied, and how many videos have values."""

    seen: _Seen
    videos: int


class ChangedCounts:
    """Looks at the counts of a generation; each gives what has changed since the one before."""

    def __init__(self, connection: Connection, keys: LiveKeys, generation: Generation) -> None:
        self.connection, self.keys, self.generation = connection, keys, generation
        self._seen: dict[int, _Seen] = {}

    def look(self) -> dict[bytes, VideoState]:
        """The videos that may have changed, with what the generation has of them; at first all.

        Raises:
            ClosedError: the generation was dropped, or went back.
            redis.exceptions.RedisError: a server can't be reached; the next look gives all.
        """
        before, self._seen = self._seen, {}  # what was read is lost with an error on the way
        heads = self._heads()
        few: list[int] = []
        whole: list[int] = []
        for bucket, head in heads.items():
            seen = before.get(bucket)
            if seen == head.seen:
                continue
            if seen and head.seen.entries < seen.entries:
                raise _went_back(self.generation)
            is_less = seen and head.seen.entries - seen.entries <= head.videos
            (few if is_less else whole).append(bucket)
        changed = self._between(few, before) | self._all(whole, before)
        self._seen = before
        # A damaged value, around which entries are set aside, keeps no other queue waiting.
        return {
            video: VideoState.parse(value)
            for video, value in changed.items()
            if len(value) == VIDEO.size
        }

    def _heads(self) -> dict[int, _Head]:
        buckets = range(self.keys.layout.buckets)
        with self.connection.pipeline(transaction=False) as pipe:
            for bucket in buckets:
                pipe.hmget(self._key("at", bucket), ["as_of", "cursor", "entries"])
                pipe.hlen(self._key("state", bucket))
            answers = iter(pipe.execute())
        return {
            bucket: _Head(self._checked(at), videos)
            for bucket, at, videos in zip(buckets, answers, answers, strict=True)
        }

    def _between(self, buckets: Iterable[int], seen: dict[int, _Seen]) -> dict[bytes, bytes]:
        """Videos of the entries since."""
        changed: dict[bytes, bytes] = {}
        read = dict.fromkeys(buckets, 0)
        first, waiting = {b: seen[b].entries for b in read}, list(read)
        while waiting:
            calls = [(_CHANGED, self._call(bucket, seen[bucket].cursor)) for bucket in waiting]
            answers = call_each(self.connection, calls)
            unread = []
            for bucket, answer in zip(waiting, answers, strict=True):
                cursor, applied, entries, pairs = _checked_answer(answer)
                changed |= zip(pairs[::2], pairs[1::2], strict=True)
                read[bucket] += entries
                seen[bucket] = _Seen(cursor, first[bucket] + read[bucket])
                if entries == PAGE:
                    unread.append(bucket)
                elif first[bucket] + read[bucket] != applied:
                    raise _went_back(self.generation)
            waiting = unread
        return changed

    def _all(self, buckets: Iterable[int], seen: dict[int, _Seen]) -> dict[bytes, bytes]:
        changed: dict[bytes, bytes] = {}
        for bucket in buckets:  # one by one: the answer may be large
            with self.connection.pipeline(transaction=False) as pipe:
                pipe.hmget(self._key("at", bucket), ["as_of", "cursor", "entries"])
                pipe.hgetall(self._key("state", bucket))
                at, values = pipe.execute()
            seen[bucket] = self._checked(at)
            changed |= cast("dict[bytes, bytes]", values)
        return changed

    def _checked(self, at: list[bytes | None]) -> _Seen:
        as_of, cursor, entries = at
        if as_of != str(self.generation.as_of_us).encode():
            raise ClosedError(f"{CLOSED} release {self.generation.release}")
        return _Seen(cursor or BEGIN, int(entries or 0))

    def _call(self, bucket: int, cursor: bytes) -> list[Any]:
        names = [self.keys.stream("video", bucket), *map(self._key, ("at", "state"), [bucket] * 2)]
        return [len(names), *names, self.generation.as_of_us, cursor, PAGE]

    def _key(self, name: str, bucket: int) -> str:
        return self.keys.state(self.generation.release, "video", name, bucket)


def _went_back(generation: Generation) -> ClosedError:
    return ClosedError(f"the counts of release {generation.release} went back")


def _checked_answer(answer: Any) -> tuple[bytes, int, int, list[bytes]]:
    if isinstance(answer, Exception):
        if str(answer).startswith(CLOSED):
            raise ClosedError(str(answer))
        raise answer
    return cast("tuple[bytes, int, int, list[bytes]]", answer)
