"""What a diff of two states says, on worked examples."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from producers.topics.changes import Merge, Size, Split, TopicFigures, TopicState, compare

SLOTS = 8


def state(topics, *, ids=None, parents=None, content=None, below=(), epoch=1, weights=None):
    """Videos a, b, c, ... with these topics, nearest first."""
    names = [chr(ord("a") + i) for i in range(len(topics))]
    slots = np.array([[*t, *[-1] * (SLOTS - len(t))] for t in topics])
    living = sorted({i for t in topics for i in t}) if ids is None else ids
    return TopicState(
        np.array(living),
        np.array([(parents or {}).get(i, 0) for i in living]),
        epoch,
        pa.array(names),
        pa.array(content or ["same"] * len(names)),
        slots,
        np.where(slots >= 0, 0.5, 0).astype(np.float32) if weights is None else weights,
        np.array([n in below for n in names]),
    )


OLD = state([(1, 2), (1,), (1, 2), (2, 1), (3,), (3, 1)])


def test_the_same_state_twice_is_no_change():
    changes = compare(OLD, OLD)
    assert (changes.first_kept, changes.set_kept, changes.unchanged) == (1, 1, 6)
    assert changes.born == changes.split == changes.merged == changes.retired == ()
    assert len(changes.moved) == 0
    assert changes.before == changes.after


def test_every_kind_of_change_is_named():
    new = state([(1, 2), (1, 2), (5,), (4, 1), (2,), (2, 1)], ids=[1, 2, 4, 5], parents={5: 1})
    changes = compare(OLD, new)
    assert changes.born == (4,)
    assert changes.split == (Split(5, 1),)
    assert changes.retired == (3,)
    assert changes.moved.to_pylist() == [
        {"video_id": "c", "before": 1, "after": 5},
        {"video_id": "d", "before": 2, "after": 4},
        {"video_id": "e", "before": 3, "after": 2},
        {"video_id": "f", "before": 3, "after": 2},
    ]
    assert changes.first_kept == pytest.approx(2 / 6)
    assert changes.set_kept == pytest.approx(1 / 6)  # of a alone
    assert changes.sizes == {
        1: Size(3, 2),
        2: Size(1, 2),
        3: Size(2, 0),
        4: Size(0, 1),
        5: Size(0, 1),
    }


def test_two_topics_that_go_to_one_have_merged():
    """Of 1 two of three, of 3 both; the one video of 2 is elsewhere."""
    new = state([(2,), (2,), (1,), (1,), (2,), (2,)])
    assert compare(OLD, new).merged == (Merge((1, 3), 2),)


def test_one_topic_under_another_id_has_not_merged():
    new = state([(1,), (1,), (1,), (2,), (4,), (4,)])
    assert compare(OLD, new).merged == ()


def test_changed_new_and_removed_videos_do_not_count():
    content = ["same", "other", "same"]
    new = state([(1, 2), (9,), (1, 2), (9,), (9,), (9,), (9,)], content=content + ["same"] * 4)
    new = replace(new, video_ids=pa.array(["a", "b", "c", "t", "u", "v", "w"]))
    changes = compare(OLD, new)
    assert (changes.unchanged, changes.first_kept, changes.set_kept) == (2, 1, 1)
    assert len(changes.moved) == 0
    assert (changes.before.videos, changes.after.videos) == (6, 7)


def test_figures_are_of_videos_with_a_topic():
    weights = np.zeros((4, SLOTS), np.float32)
    weights[:3, 0] = 0.9, 0.6, 0.3
    now = state([(1, 2), (1,), (2,), ()], below=("c", "d"), weights=weights)
    figures = compare(now, now).after
    expected = TopicFigures(2, 3, 4 / 3, 1 / 3, 0.6, 2 / 3)
    assert figures == pytest.approx(expected, abs=1e-6)


def test_another_epoch_retires_all_and_merges_none():
    new = state([(4, 5), (4,), (4,), (4,), (4,), (4,)], epoch=2)
    changes = compare(OLD, new)
    assert (changes.same_epoch, changes.first_kept, changes.set_kept) == (False, 0, 0)
    assert (changes.retired, changes.born, changes.merged) == ((1, 2, 3), (4, 5), ())


def test_states_without_a_common_video_keep_all_of_nothing():
    new = replace(OLD, video_ids=pa.array(list("uvwxyz")))
    changes = compare(OLD, new)
    assert (changes.unchanged, changes.first_kept, len(changes.moved)) == (0, 1, 0)
