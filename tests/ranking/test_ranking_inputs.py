"""Examples and batches against plain loops over the same world."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
import torch
from ranking_worlds import EPOCH, SETTINGS, inputs

from consumers.encoding.numbers import NAMES, TIERS, TOPIC_NAMES, log_position
from consumers.encoding.vocabulary import Vocabulary
from consumers.ranking.codes import vocabulary
from consumers.ranking.inputs import encode
from consumers.training.frame import build_frame
from consumers.training.inputs import ViewRows
from vidtopics.settings import RankingSettings
from vidtopics.tables import FOREVER

PLACES = 5


def centres(born_us=0):
    """Topics 10 and 20 (parent 3), at right angles; 20 is known from `born_us` on."""
    values = {"centroid": [[1.0, 0.0], [0.0, 1.0]], "topic_epoch": [EPOCH] * 2}
    values |= {"parent_topic_id": [3, 3]}
    keys, times = pa.table({"topic_id": [10, 20]}), np.array([0, born_us])
    return ViewRows(keys, times, times, pa.table(values))


@pytest.fixture(scope="module")
def world():
    settings = SETTINGS.model_copy(
        update={"ranking": RankingSettings(label_window=timedelta(microseconds=1), history=PLACES)}
    )
    frame = build_frame(inputs(rows=200, users=5, videos=12), settings, as_of_us=FOREVER)
    known = vocabulary(frame, np.arange(150), centres(), epoch=EPOCH, prior_exposures=10.0)
    return frame, known, encode(frame, known, places=PLACES)


def number(examples, name):
    return examples.numbers[:, NAMES.index(name)]


def topic_number(examples, name):
    return examples.topic_numbers[:, TOPIC_NAMES.index(name)]


def test_histories_of_a_batch_are_the_users_earlier_rows(world):
    frame, known, examples = world
    rows = np.array([190, 3, 77])
    batch = examples.batch(rows)
    users, videos = (frame.impressions[name].to_pylist() for name in ("user_id", "video_id"))
    for place, row in enumerate(rows):
        earlier = [n for n in range(row - 1, -1, -1) if users[n] == users[row]][:PLACES]
        count = len(earlier)
        assert batch.history_mask[place].tolist() == [True] * count + [False] * (PLACES - count)
        codes = known.code_videos(pa.array([videos[n] for n in earlier], pa.string())).tolist()
        assert batch.history_videos[place].tolist() == codes + [0] * (PLACES - count)
        clicked = [bool(frame.clicked[n]) for n in earlier]
        assert batch.history_clicked[place].tolist() == clicked + [False] * (PLACES - count)
        topics = [1 + int(videos[n][1:]) % 2 for n in earlier]
        assert batch.history_topics[place, :count, 0].tolist() == topics
        assert (batch.history_weights[place, :count, 0] == 0.7).all()
        assert not batch.history_topics[place, count:].any()
        ages = [np.log1p((frame.shown_us[row] - frame.shown_us[n]) / 3.6e9) for n in earlier]
        np.testing.assert_allclose(batch.history_ages[place, :count], ages, rtol=1e-5)


def test_a_batch_without_history_has_no_places(world):
    _, _, examples = world
    batch, whole = (examples.batch(np.arange(9), history=history) for history in (False, True))
    assert batch.history_topics.shape == (9, 0, 8)
    assert torch.equal(batch.numbers, whole.numbers)


def test_neighbours_of_one_history_share_it(world):
    _, _, examples = world
    rows = np.array([77, 77, 3, 190, 190, 77])
    alone, shared = examples.batch(rows), examples.batch(rows, shared=True).to("cpu")
    assert shared.history_row.tolist() == [0, 0, 1, 2, 2, 3]
    for name in ("history_videos", "history_ages", "history_topics", "history_mask"):
        assert len(getattr(shared, name)) == 4
        assert torch.equal(shared.of_rows(getattr(shared, name)), getattr(alone, name))


def test_shapes_and_types_are_those_that_models_read(world):
    _, _, examples = world
    batch = examples.batch(np.arange(7)).to("cpu")
    shapes = {name: (tuple(t.shape), t.dtype) for name, t in vars(batch).items()}
    assert shapes == {
        "clicked": ((7,), torch.float32),
        "user": ((7,), torch.int64),
        "video": ((7,), torch.int64),
        "numbers": ((7, len(NAMES)), torch.float32),
        "topic_numbers": ((7, len(TOPIC_NAMES)), torch.float32),
        "topics": ((7, 8), torch.int64),
        "topic_weights": ((7, 8), torch.float32),
        "parents": ((7, 8), torch.int64),
        "cover": ((7, 0), torch.float32),
        "history_videos": ((7, PLACES), torch.int64),
        "history_clicked": ((7, PLACES), torch.bool),
        "history_ages": ((7, PLACES), torch.float32),
        "history_topics": ((7, PLACES, 8), torch.int64),
        "history_weights": ((7, PLACES, 8), torch.float32),
        "history_parents": ((7, PLACES, 8), torch.int64),
        "history_mask": ((7, PLACES), torch.bool),
    }


def test_numbers_of_one_user_by_hand(world):
    frame, known, examples = world
    users, videos = (frame.impressions[name].to_pylist() for name in ("user_id", "video_id"))
    row = 180
    earlier = [n for n in range(row) if users[n] == users[row]]
    of_video = [n for n in range(row) if videos[n] == videos[row]]
    clicks, shown = frame.clicked[of_video].sum(), len(of_video)
    rate = (clicks + 10 * known.prior.global_ctr) / (shown + 10)
    same = [n for n in earlier[-PLACES:] if videos[n] == videos[row]]
    recent = frame.clicked[earlier[-PLACES:]].sum()
    expected = {
        "video_exposures": np.log1p(shown) / 5,
        "video_log_odds": np.log(rate / (1 - rate)),
        "has_statistics": 1,
        "user_exposures": np.log1p(len(earlier)) / 5,
        "user_clicks": np.log1p(frame.clicked[earlier].sum()) / 5,
        "history_length": PLACES / 100,
        "history_clicks": np.log1p(recent) / 5,
        "history_log_odds": np.log((recent + 3) / (PLACES - recent + 3)),
        "user_residual_2": frame.clicked[earlier].sum() / 2,  # the first day expects nothing
        "pair_exposures": np.log1p(len(same)),
        "pair_clicks": np.log1p(frame.clicked[same].sum()),
        "candidate_age": 0,
        "position": 0,
    }
    actual = {name: number(examples, name)[row] for name in expected}
    assert actual == pytest.approx(expected, rel=1e-5)
    assert known.prior.global_ctr == pytest.approx(frame.clicked[:150].mean())


def test_tiers_count_the_window_by_overlap_and_click(world):
    """Videos of one topic overlap by 1, the last tier; others by 0, which counts in none."""
    frame, _, examples = world
    users, videos = (frame.impressions[name].to_pylist() for name in ("user_id", "video_id"))
    for row in (180, 199):
        earlier = [n for n in range(row) if users[n] == users[row]][-PLACES:]
        alike = [n for n in earlier if int(videos[n][1:]) % 2 == int(videos[row][1:]) % 2]
        clicked = frame.clicked[alike].sum()
        for kind, count in (("clicked", clicked), ("skipped", len(alike) - clicked)):
            tiers = [topic_number(examples, f"{kind}_tier_{t}")[row] for t in range(len(TIERS) + 1)]
            np.testing.assert_allclose(tiers, [0, 0, 0, np.log1p(count)], rtol=1e-6)


def test_topics_unknown_when_the_training_rows_end_have_no_code(world):
    frame, _, _ = world
    born = int(frame.shown_us[150])
    known = vocabulary(frame, np.arange(150), centres(born), epoch=EPOCH, prior_exposures=10.0)
    assert known.centres.ids.tolist() == [10]
    batch = encode(frame, known, places=PLACES).batch(np.arange(200))
    assert set(batch.topics.unique().tolist()) == {0, 1}
    later = vocabulary(frame, np.arange(160), centres(born), epoch=EPOCH, prior_exposures=10.0)
    assert later.centres.ids.tolist() == [10, 20]


def test_another_epochs_topics_are_as_none(world):
    frame, _, _ = world
    known = vocabulary(frame, np.arange(150), centres(), epoch=EPOCH + 1, prior_exposures=10.0)
    examples = encode(frame, known, places=PLACES)
    assert not examples.topic_numbers.any()
    batch = examples.batch(np.arange(200))
    assert not batch.topics.any()
    assert not batch.history_topics.any()


def test_taking_rows_leaves_their_batches_as_they_are(world):
    _, _, examples = world
    rows = np.array([120, 4, 60])
    few, whole = examples.take(rows).batch(np.arange(3)), examples.batch(rows)
    for name, tensor in vars(few).items():
        assert torch.equal(tensor, getattr(whole, name)), name


def test_an_age_that_is_unknown_is_the_mean_of_those_known(world):
    """Serving doesn't know when a video was published."""
    frame, _, _ = world
    hours = np.where(np.arange(200) % 2, 7.0, np.nan)
    aged = replace(frame, published_us=frame.shown_us - hours * 3.6e9)
    known = vocabulary(aged, np.arange(150), centres(), epoch=EPOCH, prior_exposures=10.0)
    assert known.age == pytest.approx(np.log(8) / 5)
    examples = encode(aged, known, places=PLACES)
    np.testing.assert_allclose(number(examples, "candidate_age"), np.log(8) / 5, rtol=1e-6)


def test_a_position_that_is_unknown_is_the_mean_of_those_known():
    plain = inputs(rows=4, users=1, videos=2)
    positions = pa.array([1, None, 4, None], pa.int32())
    at = plain.impressions.column_names.index("position")
    shown = plain.impressions.set_column(at, "position", positions)
    frame = build_frame(
        type(plain)(shown, plain.clicks, plain.views, plain.topics, plain.catalogue),
        SETTINGS,
        as_of_us=FOREVER,
    )
    known: Vocabulary = vocabulary(
        frame, np.arange(4), centres(), epoch=EPOCH, prior_exposures=10.0
    )
    assert known.position == pytest.approx(np.log(4) / 2)
    np.testing.assert_allclose(
        log_position(frame.positions, known.position),
        [0, np.log(2), np.log(4), np.log(2)],
        rtol=1e-6,
    )
