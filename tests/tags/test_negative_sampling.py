"""Gradient steps of skip-gram beside plain numpy in doubles, and beside gensim."""

import numpy as np
from gensim.models import Word2Vec

from benchmarks.walks import tag_graph
from producers.tags.negative_sampling import learn_from_walks
from producers.tags.walks import PAD, draw, mix, random_walks
from producers.unit_length import to_unit_length

WALKS = np.array([[0, 1, 2, 1, 3], [3, 3, 0, 4, 1], [4, PAD, PAD, PAD, PAD]], np.int32)


def plain_skip_gram(walks, vectors, *, window, negatives, epochs, seed):
    """Eq. 4's steps as they are written, with a search among all words for each negative."""
    v, u = vectors.astype(np.float64), np.zeros(vectors.shape)
    shares = np.bincount(walks[walks != PAD], minlength=len(v)) ** 0.75
    bounds = np.cumsum(shares)
    key, number = np.uint64(mix(np.uint64(seed))), 0

    def next_draw():
        nonlocal number
        number += 1
        return draw(key, number)

    for done in range(epochs * len(walks)):
        walk = [node for node in walks[done % len(walks)].tolist() if node != PAD]
        rate = 0.025 - (0.025 - 0.0001) * done / (epochs * len(walks))
        for place, node in enumerate(walk):
            reach = 1 + int(next_draw() * window)
            for other in range(len(walk)):
                if not 0 < abs(other - place) <= reach:
                    continue
                drawn = [
                    int(np.searchsorted(bounds, next_draw() * bounds[-1], side="right"))
                    for _ in range(negatives)
                ]
                context, targets = walk[other], [node, *(x for x in drawn if x != node)]
                labels = np.array([1.0] + [0.0] * (len(targets) - 1))
                steps = rate * (labels - 1 / (1 + np.exp(-u[targets] @ v[context])))
                change = np.zeros(v.shape[1])
                for target, step in zip(targets, steps, strict=True):
                    change += step * u[target]
                    u[target] += step * v[context]
                v[context] += change
    return v


def test_steps_are_those_of_the_formula():
    start = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    settings = {"window": 3, "negatives": 4, "epochs": 30, "seed": 7}
    vectors = start.copy()
    learn_from_walks(WALKS, vectors, **settings)
    expected = plain_skip_gram(WALKS, start, **settings)
    assert np.abs(expected - start).max() > 0.1  # they did move
    np.testing.assert_allclose(vectors, expected, atol=1e-4)


def gensims_vectors(walks, nodes, seed):
    """Gensim's words are text: it takes a number for a place among its words."""
    model = Word2Vec(
        sg=1, vector_size=16, window=5, negative=5, sample=0, min_count=1, workers=1, seed=seed
    )
    sentences = [[str(node) for node in walk if node != PAD] for walk in walks.tolist()]
    model.build_vocab(sentences)
    model.train(sentences, total_examples=len(sentences), epochs=3)
    return np.array([model.wv[str(node)] for node in range(nodes)])


def near_nodes(vectors):
    unit = to_unit_length(vectors)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -2)
    return np.argsort(-cosine, axis=1)[:, :10]


def overlap(a, b):
    """Mean share of ten nearest nodes that are the same."""
    return np.mean([len(set(x) & set(y)) / 10 for x, y in zip(a, b, strict=True)])


def test_neighbours_are_gensims():
    """As much as those of another seed are: on words of unlike frequency, where negatives count."""
    graph = tag_graph(150)
    walks = random_walks(graph, walks=10, length=40, seed=1)
    walks = walks[np.random.default_rng(0).permutation(len(walks))]
    vectors = np.random.default_rng(3).uniform(-1, 1, (len(graph), 16)).astype(np.float32) / 16
    learn_from_walks(walks, vectors, window=5, negatives=5, epochs=3, seed=3)
    first, second = (near_nodes(gensims_vectors(walks, len(graph), seed)) for seed in (1, 2))
    assert overlap(near_nodes(vectors), first) > overlap(first, second) - 0.05
