"""Assignment and neighbours on a GPU: `python -m benchmarks.gpu`; `--device cpu` tries it without.

Both ways to find each point's nearest centre run there, torch's product and maximum as in K-means
and faiss's `knn_gpu`, and have to agree; then the exact neighbours of points among each other,
beside the same on the CPU.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.figures import Figure, check, figure, timed
from producers.topics.neighbours import exact_neighbours
from producers.topics.products import nearest
from vidtopics.errors import MachineError, explain

ROUNDS = 3


def run(device: str, rows: int, clusters: int, width: int) -> list[Figure]:
    """Seconds of each side, in turns.

    Raises:
        MachineError: torch or faiss sees no GPU.
    """
    if device == "cuda" and not (torch.cuda.is_available() and faiss.get_num_gpus()):
        raise MachineError(
            explain(
                "benchmarks.gpu",
                expected="a GPU that torch and faiss see",
                found=f"torch: {torch.cuda.is_available()}, faiss: {faiss.get_num_gpus()} GPUs",
                mend="run it on a machine with one, or with --device cpu",
            )
        )
    rng = np.random.default_rng(0)
    points, centres = (
        torch.nn.functional.normalize(
            torch.from_numpy(rng.standard_normal((n, width), np.float32)), dim=1
        )
        for n in (rows, clusters)
    )
    x, y = points.to(device), centres.to(device)
    ours, labels = rounds(lambda: nearest(x, y)[0].cpu().numpy())
    peer, rows_of_faiss = rounds(
        lambda: exact_neighbours(points.numpy(), centres.numpy(), 1, device=device)[0][:, 0]
    )
    agreement = float((labels == rows_of_faiss).mean())
    check("nearest centres", agreement > 0.999, True)
    queries = points[: rows // 10].numpy()
    found, gpu_rows = rounds(
        lambda: exact_neighbours(queries, points.numpy(), 10, device=device)[0]
    )
    on_cpu, cpu_rows = rounds(lambda: exact_neighbours(queries, points.numpy(), 10)[0])
    check("neighbours", float((gpu_rows == cpu_rows).mean()) > 0.99, True)
    shape = f"{rows:,} x {width:,}"
    return [
        figure("gpu", f"nearest of {clusters:,} centres, {shape}", "s", ours, peer, "faiss"),
        figure("gpu", f"10 neighbours of {len(queries):,} in {shape}", "s", found, on_cpu, "CPU"),
    ]


def rounds(call: Callable[[], NDArray[np.int64]]) -> tuple[list[float], NDArray[np.int64]]:
    """Seconds of each round after a first that warms up, and the last result."""
    call()
    results = [timed(call) for _ in range(ROUNDS)]
    return [seconds for seconds, _ in results], results[-1][1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a line a figure; 2 where there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--clusters", type=int, default=6_000)
    parser.add_argument("--width", type=int, default=2_432)
    chosen = parser.parse_args(arguments)
    try:
        figures = run(chosen.device, chosen.rows, chosen.clusters, chosen.width)
    except MachineError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for row in figures:
        sys.stdout.write(
            f"{row.name}: {row.ours:.3f} s, {row.peer_name} {row.peer:.3f} s, {row.ratio:.1f}x\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
