import json
from itertools import islice

import numpy as np
import pytest
import topic_world as world
from hypothesis import given
from hypothesis import strategies as st

from vidtopics import contracts
from vidtopics.errors import TableError
from vidtopics.explore import collect, thumbnails, write_page
from vidtopics.explore.covers import first_shown
from vidtopics.explore.data import members
from vidtopics.explore.encode import encode, script_safe
from vidtopics.explore.geometry import plane, similar
from vidtopics.tables import Tables

MAX = 160 * 160  # pixels of a cover


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return world.build(tmp_path_factory.mktemp("explore") / "home")


@pytest.fixture(scope="module")
def data(tables):
    return collect(tables)


def test_the_release_as_its_tables_say(data):
    assert (data.release.release_id, data.release.topic_epoch) == (1, 3)
    assert data.release.as_of == world.day(8)
    assert data.release.mean_topics == pytest.approx((1 + 2 + 2 + 1 + 1) / 5)


def test_removed_videos_retired_topics_and_later_tags_are_left_out(data):
    assert [v.video_id for v in data.videos] == ["a", "b", "c/ç ?#", "d", "e"]
    assert [t.topic_id for t in data.topics] == [4, 7, 9]
    assert [v.tags for v in data.videos] == [(), ("<b>nap</b>", "sofa"), (), (), ()]


def test_videos_carry_their_topics_and_counts(data):
    assert {v.video_id: list(v.topics) for v in data.videos} == world.TOPICS_OF
    assert {v.video_id: (v.exposures, v.clicks, v.ctr) for v in data.videos[:4]} == world.COUNTS
    assert (data.videos[4].exposures, data.videos[4].clicks, data.videos[4].ctr) == (0, 0, None)
    assert [v.below_threshold for v in data.videos] == [False, False, False, False, True]


def test_queues_keep_the_order_of_their_positions(data):
    queues = {
        t: [(q.video_id, q.ctr, q.exposures, q.fresh) for q in queue]
        for t, queue in data.queues.items()
    }
    assert queues == world.QUEUES


def test_the_most_central_videos_come_first(data):
    # topic 4: b 0.9375, a 0.75, c 0.625; topic 7: c 0.875, d 0.8125, b 0.5, e 0.25
    assert members(data) == {4: [1, 0, 2], 7: [2, 3, 1, 4], 9: []}


def test_covers_go_to_what_is_shown_first(data, monkeypatch):
    # Members: 4 -> b a c, 7 -> c d b e; queues: 4 -> b c a, 7 -> d. With cards of one cover: b c,
    # then by rank b c b d, a d c, c b a, e.
    monkeypatch.setattr("vidtopics.explore.covers.MOSAIC", 1)
    assert list(first_shown(data)) == [1, 2, 3, 0, 4]
    # With cards of two: b c, a d, then the rest.
    monkeypatch.setattr("vidtopics.explore.covers.MOSAIC", 2)
    assert list(first_shown(data)) == [1, 2, 0, 3, 4]


def test_covers_stop_at_the_budget(data):
    assert set(thumbnails(data, max_pixels=MAX).files) == {
        0,
        1,
        2,
    }  # d is damaged, e's file is gone
    each = {place: len(text) for place, text in thumbnails(data, max_pixels=MAX).files.items()}
    assert set(thumbnails(data, max_pixels=MAX, budget=each[1] + each[2]).files) == {1, 2}
    assert set(thumbnails(data, max_pixels=MAX, budget=each[1] + each[2] - 1).files) == {1}
    assert thumbnails(data, max_pixels=MAX - 1).files == {}  # every cover is a bomb then


def test_what_is_published_after_the_release_is_not_shown(tmp_path):
    tables = world.build(tmp_path / "home", queues=False)
    again = {video: [(9, 0.5)] for video in "abde"}
    # At the same as-of time it is known later, at a later one from later on.
    world.publish(
        tables, contracts.VIDEO_TOPICS, world.assigned(again), created=world.T + world.HOUR
    )
    world.publish(
        tables, contracts.VIDEO_TOPICS, world.assigned(again), at=world.T + 24 * world.HOUR
    )
    assert {v.video_id: list(v.topics) for v in collect(tables).videos} == world.TOPICS_OF
    assert collect(tables).queues is None
    world.release(tables, world.T + 24 * world.HOUR)
    topics_of = {v.video_id: list(v.topics) for v in collect(tables).videos}
    assert topics_of == {**again, "c/ç ?#": []}


def test_a_table_that_the_release_does_not_name_is_not_read(tmp_path):
    tables = Tables(tmp_path)
    world.catalog(tables, tmp_path / "covers")
    world.topics(tables)
    world.publish(tables, contracts.VIDEO_TOPICS, world.assigned(world.TOPICS_OF))
    world.release(tables)
    counts = [{"video_id": "a", "video_exposures": 9, "video_clicks": 1}]
    world.publish(tables, contracts.VIDEO_STATISTICS, counts)
    assert [(v.exposures, v.ctr) for v in collect(tables).videos] == [(0, None)] * 5


def test_errors_name_the_command_that_mends(tmp_path):
    tables = Tables(tmp_path)
    with pytest.raises(
        TableError, match=r"releases: expected a release, found none. Mend: .*`vidtopics run`"
    ):
        collect(tables)
    world.catalog(tables, tmp_path / "covers")
    world.release(tables)
    with pytest.raises(
        TableError, match=r"expected topics in release 1, found none. Mend: .*`vidtopics run`"
    ):
        write_page(tables, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_epochs_are_never_mixed(tmp_path):
    tables = Tables(tmp_path)
    world.catalog(tables, tmp_path / "covers")
    world.topics(tables)
    world.publish(tables, contracts.VIDEO_TOPICS, world.assigned(world.TOPICS_OF, epoch=2))
    world.release(tables)
    with pytest.raises(
        TableError, match=r"video_topics: expected topic epoch 3, the release's, found \[2\]"
    ):
        collect(tables)


def test_encoded_columns(data):
    document = json.loads(encode(data, thumbnails(data, max_pixels=MAX)))
    assert document["primary_classes"] == ["cats", "dogs"]
    topics, videos = document["topics"], document["videos"]
    assert topics["id"] == [4, 7, 9]
    assert topics["class"] == [
        "cats",
        "cats",
        None,
    ]  # topic 7: b and c are cats, d and e dogs; the tie goes by name
    # topic 4: 8 of 40 clicked; topic 7: 17 of 70; nobody saw topic 9
    assert topics["ctr"] == [2000, 2429, None]
    assert topics["queue"] == [
        [[1, 3500, 10, 0], [2, 2000, 0, 1], [0, 1200, 30, 0]],
        [[3, 2100, 60, 0]],
        [],
    ]
    assert videos["topics"] == [
        [0, 7500],
        [0, 9375, 1, 5000],
        [1, 8750, 0, 6250],
        [1, 8125],
        [1, 2500],
    ]
    assert videos["title"][2] == world.EVIL
    # cosines: 4 and 7 0.6, 9 is at right angles to both
    assert (topics["similar"], topics["cosine"]) == (
        [[1, 2], [0, 2], [0, 1]],
        [[6000, 0], [6000, 0], [0, 0]],
    )


@given(st.text())
def test_any_text_stays_inside_its_script_element(text):
    safe = script_safe(json.dumps([text], ensure_ascii=False))
    assert json.loads(safe) == [text]
    assert not set(safe) & set("<>&\u2028\u2029")


def test_similar_topics_against_a_plain_oracle():
    centroids = np.random.default_rng(3).normal(size=(40, 6)).astype(np.float32)
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    places, cosines = similar(centroids, 5)
    for i in range(40):
        others = sorted((-float(centroids[i] @ centroids[j]), j) for j in range(40) if j != i)
        assert places[i].tolist() == [j for _, j in islice(others, 5)]
        assert cosines[i] == pytest.approx([-c for c, _ in islice(others, 5)], abs=1e-6)


@pytest.mark.parametrize("count", [1, 2])
def test_few_topics_have_few_neighbours_and_a_place(count):
    centroids = np.eye(2, dtype=np.float32)[:count]
    assert similar(centroids, 8)[0].shape == (count, count - 1)
    assert plane(centroids).shape == (count, 2)


def test_the_plane_keeps_distances_of_points_that_lie_in_one():
    flat = np.random.default_rng(5).normal(size=(12, 2)) @ np.random.default_rng(6).normal(
        size=(2, 7)
    )
    places = plane(flat.astype(np.float32))
    apart = np.linalg.norm(flat[:, None] - flat[None], axis=2)
    assert np.linalg.norm(places[:, None] - places[None], axis=2) == pytest.approx(apart, abs=1e-4)
