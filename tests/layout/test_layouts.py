"""Hash tags: which node of a cluster of equal ones has how many buckets."""

from itertools import pairwise

import pytest
from redis.crc import key_slot

from vidtopics.layout import KeySpace, Layout
from vidtopics.layout.layouts import SLOTS


def buckets_of_nodes(layout: Layout, nodes: int) -> list[int]:
    """How many buckets' slots each of `nodes` equal ranges has, by redis-py's own slots."""
    heads = KeySpace("vt", 1, 1, layout).heads
    slots = [key_slot(head + b"v1") for head in heads]
    edges = [node * SLOTS // nodes for node in range(nodes + 1)]
    return [sum(a <= s < b for s in slots) for a, b in pairwise(edges)]


def test_sixteen_buckets_on_eight_nodes_are_two_each() -> None:
    assert buckets_of_nodes(Layout(16), 8) == [2] * 8
    # numbers as hash tags left half of the nodes without a bucket
    assert 0 in buckets_of_nodes(Layout(16, version=1), 8)


@pytest.mark.parametrize("buckets", [1, 3, 16, 64, 256])
@pytest.mark.parametrize("nodes", [1, 2, 3, 5, 8, 12])
def test_no_node_has_more_buckets_than_it_must(buckets: int, nodes: int) -> None:
    assert max(buckets_of_nodes(Layout(buckets), nodes)) <= -(-buckets // nodes)


@pytest.mark.parametrize("buckets", [1, 2, 7, 16, 1_000, SLOTS])
def test_each_bucket_has_a_tag_of_its_own(buckets: int) -> None:
    assert len(set(Layout(buckets).tags)) == buckets


def test_tags_are_those_that_stores_have() -> None:
    """A change of the choice would lose every key of every store."""
    assert Layout(16).tags[:8] == ("18", "3", "dj", "j", "d2", "2", "uh", "k")
    assert Layout(64).tags[:4] == ("mm", "u4", "9i", "e8")
