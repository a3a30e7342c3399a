"""tag_cooccurrence, tag_embedding and video_tag_embedding against their plain oracles."""

import numpy as np
import plain
import pytest
import small_world
from small_home import T1, T2

from vidtopics.contracts import TAG_COOCCURRENCE, TAG_EMBEDDING, VIDEO_CATALOG, VIDEO_TAG_EMBEDDING
from vidtopics.jobs.pipeline import find, run_jobs

TIMES = pytest.mark.parametrize("at", [T1, T2], ids=["T1", "T2"])


@TIMES
def test_edges_are_the_pairs_of_tags_of_live_videos(home, at):
    expected = plain.cooccurrence(home, at)
    edges = {(r["tag_a"], r["tag_b"]): r["videos"] for r in home.holds(TAG_COOCCURRENCE, at)}
    assert edges == expected
    assert len(edges) > 50


@TIMES
def test_probabilities_are_shares_of_all_edges(home, at):
    rows = home.holds(TAG_COOCCURRENCE, at)
    total = sum(r["videos"] for r in rows)
    assert all(r["probability"] == r["videos"] / total for r in rows)
    assert sum(r["probability"] for r in rows) == pytest.approx(1, abs=1e-12)


def test_the_world_has_what_the_rules_are_for(home):
    counts = plain.videos_with(plain.tags(home, T1), 1)
    assert counts["once"] == counts["gone"] == 1  # the other video with "gone" is taken down
    assert len(plain.tags(home, T1)[small_world.MANY_TAGS]) == 18
    assert "fresh" not in counts
    assert plain.videos_with(plain.tags(home, T2), 1)["fresh"] == 3


@TIMES
def test_rare_tags_have_no_edge_and_no_vector(home, at):
    named = {r[side] for r in home.holds(TAG_COOCCURRENCE, at) for side in ("tag_a", "tag_b")}
    embedded = {r["tag"] for r in home.holds(TAG_EMBEDDING, at)}
    assert {"once", "gone"}.isdisjoint(named | embedded)


@TIMES
def test_every_other_tag_has_a_vector_its_count_and_its_component(home, at):
    counts = plain.videos_with(plain.training_tags(home, at), 2)
    component = plain.components(counts, plain.cooccurrence(home, at))
    tags = {r["tag"]: (r["video_count"], r["component"]) for r in home.holds(TAG_EMBEDDING, at)}
    trained = {tag: (n, component[tag]) for tag, n in counts.items()}
    assert trained.items() <= tags.items()
    # Tags that only held-out videos add to are folded in.
    assert tags.keys() - trained.keys() <= plain.videos_with(plain.tags(home, at), 2).keys()
    assert len(set(component.values())) == (
        2 if at == T1 else 1
    )  # the outliers' tags, until they are taken down


def test_tags_that_no_video_carries_any_more_end(home):
    ended = [r["tag"] for r in home.rows(TAG_EMBEDDING, T2) if r["value_hash"] == 0]
    assert ended == ["airship", "helium", "zeppelin"]


@TIMES
def test_a_video_is_the_mean_of_its_tags(home, at):
    vectors = {r["tag"]: np.array(r["tag_vector"], float) for r in home.holds(TAG_EMBEDDING, at)}
    rows = {r["video_id"]: r for r in home.holds(VIDEO_TAG_EMBEDDING, at)}
    of_videos = plain.tags(home, at)
    assert rows.keys() == of_videos.keys()
    for video, names in of_videos.items():
        known = [vectors[t] for t in names if t in vectors]
        assert rows[video]["tag_count"] == len(known)
        mean = plain.unit(np.mean(known, axis=0)) if known else np.zeros(8)
        np.testing.assert_allclose(rows[video]["tag_embedding"], mean, atol=2e-6)


def test_videos_without_tags_are_zero(home):
    rows = {r["video_id"]: r for r in home.holds(VIDEO_TAG_EMBEDDING, T1)}
    for video in (small_world.NO_TAGS, small_world.NOTHING):
        assert (rows[video]["tag_count"], set(rows[video]["tag_embedding"])) == (0, {0.0})


def test_a_catalogue_without_tags_has_an_empty_graph_and_zero_vectors(home, fork):
    bare = fork([VIDEO_CATALOG], models=False)
    names = ["tag_cooccurrence", "tag_embedding", "video_tag_embedding"]
    decision = run_jobs(bare.at(T1), find(names))
    assert decision is not None
    assert (decision.release_id, decision.state) == (1, "released")
    rows = bare.holds(VIDEO_TAG_EMBEDDING, T1)
    assert {r["video_id"] for r in rows} == plain.live_videos(home, T1).keys()
    assert {(r["tag_count"], *r["tag_embedding"]) for r in rows} == {(0,) * 9}
    assert bare.holds(TAG_COOCCURRENCE, T1) == bare.holds(TAG_EMBEDDING, T1) == []
