"""gensim with node numbers as words, beside gensim with words as text."""

import numpy as np
from gensim.models import Word2Vec

from benchmarks.walks import tag_graph
from producers.tags.skipgram import skip_gram
from producers.tags.walks import random_walks
from producers.unit_length import to_unit_length
from vidtopics.settings import TagSettings

SETTINGS = TagSettings(dimensions=16, epochs=3)


def vectors_of_text(walks, nodes, seed):
    """Words that gensim can't take for places among them."""
    model = Word2Vec(
        sg=1, vector_size=16, window=5, negative=5, sample=0, min_count=1, workers=1, seed=seed
    )
    sentences = [[str(node) for node in walk if node >= 0] for walk in walks.tolist()]
    model.build_vocab(sentences)
    model.train(sentences, total_examples=len(sentences), epochs=SETTINGS.epochs)
    return np.array([model.wv[str(node)] for node in range(nodes)])


def near_nodes(vectors):
    unit = to_unit_length(vectors)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -2)
    return np.argsort(-cosine, axis=1)[:, :10]


def overlap(a, b):
    """Mean share of ten nearest nodes that are the same."""
    return np.mean([len(set(x) & set(y)) / 10 for x, y in zip(a, b, strict=True)])


def test_negatives_are_drawn_by_the_nodes_own_counts():
    """Neighbours agree with those of words as text as much as these do over seeds."""
    graph = tag_graph(150)
    walks = random_walks(graph, walks=10, length=40, seed=1)
    walks = walks[np.random.default_rng(0).permutation(len(walks))]
    vectors = skip_gram(walks, len(graph), SETTINGS, seed=3)
    first, second = (near_nodes(vectors_of_text(walks, len(graph), seed)) for seed in (1, 2))
    assert overlap(near_nodes(vectors), first) > overlap(first, second) - 0.05
