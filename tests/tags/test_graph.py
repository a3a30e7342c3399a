"""The tag graph against a hand-worked five-node example and a plain oracle."""

from collections import Counter
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.tags.graph import build_graph, count_pairs
from vidtopics.errors import ContractError

# a-b 2, a-c 1, b-c 1 and, apart from them, d-e 5.
EDGES = (["a", "a", "b", "d"], ["b", "c", "c", "e"], [2, 1, 1, 5])


def test_five_nodes_by_hand():
    graph = build_graph(*EDGES)
    assert graph.tags.to_pylist() == list("abcde")
    assert graph.indptr.tolist() == [0, 2, 4, 6, 7, 8]
    assert graph.indices.tolist() == [1, 2, 0, 2, 0, 1, 4, 3]
    assert graph.weights.tolist() == [2, 1, 2, 1, 1, 1, 5, 5]
    assert (graph.indptr.dtype, graph.indices.dtype, graph.weights.dtype) == (
        np.int64,
        np.int32,
        np.float64,
    )


def test_arrow_columns_and_order_of_edges_give_the_same_graph():
    table = pa.table({"tag_a": EDGES[0][::-1], "tag_b": EDGES[1][::-1], "videos": EDGES[2][::-1]})
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    graph, other = (
        build_graph(*EDGES),
        build_graph(chunked["tag_a"], chunked["tag_b"], chunked["videos"]),
    )
    assert graph.tags == other.tags
    assert [graph.indices.tolist(), graph.weights.tolist()] == [
        other.indices.tolist(),
        other.weights.tolist(),
    ]


def test_tags_are_in_byte_order():
    assert build_graph(["Z", "a"], ["é", "\U0001f3ac"], [1, 1]).tags.to_pylist() == [
        "Z",
        "a",
        "é",
        "\U0001f3ac",
    ]


def test_components_by_falling_size_then_smallest_tag():
    graph = build_graph(
        ["x", "y", "a", "m"], ["y", "z", "b", "n"], [1, 1, 1, 1], isolated=["k", "j", "a"]
    )
    component = dict(zip(graph.tags.to_pylist(), graph.components().tolist(), strict=True))
    assert component == {"x": 0, "y": 0, "z": 0, "a": 1, "b": 1, "m": 2, "n": 2, "j": 3, "k": 4}
    assert graph.degrees.tolist() == [1, 1, 0, 0, 1, 1, 1, 2, 1]


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ((["a", "b"], ["b", "a"], [1, 1]), r"row 1: expected tag_a before tag_b.*\(b, a\)"),
        ((["a"], ["a"], [1]), "tag_a before tag_b"),
        ((["a", "a"], ["b", "b"], [1, 2]), r"row 1: expected each edge once"),
        ((["a", "a"], ["b", "c"], [1, 0]), r"row 1: expected a whole number.*0 videos"),
        ((["a"], ["b"], [1.5]), "whole number"),
        ((["a"], ["b"], [float("nan")]), "whole number"),
        ((["a", "b"], ["c"], [1]), "2 tag_a, 1 tag_b and 1 videos"),
    ],
)
def test_bad_edges_are_named(edges, message):
    with pytest.raises(ContractError, match=message):
        build_graph(*edges)


def test_a_missing_tag_is_named():
    with pytest.raises(ContractError, match="null"):
        build_graph(["a", None], ["b", "c"], [1, 1])


def test_no_edges():
    graph = build_graph([], [], [], isolated=["b", "a"])
    assert (graph.tags.to_pylist(), graph.components().tolist(), graph.degrees.tolist()) == (
        ["a", "b"],
        [0, 1],
        [0, 0],
    )
    assert len(build_graph([], [], [])) == 0
    assert build_graph([], [], []).components().tolist() == []


def _oracle(nodes: list[str], edges: list[tuple[str, str]]) -> dict[str, int]:
    """Components by spreading labels until nothing changes."""
    label = {tag: tag for tag in nodes}
    for _ in nodes:
        for a, b in edges:
            label[a] = label[b] = min(label[a], label[b])
    size = {root: sum(other == root for other in label.values()) for root in label.values()}
    order = sorted(size, key=lambda root: (-size[root], root))
    return {tag: order.index(root) for tag, root in label.items()}


@given(
    st.sets(
        st.tuples(st.integers(0, 11), st.integers(0, 11)).filter(lambda e: e[0] < e[1]), max_size=14
    )
)
def test_components_and_degrees_equal_the_plain_oracle(pairs):
    nodes = [f"t{i:02}" for i in range(12)]
    edges = [(nodes[a], nodes[b]) for a, b in pairs]
    graph = build_graph(
        [a for a, _ in edges], [b for _, b in edges], [1] * len(edges), isolated=nodes
    )
    assert dict(zip(nodes, graph.components().tolist(), strict=True)) == _oracle(nodes, edges)
    assert graph.degrees.tolist() == [sum(tag in edge for edge in edges) for tag in nodes]


@given(
    st.lists(st.lists(st.sampled_from("abcdefg"), unique=True, max_size=6), max_size=12),
    st.integers(1, 3),
    st.integers(1, 4),
)
def test_pairs_are_counted_as_a_dictionary_counts_them(videos, min_videos, most):
    counts = Counter(tag for tags in videos for tag in tags)
    frequent = {tag for tag, n in counts.items() if n >= min_videos}
    pairs: Counter[tuple[str, str]] = Counter()
    for tags in videos:
        chosen = sorted(frequent & set(tags), key=lambda t: (-counts[t], t))[:most]
        pairs.update(combinations(sorted(chosen), 2))
    lists = pa.array(videos, pa.list_(pa.string()))
    graph = count_pairs(lists, min_videos=min_videos, max_tags_per_video=most)
    assert graph.tags.to_pylist() == sorted(frequent)
    names = graph.tags.to_pylist()
    ends = np.repeat(np.arange(len(names)), graph.degrees)
    edges = {
        (names[a], names[b]): weight
        for a, b, weight in zip(ends, graph.indices, graph.weights, strict=True)
        if a < b
    }
    assert edges == pairs
