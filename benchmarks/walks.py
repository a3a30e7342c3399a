"""Walks beside PecanPy, and skip-gram beside gensim on all cores: `python -m benchmarks.walks`.

PecanPy pins an old numba, so it runs in an environment of its own, whose Python
`PECANPY_PYTHON` names; without it that figure is left out. It steps by edge weights as we do
(p = q = 1). Our skip-gram is gensim's on one thread, which gives the same bytes in each run; gensim
on all cores doesn't.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from gensim.models import Word2Vec
from numpy.typing import NDArray

from benchmarks.figures import Figure, Target, check, figure, timed
from producers.tags.graph import TagGraph, build_graph
from producers.tags.skipgram import skip_gram
from producers.tags.walks import random_walks
from vidtopics.settings import TagSettings

NEIGHBOURS = 40
SHARE = 4
"""Skip-gram learns from every fourth walk in each of its rounds."""
PEER = """
import json, sys, time
from pecanpy.pecanpy import PreCompFirstOrder
graph = PreCompFirstOrder(p=1, q=1, workers=int(sys.argv[2]), verbose=False)
graph.read_edg(sys.argv[1], weighted=True, directed=False)
graph.preprocess_transition_probs()
graph.simulate_walks(num_walks=1, walk_length=5)
seconds = []
for _ in range(3):
    began = time.perf_counter()
    walks = graph.simulate_walks(num_walks=int(sys.argv[3]), walk_length=int(sys.argv[4]))
    seconds.append(time.perf_counter() - began)
print(json.dumps([seconds, len(walks)]))
"""


def tag_graph(tags: int, *, seed: int = 0) -> TagGraph:
    """Tags with about 40 neighbours each, popular ones more; weights are numbers of videos."""
    rng = np.random.default_rng(seed)
    popularity = 1 / np.arange(20, 20 + tags)
    ends = rng.choice(tags, (2, NEIGHBOURS * tags // 2), p=popularity / popularity.sum())
    pairs = np.unique(np.sort(ends[:, ends[0] != ends[1]], axis=0), axis=1)
    names = np.array([f"t{i:06}" for i in range(tags)])
    videos = rng.geometric(0.3, pairs.shape[1])
    return build_graph(
        names[pairs[0]].tolist(), names[pairs[1]].tolist(), videos, isolated=names.tolist()
    )


def run(tags: int, settings: TagSettings) -> list[Figure]:
    """Steps a second of walks, words a second of skip-gram."""
    graph = tag_graph(tags)
    shape = {"walks": settings.walks_per_tag, "length": settings.walk_length}
    random_walks(graph, walks=1, length=2, seed=0)  # compiled
    rounds = [timed(lambda: random_walks(graph, **shape, seed=7)) for _ in range(3)]
    walks = rounds[0][1]
    check("walks of two runs", walks.tobytes(), rounds[1][1].tobytes())
    steps = int((walks >= 0).sum())
    ours = [steps / seconds for seconds, _ in rounds]
    peer = [steps / seconds for seconds in pecanpy_seconds(graph, settings)]
    target = [Target("faster", 6)] if peer else []
    size = f"{tags:,} tags, {len(graph.indices) // 2:,} edges"
    figures = [figure("walks", f"{size}, walks", "steps/s", ours, peer, "PecanPy", target)]
    some = walks[::SHARE]
    words = int((some >= 0).sum())
    turns = [
        (
            timed(lambda: skip_gram(some, len(graph), settings, seed=7))[0],
            gensim_seconds(some, settings),
        )
        for _ in range(3)
    ]
    figures.append(
        figure(
            "walks",
            f"{size}, skip-gram",
            "words/s",
            [words / seconds for seconds, _ in turns],
            [words / seconds for _, seconds in turns],
            f"gensim, {os.cpu_count()} threads",
            [Target("faster", 1)],
        )
    )
    return figures


def pecanpy_seconds(graph: TagGraph, settings: TagSettings) -> list[float]:
    """Of three runs on all cores; none without `PECANPY_PYTHON`."""
    if not (python := os.environ.get("PECANPY_PYTHON")):
        return []
    source = np.repeat(np.arange(len(graph)), graph.degrees)
    once = source < graph.indices
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph.edg"
        edges = np.column_stack([source[once], graph.indices[once], graph.weights[once]])
        np.savetxt(file, edges, fmt=["%d", "%d", "%g"], delimiter="\t")
        numbers = (os.cpu_count() or 1, settings.walks_per_tag, settings.walk_length)
        done = subprocess.run(  # noqa: S603  the interpreter that the caller names
            [python, "-c", PEER, str(file), *map(str, numbers)],
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            capture_output=True,
            text=True,
            check=True,
        )
    seconds, walks = json.loads(done.stdout.splitlines()[-1])
    check("number of walks", walks, settings.walks_per_tag * int((graph.degrees > 0).sum()))
    return list(seconds)


def gensim_seconds(walks: NDArray[np.int32], settings: TagSettings) -> float:
    """Of gensim's own training on as many threads as there are cores."""
    model = Word2Vec(
        sg=1,
        vector_size=settings.dimensions,
        window=settings.window,
        negative=settings.negatives,
        sample=0,
        min_count=1,
        workers=os.cpu_count() or 1,
        epochs=settings.epochs,
    )
    # As text: gensim takes a number for a place among its words, not for a word.
    sentences = [[str(node) for node in row if node >= 0] for row in walks.tolist()]
    model.build_vocab(sentences)
    seconds, _ = timed(
        lambda: model.train(sentences, total_examples=len(sentences), epochs=settings.epochs)
    )
    return seconds


def main() -> None:
    """Prints a line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tags", type=int, default=12_000)
    for row in run(parser.parse_args().tags, TagSettings()):
        peer = f", {row.peer_name} {row.peer:,.0f}, {row.ratio:.2f} of it" if row.peer else ""
        sys.stdout.write(f"{row.name}: {row.ours:,.0f} {row.unit}{peer}\n")


if __name__ == "__main__":
    main()
