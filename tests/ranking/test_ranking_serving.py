"""Training and serving.

The same features give the same score, and a stored model comes back whole.
"""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from ranking_worlds import COUNTS, EPOCH, SETTINGS, inputs

from consumers.ranking.dataset import Dataset
from consumers.ranking.fitting import fit
from consumers.ranking.serving import Ranker
from consumers.ranking.storing import restore, store
from consumers.ranking.wide_and_deep import probabilities
from consumers.retrieval import Candidates, Reason
from vidtopics.errors import TableError
from vidtopics.online import Features, Status
from vidtopics.tables import FOREVER


@dataclass
class Trained:
    data: Dataset
    ranker: Ranker


@pytest.fixture(scope="module")
def trained():
    data = Dataset.of(inputs(), SETTINGS, as_of_us=FOREVER, epoch=EPOCH)
    known = data.vocabulary(np.arange(900))
    fitted = fit(
        data.examples(known).take(np.arange(900)),
        None,
        SETTINGS.ranking,
        known,
        with_topics=True,
        seed=1,
        epochs=2,
    )
    return Trained(data, Ranker(fitted.model, known))


def features(columns, missing=()):
    n = len(next(iter(columns.values())))
    status = np.array(
        [Status.NOT_FOUND if i in missing else Status.PRESENT for i in range(n)], np.uint8
    )
    return Features(status, np.zeros(n, np.int64), np.zeros(n, np.int64), columns, {})


def topics_of(ids, *, epoch=EPOCH):
    slots = np.full((len(ids), 8), -1)
    slots[:, 0] = [10 + 10 * (int(v[1:]) % 2) for v in ids]
    weights = np.where(slots >= 0, 0.7, 0).astype(np.float32)
    return features(
        {"topic_ids": slots, "topic_weights": weights, "topic_epoch": np.full(len(ids), epoch)}
    )


def statistics_of(ids, missing=()):
    exists = np.array([i not in missing for i in range(len(ids))])
    return features({name: n * exists for name, n in COUNTS.items()}, missing)


def score(ranker, user_id, clicks, history_topics, ids, topics, statistics):
    reasons = dict.fromkeys(ids, Reason("topic", 10, 1, 1))
    candidates = Candidates(user_id, reasons, EPOCH, clicks, history_topics, "", {}, 0, 7)
    views = {"video_topics": topics, "video_statistics": statistics}
    return ranker.score(candidates, views)


@pytest.mark.parametrize("row", [0, 400, 1_499])
def test_serving_scores_a_training_row_as_training_does(trained, row):
    (frame,) = trained.data.parts
    shown = frame.impressions.slice(row, 1).to_pylist()[0]
    video, history = shown["video_id"], frame.recent(row)
    scores = score(
        trained.ranker,
        shown["user_id"],
        history,
        topics_of(history),
        [video, "v0"],
        topics_of([video, "v0"]),
        statistics_of([video, "v0"]),
    )
    expected = probabilities(
        trained.ranker.model, trained.data.examples(trained.ranker.known).take(np.array([row]))
    )
    assert scores[0] == pytest.approx(expected[0], abs=1e-6)
    assert scores.dtype == np.float32


def test_what_the_online_store_lacks_counts_as_nothing_known(trained):
    known, unknown = ["v1", "v2"], statistics_of(["v1", "v2"], missing={1})
    scores = score(trained.ranker, "u1", [], topics_of([]), known, topics_of(known), unknown)
    full = score(
        trained.ranker, "u1", [], topics_of([]), known, topics_of(known), statistics_of(known)
    )
    assert scores[0] == full[0]
    assert scores[1] != full[1]


def test_topics_of_another_epoch_count_as_none(trained):
    ids = ["v1", "v2"]
    old = score(
        trained.ranker,
        "u1",
        ids,
        topics_of(ids, epoch=2),
        ids,
        topics_of(ids, epoch=2),
        statistics_of(ids),
    )
    none = topics_of(ids)
    none.columns["topic_ids"][:] = -1
    assert np.array_equal(
        old, score(trained.ranker, "u1", ids, none, ids, none, statistics_of(ids))
    )
    assert not np.array_equal(
        old,
        score(trained.ranker, "u1", ids, topics_of(ids), ids, topics_of(ids), statistics_of(ids)),
    )


def test_unknown_ids_and_no_candidates(trained):
    ids = ["v999999", "v1"]
    scores = score(
        trained.ranker,
        "nobody",
        ["v888888"],
        topics_of(["v888888"]),
        ids,
        topics_of(ids),
        statistics_of(ids),
    )
    assert ((scores > 0) & (scores < 1)).all()
    assert score(
        trained.ranker, "u1", [], topics_of([]), [], topics_of([]), statistics_of([], ())
    ).shape == (0,)


def test_a_stored_model_comes_back_and_replaces_the_one_before(trained, tmp_path):
    model, known = trained.ranker.model, trained.ranker.known
    store(tmp_path, model, known, SETTINGS.ranking, {"key": "a"})
    with torch.no_grad():
        changed = {name: value + 1 for name, value in model.state_dict().items()}
    other = type(model)(
        users=len(known.users),
        videos=len(known.videos),
        topics=2,
        width=4,
        topic_width=4,
        hidden=(8,),
    )
    other.load_state_dict(changed)
    store(tmp_path, other, known, SETTINGS.ranking, {"key": "b"})
    model, ids = restore(tmp_path)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in changed.items())
    assert (ids.users, ids.videos, ids.topics.tolist(), ids.epoch, ids.prior) == (
        known.users,
        known.videos,
        [10, 20],
        EPOCH,
        known.prior,
    )
    assert len(list(tmp_path.iterdir())) == 2


def test_an_absent_or_broken_model_is_told(trained, tmp_path):
    with pytest.raises(TableError, match=r"found none\. Mend: run `vidtopics train ranking`"):
        Ranker.load(tmp_path / "nothing")
    store(tmp_path, trained.ranker.model, trained.ranker.known, SETTINGS.ranking, {})
    weights = next(tmp_path.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(TableError, match="delete it and run"):
        Ranker.load(tmp_path)
