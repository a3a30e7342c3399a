"""The graph that the service runs gives the scores of the model that was trained."""

from dataclasses import fields

import numpy as np
import onnx
import pyarrow as pa
import pytest
import torch
from batches import NAMES

from consumers.encoding.topics import Centres
from consumers.encoding.vocabulary import Vocabulary
from consumers.ranking.examples import Batch
from consumers.ranking.models import MODELS, VARIANTS, Pieces, Sizes, Widths, compose
from consumers.ranking.requests import Encoded
from consumers.ranking.serve import Ranker
from consumers.ranking.store import Stored, restore, store
from consumers.ranking.stored import KERNELS, mapped
from vidtopics.errors import TableError
from vidtopics.rates import Prior

SIZES = Sizes(users=500, videos=700, topics=60, parents=9, numbers=3, topic_numbers=NAMES, cover=0)
PLACES = 70
"""More than DIN attends to."""
KNOWN = Vocabulary(
    pa.array(["u"]),
    pa.array(["v"]),
    Centres.of(np.arange(1, 4), np.eye(3, dtype=np.float32), np.array([7]), 1),
    Prior(0.3, 10.0),
    0.7,
    0.4,
)


def stored_model(name, pieces, rows=2**18):
    """Weights that all count, and scales of numbers that aren't one."""
    model = compose(name, SIZES, pieces, Widths(embedding=4, topic=3, hidden=(8, 4), rows=rows))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) - 0.4)
    for key, buffer in model.named_buffers():
        if key.endswith("deviation"):
            buffer.add_(1)
    return Stored(name, model.eval(), KNOWN, PLACES, 1)


def request(rows, seed=0, history=PLACES - 9):
    """N candidates of a user; code 0 and weight 0 are among the values."""
    random = np.random.default_rng(seed)

    def floats(*shape):
        return random.random(shape).astype(np.float32)

    def codes(most, *shape):
        return random.integers(0, most, shape)

    mask = np.arange(PLACES)[None] < history
    slots = mask[..., None] & (codes(3, 1, PLACES, 8) > 0)
    return Encoded(
        user=np.full(rows, codes(SIZES.users)),
        video=codes(SIZES.videos, rows),
        numbers=floats(rows, SIZES.numbers),
        topic_numbers=floats(rows, len(NAMES)),
        topics=codes(SIZES.topics, rows, 8),
        topic_weights=floats(rows, 8) * (codes(2, rows, 8) > 0),
        parents=codes(SIZES.parents, rows, 8),
        history_videos=codes(SIZES.videos, 1, PLACES) * mask,
        history_clicked=(codes(2, 1, PLACES) > 0) & mask,
        history_ages=floats(1, PLACES) * mask,
        history_topics=codes(SIZES.topics, 1, PLACES, 8) * slots,
        history_weights=floats(1, PLACES, 8) * slots,
        history_parents=codes(SIZES.parents, 1, PLACES, 8) * slots,
        history_mask=mask,
    )


def by_torch(stored, encoded):
    """Each candidate with a history of its own, as in training."""
    rows = len(encoded.user)
    plain = {
        f.name: torch.from_numpy(np.ascontiguousarray(getattr(encoded, f.name)))
        for f in fields(Encoded)
    }
    each = {
        name: array.expand(rows, *array.shape[1:]) if name.startswith("history_") else array
        for name, array in plain.items()
    }
    none = {"clicked": torch.zeros(rows), "cover": torch.zeros(rows, 0)}
    with torch.inference_mode():
        return torch.sigmoid(stored.model(Batch(**each, **none))).numpy()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("variant", ["none", "topics"])
def test_scores_are_those_of_torch(name, variant, tmp_path):
    stored = stored_model(name, VARIANTS[variant])
    store(tmp_path, stored, {})
    ranker = Ranker.load(tmp_path)
    for encoded in (request(40), request(1, seed=1), request(600, seed=2, history=0)):
        scores = ranker.predict(encoded)
        expected = by_torch(stored, encoded)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)
    assert np.ptp(expected) > 0.01


@pytest.mark.parametrize("name", ["wide_and_deep", "din"])
def test_codes_share_rows_as_in_training(name, tmp_path):
    stored = stored_model(name, VARIANTS["topics"], rows=50)
    store(tmp_path, stored, {})
    encoded = request(300)
    scores = Ranker.load(tmp_path).predict(encoded)
    np.testing.assert_allclose(scores, by_torch(stored, encoded), rtol=0, atol=1e-5)


def test_tables_lie_on_the_disk_once(tmp_path):
    store(tmp_path, stored_model("wide_and_deep", VARIANTS["topics"]), {})
    [graph], [weights] = tmp_path.glob("*.onnx"), tmp_path.glob("*.safetensors")
    model = onnx.load(graph, load_external_data=False)
    places = {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    assert places == {weights.name}
    inline = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    assert inline < 6_000 < weights.stat().st_size
    kernels = KNOWN.centres.kernels
    assert np.array_equal(mapped(weights, KERNELS), kernels)
    assert np.array_equal(restore(tmp_path).known.centres.kernels, kernels)


def test_a_model_without_a_graph_cannot_be_served(tmp_path):
    sizes = Sizes(**vars(SIZES) | {"cover": 128})
    model = compose("lr", sizes, Pieces(cover=True), Widths())
    store(tmp_path, Stored("lr", model, KNOWN, PLACES, 1), {})
    assert restore(tmp_path).name == "lr"
    with pytest.raises(TableError, match="delete it and run `vidtopics train ranking`"):
        Ranker.load(tmp_path)
