"""Wide&Deep: the formula by hand, its bags, and what it learns."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from ranking_worlds import EPOCH, SETTINGS, inputs
from scipy import sparse
from sklearn.metrics import roc_auc_score

from consumers.ranking.comparison import measure
from consumers.ranking.dataset import Dataset
from consumers.ranking.examples import Examples
from consumers.ranking.fitting import area_under_curve, fit
from consumers.ranking.splits import by_time, by_user
from consumers.ranking.vocabulary import Vocabulary, topic_weights
from consumers.ranking.wide_and_deep import WideAndDeep, probabilities
from vidtopics.rates import Prior
from vidtopics.tables import FOREVER


@pytest.fixture(scope="module")
def data():
    return Dataset.of(inputs(), SETTINGS, as_of_us=FOREVER, epoch=EPOCH)


def csr(rows):
    return sparse.csr_array(np.array(rows, np.float32))


def example():
    """Two impressions of one user whose history is videos 1 and 2.

    The first candidate has topics 0 (3/4) and 1 (1/4).
    """
    return Examples(
        clicked=np.array([True, False]),
        shown_us=np.zeros(2, np.int64),
        user=np.array([1, 0]),
        video=np.array([2, 1]),
        numbers=np.array([[1, 2, 3, 4], [0, 0, 0, 1]], np.float32),
        topics=csr([[0.75, 0.25], [0, 0]]),
        history=np.array([0, 0]),
        clicks=csr([[0, 0.5, 0.5]]),
        tastes=csr([[1, 0]]),
    )


def test_the_model_is_its_formula():
    torch.manual_seed(0)
    model = WideAndDeep(users=1, videos=2, topics=2, width=2, topic_width=3, hidden=(5,))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn_like(p))
    w = {name: p.detach().double() for name, p in model.named_parameters()}
    for n, (user, video) in enumerate([(1, 2), (0, 1)]):
        numbers = torch.from_numpy(example().numbers[n]).double()
        history = (w["video"][1] + w["video"][2]) / 2
        topic_vector = [0.75 * w["topic"][0] + 0.25 * w["topic"][1], torch.zeros(3).double()][n]
        deep = torch.cat(
            [w["user"][user], w["video"][video], history, numbers, topic_vector, w["topic"][0]]
        )
        deep = (
            w["deep.2.weight"] @ torch.relu(w["deep.0.weight"] @ deep + w["deep.0.bias"])
            + w["deep.2.bias"]
        )
        wide = (
            w["wide_numbers.weight"] @ numbers
            + w["wide_numbers.bias"]
            + w["wide_user"][user]
            + w["wide_video"][video]
        )
        # topics 3/4 and 1/4; only topic 0 is in the history, whole: the match is 3/4 * 1
        topics = [
            0.75 * w["wide_topic"][0] + 0.25 * w["wide_topic"][1] + 0.75 * w["wide_match"][0],
            0,
        ][n]
        assert model(example())[n].item() == pytest.approx((deep + wide + topics).item(), abs=1e-5)


def test_gradients_of_bags_are_those_of_autograd():
    torch.manual_seed(0)
    model = WideAndDeep(users=1, videos=2, topics=2, width=2, topic_width=3, hidden=(5,))
    model(example()).sum().backward()
    table = model.video.detach().clone().requires_grad_()
    dense = torch.from_numpy(example().clicks[example().history].toarray())
    inside = torch.cat(
        [
            model.user[torch.tensor([1, 0])],
            table[torch.tensor([2, 1])],
            dense @ table,
            torch.from_numpy(example().numbers),
            torch.from_numpy(example().topics.toarray()) @ model.topic,
            torch.tensor([[1.0, 0], [1, 0]]) @ model.topic,
        ],
        1,
    ).detach_()
    again = torch.cat([inside[:, :2], table[torch.tensor([2, 1])], dense @ table, inside[:, 6:]], 1)
    model.deep(again).sum().backward()
    assert torch.allclose(model.video.grad, table.grad, atol=1e-6)


def test_a_model_without_topics_does_not_look_at_them():
    model = WideAndDeep(users=1, videos=2, topics=0, width=2, topic_width=3, hidden=(5,))
    other = replace(example(), topics=csr([[0, 1], [1, 0]]), tastes=csr([[0, 1]]))
    assert torch.equal(model(example()), model(other))
    assert not [name for name, _ in model.named_parameters() if "topic" in name or "match" in name]


def test_topics_of_another_epoch_or_unknown_ones_count_as_none():
    none = pa.array([], pa.string())
    ids, weights = np.array([[7, -1], [7, 8]]), np.array([[1, 0], [1, 3]], np.float32)
    known = Vocabulary(none, none, np.array([7, 8]), 2, Prior(0.1, 10))
    assert topic_weights(ids, weights, np.array([1, 2]), known).toarray().tolist() == [
        [0, 0],
        [0.25, 0.75],
    ]
    assert topic_weights(
        ids, weights, np.array([2, 2]), replace(known, topics=np.array([], np.int64))
    ).shape == (2, 0)


def test_vocabularies_hold_only_what_the_rows_have(data):
    known = data.vocabulary(np.array([0, 3]))
    ids = data.parts[0].impressions
    assert known.users.to_pylist() == sorted({ids["user_id"][i].as_py() for i in (0, 3)})
    assert known.videos.to_pylist() == sorted({ids["video_id"][i].as_py() for i in (0, 3)})
    codes = data.examples(known)
    assert codes.video[0] > 0 < codes.video[3]
    assert set(codes.video) == {0, 1, 2}


def test_examples_do_not_depend_on_chunks(data):
    known = data.vocabulary(np.arange(len(data)))
    whole = data.examples(known)
    from consumers.training import frames

    small = replace(data, parts=list(frames(inputs(), SETTINGS, as_of_us=FOREVER, chunk_rows=97)))
    again = small.examples(known)
    for name in ("clicked", "user", "video", "numbers", "shown_us"):
        assert np.array_equal(getattr(whole, name), getattr(again, name))
    for name in ("clicks", "tastes"):
        assert (getattr(whole, name)[whole.history] != getattr(again, name)[again.history]).nnz == 0


def test_a_seed_gives_the_same_bytes_and_another_seed_others(data):
    known = data.vocabulary(np.arange(len(data)))
    rows = data.examples(known)
    states = [
        fit(
            rows, None, SETTINGS.ranking, known, with_topics=True, seed=seed, epochs=1
        ).model.state_dict()
        for seed in (1, 1, 2)
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["video"], states[2]["video"])


def test_training_leaves_its_rows_and_the_random_state_alone(data):
    known = data.vocabulary(np.arange(len(data)))
    rows = data.examples(known)
    before, state = rows.user.copy(), torch.get_rng_state()
    fit(rows, None, SETTINGS.ranking, known, with_topics=True, seed=1, epochs=1)
    assert np.array_equal(rows.user, before)
    assert torch.equal(state, torch.get_rng_state())


def test_the_best_epoch_is_kept(data):
    known = data.vocabulary(np.arange(1_000))
    rows = data.examples(known)
    part = rows.take(np.arange(1_000, 1_400))
    fitted = fit(
        rows.take(np.arange(1_000)), part, SETTINGS.ranking, known, with_topics=True, seed=3
    )
    assert (
        area_under_curve(part.clicked, probabilities(fitted.model, part))
        == max(fitted.auc)
        == fitted.auc[fitted.epochs - 1]
    )


def test_auc_is_the_share_of_ordered_pairs():
    r = np.random.default_rng(0)
    clicked, scores = r.random(80) < 0.4, r.integers(0, 12, 80).astype(np.float32)
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[clicked] for b in scores[~clicked]]
    assert (
        area_under_curve(clicked, scores)
        == pytest.approx(np.mean(pairs))
        == roc_auc_score(clicked, scores)
    )
    assert np.isnan(area_under_curve(np.ones(3, bool), scores[:3]))


def test_topics_help_where_they_say_what_a_new_video_is():
    """300 videos in 1,500 impressions.

    Ids alone say little of a video, its topic nearly all (AUC 0.9 at best).
    """
    report = measure(inputs(), SETTINGS, as_of_us=FOREVER, epoch=EPOCH)
    for split in report["splits"]:
        assert split["auc"]["topics as known"]["mean"] > split["auc"]["no topics"]["mean"] + 0.05
        assert split["auc"]["topics as known"]["mean"] > 0.8
        assert split["train"] == split["fit"] + split["validation"]


def test_a_log_without_clicks_is_told_instead_of_measured():
    log = inputs(rows=50)
    report = measure(
        replace(log, clicks=log.clicks.slice(0, 0)), SETTINGS, as_of_us=FOREVER, epoch=EPOCH
    )
    assert [split["skipped"] for split in report["splits"]] == [
        "a part without clicks, or with nothing else"
    ] * 2
    empty = measure(
        replace(log, impressions=log.impressions.slice(0, 0)),
        SETTINGS,
        as_of_us=FOREVER,
        epoch=EPOCH,
    )
    assert empty["rows"] == 0


def test_splits_by_hand():
    users, times = np.array([1, 1, 1, 1, 1, 2, 2]), np.array([50, 10, 20, 30, 40, 5, 6])
    split = by_user(users, times, share=0.2)  # of five one, of two none
    assert (split.train.tolist(), split.test.tolist()) == ([1, 2, 3, 4, 5, 6], [0])
    split = by_time(
        np.array([9, 1, 8, 2, 7, 3, 6, 4, 5, 10]), share=0.2, window_us=2
    )  # cut at 9: rows up to 7 are labelled
    assert (split.train.tolist(), split.test.tolist()) == ([1, 3, 4, 5, 6, 7, 8], [0, 9])


@pytest.mark.parametrize("times", [[1, 2, 3, 4], [1, 3, 3, 3], [2, 2, 2, 2]])
def test_without_a_window_each_row_is_in_one_part(times):
    split = by_time(np.array(times), share=0.5, window_us=0)
    before = [row for row, time in enumerate(times) if time < sorted(times)[2]]
    assert split.train.tolist() == before
    assert sorted([*split.train, *split.test]) == [0, 1, 2, 3]
