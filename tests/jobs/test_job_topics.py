"""topics and video_topics: assignments against numpy, and IDs over three runs."""

import numpy as np
import plain
import pytest
import small_world
from small_home import T1, T2, utc

from vidtopics import topic_models
from vidtopics.contracts import (
    TOPICS,
    VIDEO_JOINT_REPRESENTATION,
    VIDEO_TAG_EMBEDDING,
    VIDEO_TOPICS,
)

TIMES = pytest.mark.parametrize("at", [T1, T2], ids=["T1", "T2"])


def centroids(home, at: int) -> dict[int, np.ndarray]:
    """Living topics as of `at`, centres in double precision at length 1."""
    rows = home.holds(TOPICS, at)
    return {
        r["topic_id"]: plain.unit(np.array(r["centroid"], float))
        for r in rows
        if r["retired"] is None
    }


def representations(home, at: int) -> dict[str, np.ndarray]:
    # The mean is that of the epoch's first training, which was as of T1.
    mean = plain.tag_mean(home.holds(VIDEO_TAG_EMBEDDING, T1), plain.training_tags(home, T1))
    return plain.representations(
        home.holds(VIDEO_TAG_EMBEDDING, at), home.holds(VIDEO_JOINT_REPRESENTATION, at), mean
    )


@TIMES
def test_videos_have_the_topics_within_the_threshold(home, at):
    centres, threshold = centroids(home, at), home.settings.topics.threshold
    rows = {r["video_id"]: r for r in home.holds(VIDEO_TOPICS, at)}
    a = representations(home, at)
    assert rows.keys() == a.keys() == plain.live_videos(home, at).keys()
    for video, vector in a.items():
        ids, weights, below = plain.assignment(vector, centres, threshold)
        row, rest = rows[video], 8 - len(ids)
        assert (row["topic_ids"], row["topic_count"], row["below_threshold"]) == (
            ids + [-1] * rest,
            len(ids),
            below,
        ), video
        np.testing.assert_allclose(row["topic_weights"], weights + [0] * rest, atol=3e-6)
    assert len({r["topic_count"] for r in rows.values()}) > 1


def test_a_video_without_tags_cover_and_title_has_no_topic(home):
    row = next(r for r in home.holds(VIDEO_TOPICS, T1) if r["video_id"] == small_world.NOTHING)
    assert row["topic_ids"] == [-1] * 8
    assert row["topic_weights"] == [0] * 8
    assert (row["topic_count"], row["below_threshold"]) == (0, True)


@TIMES
def test_a_size_is_the_number_of_videos_whose_nearest_centre_it_is(home, at):
    centres = centroids(home, at)
    ids, matrix = list(centres), np.stack(list(centres.values()))
    nearest = [
        ids[int(np.argmax(matrix @ a))] for a in representations(home, at).values() if a.any()
    ]
    sizes = {r["topic_id"]: r["size"] for r in home.holds(TOPICS, at) if r["retired"] is None}
    assert sizes == {i: nearest.count(i) for i in ids}


def test_the_outliers_are_a_topic_that_dies_when_they_are_taken_down(home):
    nearest = {r["video_id"]: r["topic_ids"][0] for r in home.holds(VIDEO_TOPICS, T1)}
    [theirs] = {nearest[f"w{i:03d}"] for i in range(small_world.OUTLIERS)}
    label = next(r["label_terms"] for r in home.holds(TOPICS, T1) if r["topic_id"] == theirs)
    assert {"zeppelin", "airship", "helium"} & set(label)
    history = [r for r in home.rows(TOPICS) if r["topic_id"] == theirs]
    assert [r["event_timestamp"] for r in history] == [T1, T2, home.live_us]
    alive, retired, ended = history
    assert (alive["retired"], retired["retired"], retired["size"]) == (None, utc(T2), 0)
    assert ended["value_hash"] == 0  # the next version ends it
    assert ended["centroid"] is None


def test_living_topics_keep_their_ids_and_their_day_of_birth(home):
    first, then = (
        {r["topic_id"]: r for r in home.holds(TOPICS, at) if r["retired"] is None}
        for at in (T1, T2)
    )
    surviving = first.keys() & then.keys()
    assert len(surviving) >= 6  # of 8
    assert {then[i]["born"] for i in surviving} == {utc(T1)}
    assert {then[i]["born"] for i in then.keys() - surviving} <= {utc(T2)}
    of_videos = [
        {r["video_id"]: r["topic_ids"][0] for r in home.holds(VIDEO_TOPICS, at)} for at in (T1, T2)
    ]
    in_both_runs = of_videos[0].keys() & of_videos[1].keys()
    assert np.mean([of_videos[0][v] == of_videos[1][v] for v in in_both_runs]) > 0.5


def test_an_id_is_given_once(home):
    first, then = topic_models.versions(home.tables.home)[:2]
    ids = [set(centroids(home, at)) for at in (T1, T2)]
    assert ids[0] == set(range(1, 9))
    assert first.next_topic_id == 9
    born = ids[1] - ids[0]
    assert born == set(range(9, then.next_topic_id))
    assert ids[0] - ids[1]  # the topic that died with its videos
    assert (then.evaluation["born"], then.evaluation["retired"]) == (
        len(born),
        len(ids[0] - ids[1]),
    )


@TIMES
def test_each_living_topic_has_a_parent_and_says_what_it_was_split_from(home, at):
    living = [r for r in home.holds(TOPICS, at) if r["retired"] is None]
    parents = {r["parent_topic_id"] for r in living}
    assert None not in parents
    assert 1 < len(parents) < len(living)
    assert {r["split_from"] for r in living} <= {0, *(r["topic_id"] for r in home.rows(TOPICS))}


@TIMES
def test_each_slot_of_a_video_has_the_parent_of_its_topic(home, at):
    parent = {r["topic_id"]: r["parent_topic_id"] for r in home.holds(TOPICS, at)} | {-1: -1}
    rows = home.holds(VIDEO_TOPICS, at)
    assert {r["video_id"]: r["parent_topic_ids"] for r in rows} == {
        r["video_id"]: [parent[i] for i in r["topic_ids"]] for r in rows
    }
    assert len({i for r in rows for i in r["parent_topic_ids"]}) > 2


def test_all_is_of_one_epoch(home):
    epochs = {
        r["topic_epoch"]
        for table in (TOPICS, VIDEO_TOPICS)
        for r in home.rows(table)
        if r["value_hash"]
    }
    assert epochs == {1}
