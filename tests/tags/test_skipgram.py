"""Skip-gram: planted communities, the same bytes in another process, and comparable spaces."""

import hashlib
import os
import subprocess
import sys
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import ortho_group

from producers.tags.graph import build_graph
from producers.tags.skipgram import align, embed_tags, skip_gram
from producers.tags.vectors import TagVectors
from vidtopics.errors import ContractError
from vidtopics.settings import TagSettings

SETTINGS = TagSettings(dimensions=16, walk_length=30)


def communities(extra: tuple[str, ...] = ()):
    """Three cliques of ten tags, joined by single edges; `extra` tags join the first clique."""
    groups = [[f"{g}{i}" for i in range(10)] for g in "abc"]
    groups[0] += extra
    edges = {pair: 5 for group in groups for pair in combinations(sorted(group), 2)}
    edges |= {("a0", "b0"): 1, ("b1", "c1"): 1}
    return build_graph(
        [a for a, _ in edges], [b for _, b in edges], list(edges.values()), isolated=["z"]
    )


def digest() -> str:
    return hashlib.sha256(embed_tags(communities(), SETTINGS, seed=7).vectors.tobytes()).hexdigest()


def cosines(vectors):
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T


def test_neighbours_come_from_the_own_community():
    embedding = embed_tags(communities(), SETTINGS, seed=7)
    assert embedding.vectors.shape == (31, 16)
    assert embedding.vectors.dtype == np.float32
    assert np.isfinite(embedding.vectors).all()
    cosine = cosines(embedding.vectors[:30])
    np.fill_diagonal(cosine, -2)
    group = np.repeat([0, 1, 2], 10)
    assert np.array_equal(group[cosine.argmax(axis=1)], group)


def test_same_bytes_in_processes_with_other_string_hashes():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "import test_skipgram; print(test_skipgram.digest())"
    )
    env = {**os.environ, "PYTHONHASHSEED": "4242"}
    command = [sys.executable, "-c", code, os.path.dirname(__file__)]
    other = subprocess.run(
        command, env=env, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert other == digest()


def test_another_seed_gives_other_vectors():
    graph = communities()
    assert not np.array_equal(
        embed_tags(graph, SETTINGS, seed=1).vectors, embed_tags(graph, SETTINGS, seed=2).vectors
    )


def test_vectors_are_in_the_order_of_tags():
    """Node 0 and 1 walk together, 2 and 3 walk together; frequencies would sort them otherwise."""
    walks = np.array([[0, 1] * 10] * 40 + [[3, 2] * 10] * 90, np.int32)
    cosine = cosines(skip_gram(walks, 4, TagSettings(dimensions=8, epochs=5), seed=0))
    assert min(cosine[0, 1], cosine[2, 3]) > 0.5
    assert abs(cosine[:2, 2:]).max() < 0.1


def test_a_warm_start_keeps_the_space_and_places_new_tags():
    first = embed_tags(communities(), SETTINGS, seed=1)
    turned = TagVectors(
        first.tags, (first.vectors @ ortho_group.rvs(16, random_state=0)).astype(np.float32)
    )
    for old in (first, turned):
        then = embed_tags(communities(extra=("new",)), SETTINGS, seed=2, initial=old)
        rows = [then.tags.index(tag).as_py() for tag in old.tags]
        unit = [
            v / np.linalg.norm(v, axis=1, keepdims=True) for v in (then.vectors[rows], old.vectors)
        ]
        assert (unit[0] * unit[1]).sum(axis=1)[:30].mean() > 0.9
        ratio = np.linalg.norm(then.vectors[rows], axis=1) / np.linalg.norm(old.vectors, axis=1)
        assert np.median(ratio) == pytest.approx(1, abs=1e-3)
        new = cosines(then.vectors)[then.tags.index("new").as_py()]
        new[then.tags.index("new").as_py()] = -2
        assert then.tags[int(new.argmax())].as_py()[0] == "a"


def test_align_undoes_a_rotation_and_a_scale():
    rng = np.random.default_rng(0)
    old = rng.normal(size=(40, 6)).astype(np.float32)
    moved = (3 * old @ ortho_group.rvs(6, random_state=1)).astype(np.float32)
    known = np.arange(5, 40)
    assert np.allclose(
        align(moved, known, old[5:]), old, atol=1e-5
    )  # rows 0 to 4 follow the others
    assert align(moved, known[:0], old[:0]) is moved


def test_nothing_shared_with_the_last_run_is_a_cold_start():
    initial = TagVectors(pa.array(["other"]), np.ones((1, 16), np.float32))
    warm, cold = (
        embed_tags(communities(), SETTINGS, seed=1, initial=i).vectors for i in (initial, None)
    )
    assert np.array_equal(warm, cold)


def test_limits_are_named():
    with pytest.raises(ContractError, match="expected width 16, found width 3"):
        embed_tags(
            communities(),
            SETTINGS,
            seed=1,
            initial=TagVectors(pa.array(["a0"]), np.ones((1, 3), np.float32)),
        )


def test_empty_graph():
    assert embed_tags(build_graph([], [], []), SETTINGS, seed=1).vectors.shape == (0, 16)
