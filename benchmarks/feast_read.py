"""Feast's own call, `get_online_features` of 600 videos: on our Redis store against on Feast's."""

from __future__ import annotations

import numpy as np
from feast import FeatureStore

from benchmarks.figures import Figure, Scale, Target, check, figure
from benchmarks.serving import Sizes, as_lists, latencies, read_feast, serving

SIZES: dict[Scale, Sizes] = {"full": Sizes(20_000, 5, 200, 100), "smoke": Sizes(1_000, 2, 5, 3)}
WARM_UP = 3


def run(scale: Scale) -> list[Figure]:
    """p50 of each round."""
    sizes = SIZES[scale]
    with serving(sizes) as served:
        ids = served.requests[0]
        check(
            "feast-read: values",
            as_lists(read_feast(served.packed, ids)),
            as_lists(read_feast(served.feast, ids)),
        )

        def milliseconds(store: FeatureStore, reads: int) -> float:
            return float(
                np.median(latencies(lambda ids: read_feast(store, ids), served.requests, reads))
            )

        milliseconds(served.packed, WARM_UP)
        milliseconds(served.feast, WARM_UP)
        rounds = [
            (milliseconds(served.packed, sizes.ours), milliseconds(served.feast, sizes.feast))
            for _ in range(sizes.rounds)
        ]
    return [
        figure(
            "feast-read",
            "600 videos, get_online_features, p50",
            "ms",
            [a for a, _ in rounds],
            [b for _, b in rounds],
            "Feast's Redis store",
            [Target("faster", 3)],
            note=f"{sizes.rounds} rounds of {sizes.ours:,} and {sizes.feast:,} reads",
        )
    ]
