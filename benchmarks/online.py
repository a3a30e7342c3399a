"""A ranking request: topic ids and weights of 600 random videos.

Our client against `get_online_features` on Feast's Redis store.
"""

from __future__ import annotations

import numpy as np

from benchmarks.figures import Figure, Scale, Target, check, figure
from benchmarks.serving import NAMES, VIEW, Sizes, as_lists, latencies, read_feast, serving

SIZES: dict[Scale, Sizes] = {"full": Sizes(20_000, 5, 2_000, 60), "smoke": Sizes(1_000, 2, 30, 3)}
WARM_UP = 20


def run(scale: Scale) -> list[Figure]:
    """p50 and p99 of each round; both readers ask one server for the same videos."""
    sizes = SIZES[scale]
    with serving(sizes) as served:

        def ours(ids: list[str]) -> object:
            return served.client.read(VIEW, ids, NAMES)

        def feast(ids: list[str]) -> object:
            return read_feast(served.feast, ids)

        first = served.client.read(VIEW, served.requests[0], NAMES)
        check(
            "online: values",
            [first[n].tolist() for n in NAMES],
            as_lists(feast(served.requests[0])),
        )
        latencies(ours, served.requests, WARM_UP)
        rounds = [
            (
                latencies(ours, served.requests, sizes.ours),
                latencies(feast, served.requests, sizes.feast),
            )
            for _ in range(sizes.rounds)
        ]
    name = "600 videos, topic ids and weights, client read"
    peer = "Feast's Redis store, get_online_features"
    quantiles = [
        (0.5, "p50", [Target("most", 1), Target("faster", 20)]),
        (0.99, "p99", [Target("most", 2)]),
    ]
    return [
        figure(
            "online",
            f"{name}, {label}",
            "ms",
            [float(np.quantile(a, q)) for a, _ in rounds],
            [float(np.quantile(b, q)) for _, b in rounds]
            if q == 0.5
            else (),  # of so few reads of the peer there is no p99
            peer,
            targets,
            note=f"{sizes.rounds} rounds of {sizes.ours:,} and {sizes.feast:,} reads",
        )
        for q, label, targets in quantiles
    ]
