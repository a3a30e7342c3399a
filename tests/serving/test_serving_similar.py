"""`POST /similar`: cosines by hand, what is left out, and vectors that change with the release."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_world import release, service_over, serving, store_model, wait_for
from test_similar import DAY, T, publish

from benchmarks.homes import release_tables
from consumers.serving.neighbours import Neighbours, read_neighbours
from vidtopics import contracts
from vidtopics.errors import TableError
from vidtopics.tables import Tables
from vidtopics.times import micros

NONE = [0.0, 0.0]
JOINT = {
    "a": [0.6, 0.8],
    "b": [0.8, 0.6],
    "c": [1.0, 0.0],
    "d": [0.0, 1.0],
    "e": NONE,
    "x": [0.6, 0.8],
}
TAGS = {"a": [1.0, 0.0], "b": [-1.0, 0.0], "c": NONE, "d": [0.8, 0.6], "e": [0.6, 0.8], "x": NONE}
BY_TAG = {"by": "tag"}


def joint_rows(vectors):
    return (
        {"video_id": v, "joint_embedding": e, "content_blocks": 3 * any(e), "encoder_version": "1"}
        for v, e in vectors.items()
    )


def commit_joint(tables, vectors, at):
    """A later run's rows, which hold from its time on."""
    table = contracts.VIDEO_JOINT_REPRESENTATION
    publish(tables, table, joint_rows(vectors), times=at, joint_width=2)


@pytest.fixture
def tables(tmp_path):
    """Six videos, of which x is taken down; e has no joint vector, c no tags."""
    tables = Tables(tmp_path / "home")
    plain = {"primary_classes": [], "secondary_classes": [], "published_at": DAY, "cover": ""}
    catalogue = (
        plain
        | {"video_id": v, "title": v, "content_hash": v, "removed_at": DAY if v == "x" else None}
        for v in JOINT
    )
    publish(tables, contracts.VIDEO_CATALOG, catalogue, times=DAY)
    tags = ({"video_id": v, "tag_embedding": e, "tag_count": int(any(e))} for v, e in TAGS.items())
    publish(tables, contracts.VIDEO_TAG_EMBEDDING, tags, tag_width=2)
    publish(tables, contracts.VIDEO_JOINT_REPRESENTATION, joint_rows(JOINT), joint_width=2)
    release_tables(tables, as_of_us=T, created_us=T)
    return tables


def service_with(tables, store, tmp_path, *spaces):
    service = service_over(store, tmp_path, similar=spaces)
    service.watch._neighbours = lambda number: read_neighbours(tables, spaces, number)
    return service


@pytest.fixture
def service(tables, store, tmp_path):
    release(store, 1)
    store_model(tmp_path, 1)
    return service_with(tables, store, tmp_path, "joint", "tag")


def asked(caller, *video_ids, **more):
    status, answer = caller.post("/similar", {"video_ids": list(video_ids)} | more)
    assert status == 200, answer
    return answer


def cosines(answer):
    assert [video["rank"] for video in answer["videos"]] == [*range(1, len(answer["videos"]) + 1)]
    return {v["video_id"]: pytest.approx(v["cosine"], abs=2e-3) for v in answer["videos"]}


def test_cosines_are_those_of_the_vectors(service):
    with serving(service) as caller:
        answer = asked(caller, "a")
        assert cosines(answer) == {"b": 0.96, "d": 0.8, "c": 0.6}
        assert (answer["by"], answer["left_out"], answer["release"]) == ("joint", [], 1)
        assert [v["video_id"] for v in answer["videos"]] == ["b", "d", "c"]
        assert cosines(asked(caller, "a", limit=1)) == {"b": 0.96}
        assert cosines(asked(caller, "a", **BY_TAG)) == {"d": 0.8, "e": 0.6, "b": -1.0}


def test_several_videos_are_one_mean_direction_and_none_of_the_answer(service):
    with serving(service) as caller:
        answer = asked(caller, "c", "e", "d", "d", "x")
    assert answer["left_out"] == ["e", "x"]
    half = math.sqrt(0.5)  # of (1, 0) and (0, 1)
    assert cosines(answer) == {"a": half * 1.4, "b": half * 1.4}


def test_what_cannot_be_answered_says_why(service, tables, store, tmp_path):
    with serving(service) as caller:
        for ids in (["e"], ["x"], ["nobody"]):  # no vector, taken down, unknown
            status, answer = caller.post("/similar", {"video_ids": ids})
            assert (status, "a video with a vector" in answer["errors"][0]) == (404, True)
        for body in ({"video_ids": []}, {"video_ids": ["a"], "by": "cover"}, {}):
            assert caller.post("/similar", body)[0] == 422
        status, answer = caller.post("/similar", {"video_ids": ["a"], "limit": 101})
        assert (status, "raise `serving.max_videos`" in answer["errors"][0]) == (422, True)
    with serving(service_with(tables, store, tmp_path, "tag")) as caller:
        status, answer = caller.post("/similar", {"video_ids": ["a"], "by": "joint"})
        assert (status, "expected tag, found joint" in answer["errors"][0]) == (422, True)
        assert asked(caller, "a")["by"] == "tag"


def test_it_is_off_until_a_space_is_named(store, tmp_path):
    release(store, 1)
    store_model(tmp_path, 1)
    with serving(service_over(store, tmp_path)) as caller:
        status, answer = caller.post("/similar", {"video_ids": ["a"]})
    assert status == 404
    assert "Mend: set it, for instance to [joint]" in answer["errors"][0]


def test_vectors_change_with_the_release_that_is_live(service, tables, store):
    turned = JOINT | {"b": [-0.6, -0.8]}
    with serving(service) as caller:
        before = service.watch.current.neighbours
        later = DAY + timedelta(hours=1)
        commit_joint(tables, turned, later)
        release_tables(tables, as_of_us=micros(later), created_us=micros(later))
        service.watch.look()
        assert service.watch.current.neighbours is before  # release 2 isn't live
        assert cosines(asked(caller, "a", limit=1)) == {"b": 0.96}
        release(store, 2)
        wait_for(lambda: asked(caller, "a")["release"] == 2)
        assert cosines(asked(caller, "a")) == {"d": 0.8, "c": 0.6, "b": -1.0}


def test_a_release_that_the_tables_do_not_have_is_a_503_and_a_line(service, store, tables):
    release(store, 7)
    warned = []
    service.watch._warn = warned.append
    with serving(service, ready=False) as caller:  # no model of its epoch
        wait_for(lambda: service.watch.current)
        status, answer = caller.post("/similar", {"video_ids": ["a"]})
        assert (status, "see the service's log" in answer["errors"][0]) == (503, True)
        assert caller.post("/recommend", {"user_id": "ann"})[0] == 200
    assert any("expected release 7, which is live in Redis" in text for text in warned)
    with pytest.raises(TableError, match="none of that number"):
        read_neighbours(tables, ["tag"], 9)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 9), st.integers(1, 50))
def test_the_nearest_are_those_of_a_sort_of_all(n, asked_for, seed, limit):
    vectors = np.random.default_rng(seed).normal(size=(n, 5)).astype(np.float32)
    halves = [vectors[: n // 2].tolist(), vectors[n // 2 :].tolist()]
    column = pa.chunked_array([pa.array(h, pa.list_(pa.float32())) for h in halves])
    names = [f"v{i}" for i in range(n)]
    own = names[:asked_for]
    near = Neighbours.of(names, column).near(own, limit)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    query = unit[:asked_for].sum(0)
    expected = unit @ (query / np.linalg.norm(query))
    order = sorted(range(len(own), n), key=lambda i: -expected[i])[:limit]
    assert len(near) == len(order)
    np.testing.assert_allclose([c for _, c in near], expected[order], atol=3e-3)
    for name, cosine in near:
        assert abs(expected[names.index(name)] - cosine) < 3e-3
    assert not {name for name, _ in near} & set(own)
