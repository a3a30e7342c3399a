"""A stored model comes back whole, and a request is scored as training scores the same facts."""

import numpy as np
import pytest
import torch
from taste_worlds import EPOCH, SETTINGS, source

from consumers.ranking.models import VARIANTS
from consumers.ranking.problems import sizes_of
from consumers.ranking.serve import Ranker
from consumers.ranking.store import Stored, restore, store
from consumers.ranking.train import predict, train
from consumers.retrieval.recall import Candidates
from vidtopics.errors import TableError
from vidtopics.online import Features, Status

HALF_LIFE_US = 7 * 86_400_000_000
AT_US = 4_000 * 3_600_000_000


@pytest.fixture(scope="module")
def log():
    return source(rows=900, videos=60)


@pytest.fixture(scope="module")
def stored(log):
    known = log.vocabulary(np.arange(900))
    examples = log.examples(known)
    fitted = train(
        "wide_and_deep",
        VARIANTS["topics"],
        sizes_of(known, examples),
        examples,
        None,
        SETTINGS.ranking,
        seed=1,
        epochs=(2, 2),
    )
    places = SETTINGS.ranking.history
    return Stored("wide_and_deep", fitted.model, known, places, HALF_LIFE_US)


@pytest.fixture(scope="module")
def ranker(stored, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranking")
    store(folder, stored, {})
    return Ranker.load(folder)


def features(columns, missing=()):
    n = len(next(iter(columns.values())))
    status = [Status.NOT_FOUND if i in missing else Status.PRESENT for i in range(n)]
    zero = np.zeros(n, np.int64)
    return Features(np.array(status, np.uint8), zero, zero, columns, {})


def topics_of(log, ids, *, epoch=EPOCH, missing=()):
    rows = log.inputs.views["video_topics"]
    place = [rows.keys["video_id"].to_pylist().index(video) for video in ids]
    columns = {
        name: np.array([rows.values[name][i].as_py() for i in place], kind).reshape(len(ids), 8)
        for name, kind in (
            ("topic_ids", np.int64),
            ("topic_weights", np.float32),
            ("parent_topic_ids", np.int64),
        )
    }
    columns["topic_epoch"] = np.full(len(ids), epoch)
    columns["topic_count"] = np.ones(len(ids), np.int64)
    columns["below_threshold"] = np.zeros(len(ids), bool)
    return features(columns, missing)


def request(log, ids, history=(), *, epoch=EPOCH, user="u1"):
    return Candidates(
        user_id=user,
        reasons=dict.fromkeys(ids),
        epoch=epoch,
        clicks=history,
        skips=(),
        history_topics=topics_of(log, history, epoch=epoch),
        popular="",
        left_out={},
        at_us=AT_US,
        seed=1,
    )


def views(log, ids, **options):
    n = len(ids)
    counts = {"video_exposures": np.full(n, 5), "video_clicks": np.full(n, 2)}
    return {
        "video_topics": topics_of(log, ids, **options),
        "video_statistics": features(counts),
    }


IDS = ["v00001", "v00007", "v00012"]


def test_scores_are_those_of_the_model_on_the_same_facts(log, ranker):
    scores = ranker.score(request(log, IDS), views(log, IDS))
    assert scores.dtype == np.float32
    assert ((scores > 0) & (scores < 1)).all()
    assert len(set(scores.tolist())) == 3
    again = ranker.score(request(log, IDS[::-1]), views(log, IDS[::-1]))
    assert again[::-1] == pytest.approx(scores, abs=1e-6)


def test_a_request_reads_topics_and_statistics(log, ranker):
    plain = views(log, IDS)
    scores = ranker.score(request(log, IDS), plain)
    lost = {**plain, "video_topics": topics_of(log, IDS, missing={1})}
    changed = ranker.score(request(log, IDS), lost)
    assert (changed != scores).tolist() == [False, True, False]
    counts = {"video_exposures": np.full(3, 5), "video_clicks": np.full(3, 2)}
    lost = {**plain, "video_statistics": features(counts, missing={2})}
    changed = ranker.score(request(log, IDS), lost)
    assert (changed != scores).tolist() == [False, False, True]


def test_topics_of_another_epoch_count_as_none(log, ranker):
    old = ranker.score(request(log, IDS), views(log, IDS, epoch=2))
    none = ranker.score(request(log, IDS), views(log, IDS, missing={0, 1, 2}))
    assert np.array_equal(old, none)


def test_no_candidates_and_unknown_users(log, ranker):
    assert ranker.score(request(log, []), views(log, [])).shape == (0,)
    unknown = ranker.score(request(log, IDS, user="nobody"), views(log, IDS))
    assert not np.array_equal(unknown, ranker.score(request(log, IDS), views(log, IDS)))


def test_a_request_is_scored_on_one_thread(ranker):
    options = ranker._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)


def test_a_stored_model_comes_back_and_replaces_the_one_before(log, stored, tmp_path):
    store(tmp_path, stored, {"key": "a"})
    with torch.no_grad():
        for parameter in stored.model.parameters():
            parameter.add_(0.01)
    store(tmp_path, stored, {"key": "b"})
    back = restore(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".onnx", ".safetensors"}
    assert len(list(tmp_path.iterdir())) == 3
    assert (back.name, back.places, back.half_life_us) == (
        stored.name,
        stored.places,
        HALF_LIFE_US,
    )
    assert (back.known.users, back.known.videos) == (stored.known.users, stored.known.videos)
    assert (back.known.prior, back.known.position) == (stored.known.prior, stored.known.position)
    assert np.array_equal(back.known.centres.kernels, stored.known.centres.kernels)
    examples = log.examples(stored.known)
    assert np.array_equal(predict(back.model, examples), predict(stored.model, examples))


def test_an_absent_or_broken_model_is_told(stored, tmp_path):
    with pytest.raises(TableError, match=r"found none\. Mend: run `vidtopics train ranking`"):
        Ranker.load(tmp_path / "nothing")
    store(tmp_path, stored, {})
    weights = next(tmp_path.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(TableError, match="delete it and run"):
        Ranker.load(tmp_path)
