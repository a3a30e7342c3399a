"""A trained model as ONNX: the graph of one request, for services without torch."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from consumers.ranking.examples import Batch, SharedBatch
from consumers.ranking.models import Model
from consumers.ranking.stored import Place, places_in
from vidtopics.contracts import TOPIC_SLOTS

OPSET = 17
ROWS = "rows"
"""The only axis whose length differs between requests."""
INPUTS = (
    "user",
    "video",
    "numbers",
    "topic_numbers",
    "topics",
    "topic_weights",
    "parents",
    "history_videos",
    "history_clicked",
    "history_ages",
    "history_topics",
    "history_weights",
    "history_parents",
    "history_mask",
)
"""As :class:`consumers.ranking.requests.Encoded` names them."""
HISTORY = "history_"
LEAST = 1_024
"""Bytes of a table from which on the graph leaves them where the weights have them."""


class OneRequest(nn.Module):
    """Click probabilities of N candidates that share their user's history, `(N,)`."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, *arrays: Tensor) -> Tensor:
        """Arrays in the order of INPUTS."""
        given = dict(zip(INPUTS, arrays, strict=True))
        rows, numbers = (
            given["user"].shape[0],
            given["numbers"],
        )  # `len` would be traced as a constant
        given |= {"clicked": numbers[:, 0], "cover": numbers[:, :0]}
        if self.model.shares_history:
            odds = self.model(SharedBatch(**given, history_row=given["user"] * 0))
        else:
            odds = self.model(Batch(**{name: _each(name, a, rows) for name, a in given.items()}))
        return torch.sigmoid(odds)


def _each(name: str, array: Tensor, rows: int) -> Tensor:
    """A history for each of the candidates."""
    return array.expand(rows, *array.shape[1:]) if name.startswith(HISTORY) else array


def graph_of(model: Model, *, places: int, weights: Path) -> bytes:
    """A model's graph with its tables left in a file of weights, which has to lie beside it.

    By tracing: the exporter that compiles imports a compiler for the same graph (docs/adr/0062).

    Args:
        model: with its weights; without cover features, which no request has.
        places: H, the longest history.
        weights: safetensors that the model's parameters were written to.
    """
    with tempfile.TemporaryDirectory() as folder:
        traced = Path(folder) / "traced.onnx"
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracing: lengths that are fixed, its own age
            torch.onnx.export(
                OneRequest(model).eval(),
                _example(model, places),
                traced,
                input_names=list(INPUTS),
                output_names=["scores"],
                dynamic_axes={n: {0: ROWS} for n in (*INPUTS, "scores") if HISTORY not in n},
                opset_version=OPSET,
                dynamo=False,
            )
        graph = onnx.load(traced)
    _leave_in(graph, places_in(weights), weights)
    return graph.SerializeToString()


def _example(model: Model, places: int) -> tuple[Tensor, ...]:
    """Three candidates; their values make no difference."""
    sizes, rows, codes = model.sizes, 3, torch.int64
    history, slots = (1, places), (1, places, TOPIC_SLOTS)
    own = [torch.zeros(rows, dtype=codes)] * 2
    numbers = [torch.zeros(rows, n) for n in (sizes.numbers, len(sizes.topic_numbers))]
    topics = [torch.zeros(rows, TOPIC_SLOTS, dtype=t) for t in (codes, torch.float32, codes)]
    past = [torch.zeros(history, dtype=t) for t in (codes, torch.bool, torch.float32)]
    past += [torch.zeros(slots, dtype=t) for t in (codes, torch.float32, codes)]
    return (*own, *numbers, *topics, *past, torch.ones(history, dtype=torch.bool))


def _leave_in(graph: onnx.ModelProto, stored: Mapping[str, Place], weights: Path) -> None:
    """Name the weights' bytes instead of holding them."""
    data = np.memmap(weights, np.uint8, "r")
    for tensor in graph.graph.initializer:
        place = stored.get(tensor.name.removeprefix("model."))
        if place is None or place.length < LEAST:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        same = data[place.offset : place.offset + place.length].tobytes()
        if values.shape == place.shape and values.tobytes() == same:
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            of = {"location": weights.name, "offset": place.offset, "length": place.length}
            for key, value in of.items():
                tensor.external_data.add(key=key, value=str(value))
