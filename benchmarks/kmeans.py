"""K-means at size, beside the machine's bare matrix product, faiss and SuperKMeans.

`python -m benchmarks.kmeans --rows 100000 --peers` writes synthetic blocks of the paper's width to
a map of half precision and clusters them, each side in a fresh process. Times of one pass over the
points are in seconds and in CPU seconds of all threads, which a neighbour on the machine disturbs
less; memory is anonymous memory at its peak, as a map's pages can be taken back at any time.
`--fit` continues rows of `--json` files to more rows by a line through their times.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.children import in_child
from benchmarks.quiet import quietly
from vidtopics.sampling import sampled_peak

Result = TypeVar("Result")
THEMES, PARENTS, TAG_WIDTH = 8_000, 300, 128
SAMPLE = 20_000
"""Points that the mean cosine of every side is measured on, by one function."""
BLOCK = 20_000


def write_points(file: Path, rows: int, width: int, *, seed: int = 0) -> None:
    """A map float16[rows, width]: videos of themes of Zipf sizes, which lie near their parents.

    a = [tag, joint], both blocks of one length, as `TopicSpace` makes it with equal weights.
    """
    rng = np.random.default_rng(seed)
    parents = rng.standard_normal((PARENTS, width), np.float32)
    themes = parents[rng.integers(PARENTS, size=THEMES)]
    themes += 0.9 * rng.standard_normal((THEMES, width), np.float32)
    share = 1 / np.arange(10, 10 + THEMES)
    points = np.memmap(file, np.float16, mode="w+", shape=(rows, width))
    for first in range(0, rows, BLOCK):
        theme = rng.choice(THEMES, min(BLOCK, rows - first), p=share / share.sum())
        block = themes[theme] + rng.standard_normal((len(theme), width), np.float32)
        for part in (slice(0, TAG_WIDTH), slice(TAG_WIDTH, width)):
            length = np.linalg.norm(block[:, part], axis=1, keepdims=True)
            block[:, part] /= np.maximum(length, 1e-6) * np.sqrt(2)
        points[first : first + len(block)] = block
    points.flush()


def ours(file: str, width: int, clusters: int, iterations: int) -> Callable[[], dict[str, Any]]:
    """Our K-means on the map, its passes timed in turns with bare products of the same shape."""
    from producers.topics import kmeans, products, seeding

    points = np.memmap(file, np.float16, mode="r").reshape(-1, width)
    times: dict[str, list[tuple[float, float]]] = {"seeding": [], "pass": [], "product": []}
    label = timing(kmeans.LocalPoints.label, times["pass"])
    block = products.CHUNK_ELEMENTS // clusters
    x, y = torch.randn(block, width), torch.randn(clusters, width)
    repeats = max(1, len(points) // block // 10)
    product = timing(lambda: [x @ y.T for _ in range(repeats)], times["product"])

    def label_and_multiply(*arguments: Any) -> Any:
        product()
        return label(*arguments)

    first_centres = timing(seeding.first_centres, times["seeding"])

    def call() -> dict[str, Any]:
        seeding_timed = patch.object(kmeans, "first_centres", first_centres)
        passes_timed = patch.object(kmeans.LocalPoints, "label", label_and_multiply)
        with sampled_peak(anonymous_memory, every=0.05) as peak_gb, seeding_timed, passes_timed:
            result = kmeans.spherical_kmeans(points, clusters, iterations=iterations, seed=0)
        part = repeats * block / len(points)
        seconds = {
            name: [float(np.median([t[i] for t in times[name]])) for i in (0, 1)] for name in times
        }
        seconds["product"] = [s / part for s in seconds["product"]]
        return {
            **seconds,
            "passes": len(times["pass"]),
            "peak_gb": peak_gb(),
            "cosine": mean_cosine(points, result.centroids),
        }

    return call


def faiss_peer(
    file: str, width: int, clusters: int, iterations: int, name: str
) -> Callable[[], dict[str, Any]]:
    """`faiss.Kmeans` or `faiss.SuperKmeans`, spherical, on all points as float32 in memory."""
    import faiss

    half = np.memmap(file, np.float16, mode="r").reshape(-1, width)
    points = np.array(half, np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    limits = {"min_points_per_centroid": 1, "max_points_per_centroid": 2**30}
    peer = getattr(faiss, name)(width, clusters, niter=iterations, spherical=True, seed=1, **limits)

    def call() -> dict[str, Any]:
        times: list[tuple[float, float]] = []
        timing(lambda: quietly(lambda: peer.train(points)), times)()
        centroids = peer.centroids / np.linalg.norm(peer.centroids, axis=1, keepdims=True)
        return {
            "pass": [seconds / iterations for seconds in times[0]],
            "cosine": mean_cosine(half, centroids),
        }

    return call


def mean_cosine(points: NDArray[np.floating], centroids: NDArray[np.float32]) -> float:
    """Of a sample of the points to their nearest centres."""
    from producers.topics.products import nearest
    from producers.topics.seeding import read_rows

    size = min(SAMPLE, len(points))
    rows = np.sort(np.random.default_rng(1).choice(len(points), size, replace=False))
    x = read_rows(points, rows, "cpu")
    return float(nearest(x, torch.from_numpy(centroids))[1].double().mean())


def timing(call: Callable[..., Result], times: list[tuple[float, float]]) -> Callable[..., Result]:
    """The call, which adds its seconds and CPU seconds to `times`."""

    def timed_call(*arguments: Any) -> Result:
        began, cpu = time.perf_counter(), time.process_time()
        result = call(*arguments)
        times.append((time.perf_counter() - began, time.process_time() - cpu))
        return result

    return timed_call


def anonymous_memory() -> float:
    """This process's anonymous memory, GB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("RssAnon"))) / 1e6


def measure(
    rows: int, width: int, clusters: int, iterations: int, folder: Path, *, peers: bool
) -> dict[str, Any]:
    """One size: ours, and the peers at as many iterations."""
    file = folder / f"points{rows}.f16"
    write_points(file, rows, width)
    shape: dict[str, str | int] = {
        "file": str(file),
        "width": width,
        "clusters": clusters,
        "iterations": iterations,
    }
    sides = {"ours": in_child("benchmarks.kmeans", "ours", **shape).result}
    if peers:
        for name in ("Kmeans", "SuperKmeans"):
            child = in_child("benchmarks.kmeans", "faiss_peer", **shape, name=name)
            sides[name] = child.result
    file.unlink()
    return {"rows": rows, "width": width, "clusters": clusters, "iterations": iterations, **sides}


def table(sizes: Sequence[dict[str, Any]], fit: int = 0) -> str:
    """The table of docs/adr/0032; the last row by the line through the sizes, if asked for."""
    lines = [
        "| rows | a pass, s (CPU s) | of the bare product's rate | seeding, passes | peak, GB | "
        "mean cosine | faiss: a pass, cosine | SuperKMeans: a pass, cosine |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for size in sizes:
        side = size["ours"]
        seconds, cpu = side["pass"]
        peers = [
            "{:.1f} ({:.1f}), {:.4f}".format(*size[n]["pass"], size[n]["cosine"])
            if n in size
            else ""
            for n in ("Kmeans", "SuperKmeans")
        ]
        lines.append(
            f"| {size['rows']:,} | {seconds:.1f} ({cpu:.1f}) | {side['product'][1] / cpu:.0%} | "
            f"{side['seeding'][1] / cpu:.2f} | {side['peak_gb']:.2f} | {side['cosine']:.4f} | "
            f"{' | '.join(peers)} |"
        )
    if fit:
        rows = [size["rows"] for size in sizes]
        of = {
            name: np.polyval(np.polyfit(rows, values, 1), fit)
            for name, values in (
                ("pass", [size["ours"]["pass"][0] for size in sizes]),
                ("cpu", [size["ours"]["pass"][1] for size in sizes]),
                ("peak", [size["ours"]["peak_gb"] for size in sizes]),
            )
        }
        lines.append(
            f"| {fit:,}, by the line | {of['pass']:.0f} ({of['cpu']:.0f}) |  |  | "
            f"{of['peak']:.2f} |  |  |  |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measures sizes, or prints the table of measured ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[])
    parser.add_argument("--width", type=int, default=2_432)
    parser.add_argument("--clusters", type=int, default=6_000)
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--json", type=Path, help="read and written: the sizes so far")
    parser.add_argument("--fit", type=int, default=0, help="rows to continue the table to")
    chosen = parser.parse_args()
    sizes = json.loads(chosen.json.read_text()) if chosen.json and chosen.json.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        for rows in chosen.rows:
            shape = (rows, chosen.width, chosen.clusters, chosen.iterations)
            sizes.append(measure(*shape, Path(folder), peers=chosen.peers))
            if chosen.json:
                chosen.json.write_text(json.dumps(sizes, indent=1))
    print(table(sizes, chosen.fit))  # noqa: T201


if __name__ == "__main__":
    main()
