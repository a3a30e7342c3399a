"""Where the time of a client's read goes: `python -m benchmarks.read_parts`.

The parts of a read of 600 videos, one after the other in one process as :meth:`OnlineClient.read`
calls them; median microseconds. Then what the size of the store, the way of summing up and the
bytes of a header make of the ratio to Feast.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any, cast

import numpy as np
import redis

from benchmarks.figures import Milliseconds
from benchmarks.serving import NAMES, VIEW, Serving, Sizes, latencies, read_feast, serving
from vidtopics.online.requests import Request, encoded

READS = 3_000
VIDEOS = (20_000, 200_000)
ROUNDS = 10
LOAD_BYTES = 3
"""What layout 2 added to a header: 4 bytes of load, less the byte of flags."""
PARTS = {
    "encode": "600 ids to bytes",
    "request": "their hashes",
    "pack": "the MGET as Redis' protocol has it",
    "connection": "a connection of the pool, asked whether it still stands",
    "send": "the command into the socket",
    "receive": "waiting for the server; 601 values out of the answer (hiredis)",
    "release": "the connection back to the pool",
    "decode": "600 values judged, and made arrays",
}


def measure(reads: int = READS, videos: int = 20_000) -> tuple[dict[str, float], float]:
    """Microseconds of each part, and of whole reads in turns with them."""
    with serving(Sizes(videos, 1, reads, 0)) as served:
        client = served.client
        pool, directory = cast("Any", client.connection).connection_pool, client.directory([VIEW])
        parts, whole = np.empty((reads, len(PARTS))), np.empty(reads)
        for i in range(reads):
            ids = served.requests[i % len(served.requests)]
            at = [perf_counter()]
            names = encoded(ids)
            at.append(perf_counter())
            request = Request.of(directory, [(VIEW, names)])
            at.append(perf_counter())
            packed = request.packed()
            at.append(perf_counter())
            connection = pool.get_connection()
            at.append(perf_counter())
            connection.send_packed_command([packed])
            at.append(perf_counter())
            answers = connection.read_response(disable_decoding=True)
            at.append(perf_counter())
            pool.release(connection)
            at.append(perf_counter())
            request.features(answers, NAMES)
            at.append(perf_counter())
            parts[i] = np.diff(at)
            began = perf_counter()
            client.read(VIEW, served.requests[(i + 100) % len(served.requests)], NAMES)
            whole[i] = perf_counter() - began
    return dict(zip(PARTS, (np.median(parts, axis=0) * 1e6).tolist(), strict=True)), float(
        np.median(whole) * 1e6
    )


def compare(videos: int) -> dict[str, list[Milliseconds]]:
    """Milliseconds of reads by each way, in turns."""
    with serving(Sizes(videos, ROUNDS, 0, 0)) as served, redis.Redis.from_url(served.url) as server:
        ways: dict[str, tuple[Callable[[list[str]], object], int]] = {
            "client": (lambda ids: served.client.read(VIEW, ids, NAMES), 200),
            "bare MGET": (_bare(served, server), 200),
            "bare MGET, header of layout 1": (_bare(served, server, LOAD_BYTES), 200),
            "Feast": (partial(read_feast, served.feast), 20),
        }
        for read, count in ways.values():
            latencies(read, served.requests, count)
        rounds = [
            {
                name: latencies(read, served.requests[i * 20 :], count)
                for name, (read, count) in ways.items()
            }
            for i in range(ROUNDS)
        ]
    return {name: [times[name] for times in rounds] for name in ways}


def _bare(served: Serving, server: redis.Redis, less: int = 0) -> Callable[[list[str]], object]:
    """redis-py's MGET of prepared keys; with `less`, of copies that are so many bytes shorter."""
    directory = served.client.directory([VIEW])
    keys = {ids[0]: Request.of(directory, [(VIEW, encoded(ids))]).keys() for ids in served.requests}
    if less:
        with server.pipeline(transaction=False) as pipe:
            for key in {key for request in keys.values() for key in request}:
                pipe.set(b"copy:" + key, cast("bytes", server.get(key))[:-less])
            pipe.execute()
        keys = {i: [b"copy:" + key for key in request] for i, request in keys.items()}
    return lambda ids: server.mget(keys[ids[0]])


def print_comparison(videos: int) -> None:
    """Medians of all reads and of the best round, and Feast's over ours by both."""
    times = compare(videos)
    middle = {name: float(np.median(np.concatenate(rounds))) for name, rounds in times.items()}
    best = {name: min(float(np.median(r)) for r in rounds) for name, rounds in times.items()}
    for name in times:
        ratios = [f"{of[name] / of['client']:6.2f}" for of in (middle, best)]
        print(  # noqa: T201
            f"{videos:8,} videos  {name:32}{middle[name]:8.3f} ms {ratios[0]}x"
            f"  best round {best[name]:8.3f} ms {ratios[1]}x"
        )


def main() -> None:
    """Print them."""
    for videos in VIDEOS:
        print_comparison(videos)
    parts, whole = measure()
    for name, cost in parts.items():
        print(f"{name:12}{cost:6.0f} µs  {PARTS[name]}")  # noqa: T201
    print(  # noqa: T201
        f"{'read':12}{whole:6.0f} µs  all of it, by the client"
        f" (the parts: {sum(parts.values()):.0f})"
    )


if __name__ == "__main__":
    main()
