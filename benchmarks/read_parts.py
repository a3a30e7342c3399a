"""Where the time of a client's read goes: `python -m benchmarks.read_parts`.

The parts of a read of 600 videos, one after the other in one process as :meth:`OnlineClient.read`
calls them; median microseconds.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any, cast

import numpy as np

from benchmarks.serving import NAMES, VIEW, Sizes, serving
from vidtopics.online.requests import Request, encoded

READS = 3_000
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


def main() -> None:
    """Print them."""
    parts, whole = measure()
    for name, cost in parts.items():
        print(f"{name:12}{cost:6.0f} µs  {PARTS[name]}")  # noqa: T201
    print(  # noqa: T201
        f"{'read':12}{whole:6.0f} µs  all of it, by the client"
        f" (the parts: {sum(parts.values()):.0f})"
    )


if __name__ == "__main__":
    main()
