"""One run at a time under a prefix, and a number by which Redis refuses a run that was overtaken.

A lease alone is not enough: a run that was paused for longer than its lease still believes that it
holds it. So each holder has a number greater than all before it, and every key that a run changes
is guarded by a number in the key's own slot: `fence` beside the directory, and one `fence` per
bucket, which a holder raises before its first change there (:meth:`Lease.claim`).
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import redis

from vidtopics.errors import StoreError, explain
from vidtopics.layout import Layout, place
from vidtopics.online.connections import Connection

LEASE_S = 10.0
WAIT_S = 12.0  # longer than the lease: a run that follows a death waits it out
FENCED = "VTFENCED"
LOST = "VTLOST"
Result = TypeVar("Result")

# KEYS: lock, fence. ARGV: who, lease in ms, 1 to take it from whoever has it. The clock keeps
# numbers rising where Redis lost the last one. A client that sends it again, as it got no answer,
# finds the lock its own.
ACQUIRE = """
if ARGV[3] == '1' then redis.call('DEL', KEYS[1]) end
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  local held = redis.call('GET', KEYS[1])
  if held ~= ARGV[1] then return {'', held} end
end
local clock = redis.call('TIME')
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
local number = math.max(clock[1] * 1000000 + clock[2], last + 1)
redis.call('SET', KEYS[2], string.format('%.0f', number))
return {string.format('%.0f', number), ''}
"""

# KEYS: lock, fence. ARGV: who, lease in ms (0: give it up), number. A lease that ran out and that
# nobody took is the holder's still.
RENEW = """
if redis.call('GET', KEYS[2]) ~= ARGV[3] then return 0 end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 1
"""

# What guarded scripts begin with. KEYS[1]: the bucket's fence. ARGV[1]: the writer's number; empty
# for writers whose order doesn't matter.
GUARD = f"""
if ARGV[1] ~= '' and tonumber(redis.call('GET', KEYS[1]) or '0') > tonumber(ARGV[1]) then
  return redis.error_reply('{FENCED}')
end
"""

# What guarded scripts begin with where a loss must show. KEYS[2]: the bucket's count (hash: `run`,
# its number; per sender the number of its last batch). ARGV: number, sender, the batch's number. A
# batch that is sent again, as its answer got lost, has a number that was counted.
COUNTED = f"""{GUARD}
if ARGV[1] ~= '' then
  local count = tonumber(redis.call('HGET', KEYS[2], ARGV[2]) or '0')
  if redis.call('HGET', KEYS[2], 'run') ~= ARGV[1] or count < tonumber(ARGV[3]) - 1 then
    return redis.error_reply('{LOST}')
  end
  if count < tonumber(ARGV[3]) then redis.call('HSET', KEYS[2], ARGV[2], ARGV[3]) end
end
"""

# KEYS: the bucket's fence and count. ARGV: number.
CLAIM = f"""{GUARD}
redis.call('SET', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'run', ARGV[1])
"""

# KEYS: fence. ARGV: the number that it has, a greater one.
RISE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""


class LockError(StoreError):
    """Another run holds the lock, or took it from this one."""


def fence(prefix: str, tag: str) -> str:
    """The key of the number that guards a bucket, by the bucket's hash tag.

    >>> fence("vt", "5x")
    'vt:fence:{5x}'
    """
    return f"{prefix}:fence:{{{tag}}}"


def count(prefix: str, tag: str) -> str:
    """The key of what a run has sent to a bucket, beside its fence.

    >>> count("vt", "5x")
    'vt:fence-count:{5x}'
    """
    return f"{prefix}:fence-count:{{{tag}}}"


@dataclass
class Lease:
    """A holder's number, and its ways to change Redis.

    They fail with :class:`LockError` once another holder has a later number.
    """

    connection: Connection
    prefix: str
    number: str

    def claim(self, layout: Layout) -> None:
        """Raise every bucket's number to this one; no earlier holder changes a key afterwards.

        Where buckets have greater ones (the directory's node lost its own, and its clock is
        behind), the holder's rises above them.
        """
        try:
            self._claim(layout)
        except redis.ResponseError as error:
            if FENCED not in str(error) or not self._rise(layout):
                raise
            self._claim(layout)

    def _claim(self, layout: Layout) -> None:
        with self.connection.pipeline(transaction=False) as pipe:
            for tag in layout.tags:
                guards = [fence(self.prefix, tag), count(self.prefix, tag)]
                queue(pipe, CLAIM, guards, self.number)
            pipe.execute()

    def _rise(self, layout: Layout) -> bool:
        """Take a number above all buckets' ones; false where another has the lock."""
        with self.connection.pipeline(transaction=False) as pipe:
            for tag in layout.tags:
                pipe.get(fence(self.prefix, tag))
            number = str(max(int(n or 0) for n in pipe.execute()) + 1)
        if not self.connection.eval(RISE, 1, place(self.prefix, "fence"), self.number, number):
            return False
        self.number = number
        return True

    def transaction(self, change: Callable[[Any], Result], *names: str) -> Result:
        """Run `change` over keys of the directory.

        It reads from the pipeline, calls `multi` and queues what it writes.

        It may run again after it was done, where the answer got lost.
        """
        guard = place(self.prefix, "fence")

        def fenced(pipe: Any) -> Result:
            number = int(pipe.get(guard) or 0)
            if number != int(self.number):
                raise overtaken(self.prefix) if number > int(self.number) else lost(self.prefix)
            return change(pipe)

        return transaction(
            self.connection, fenced, guard, *(place(self.prefix, name) for name in names)
        )


def queue(pipe: Any, script: str, keys: Sequence[bytes | str], *arguments: str) -> None:
    """Queue a script on a pipeline of a server or a cluster, whose own `eval` refuses."""
    pipe.execute_command("EVAL", script, len(keys), *keys, *arguments)


def transaction(connection: Connection, change: Callable[[Any], Result], *keys: str) -> Result:
    """`change` under WATCH of the keys, again until no one came in between."""
    return cast(
        "Result", connection.transaction(cast("Any", change), *keys, value_from_callable=True)
    )


@contextmanager
def hold(connection: Connection, prefix: str, *, preempt: bool = False) -> Iterator[Lease]:
    """Hold the prefix's lock, renewed by a thread; with `preempt` whoever has it is overtaken.

    Raises:
        LockError: another has it after :data:`WAIT_S` (it is named), or took it away.
    """
    since = datetime.now(UTC).isoformat(timespec="seconds")
    who = json.dumps(
        {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": since,
            "token": secrets.token_hex(8),
        }
    )
    lease = Lease(connection, prefix, _acquire(connection, prefix, who, preempt=preempt))
    keys, stop = [place(prefix, "lock"), place(prefix, "fence")], threading.Event()

    def renew(lease_ms: int) -> None:
        connection.eval(RENEW, 2, *keys, who, str(lease_ms), lease.number)

    def keep() -> None:
        while not stop.wait(LEASE_S / 3):
            # What can't be reached now is asked again, as long as the run itself goes on.
            with suppress(redis.RedisError):
                renew(int(LEASE_S * 1000))

    thread = threading.Thread(target=keep, name="lease", daemon=True)
    thread.start()
    try:
        yield lease
    except redis.ResponseError as error:
        if FENCED in str(error):
            raise overtaken(prefix) from error
        if LOST in str(error):
            raise lost(prefix) from error
        raise
    finally:
        stop.set()
        thread.join()
        with suppress(redis.RedisError):
            renew(0)


def _acquire(connection: Connection, prefix: str, who: str, *, preempt: bool = False) -> str:
    until = time.monotonic() + WAIT_S
    keys = [place(prefix, "lock"), place(prefix, "fence")]
    while True:
        number, holder = cast(
            "list[bytes]",
            connection.eval(ACQUIRE, 2, *keys, who, str(int(LEASE_S * 1000)), str(int(preempt))),
        )
        if number:
            return number.decode()
        if time.monotonic() >= until:
            raise LockError(
                explain(
                    f"Redis, prefix {prefix!r}",
                    expected="no other run",
                    found=_named(holder),
                    mend="wait for it",
                )
            )
        time.sleep(0.05)


def _named(holder: bytes) -> str:
    """Who a lock says that it belongs to.

    >>> _named(b'{"host": "h", "pid": 7, "since": "2026-11-23T10:00:00+00:00"}')
    'process 7 on h, which began at 2026-11-23T10:00:00+00:00'
    """
    who = json.loads(holder)
    return f"process {who['pid']} on {who['host']}, which began at {who['since']}"


def overtaken(prefix: str) -> LockError:
    """The error of a run whose lease ran out and whose place another took."""
    return LockError(
        explain(
            f"Redis, prefix {prefix!r}",
            expected="the lock to be this run's still",
            found="a later run, as this one was not heard of for longer than its lease",
            mend="run again; nothing that it wrote is wrong",
        )
    )


def lost(prefix: str) -> StoreError:
    """The error of a run some of whose writes Redis has no more."""
    return StoreError(
        explain(
            f"Redis, prefix {prefix!r}",
            expected="every write of this run to be there still",
            found="that Redis lost writes of this run "
            "(a failover, a restart from a snapshot, FLUSHALL)",
            mend="run again: no watermark moved where writes are missing",
        )
    )
