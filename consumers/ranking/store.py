"""A trained ranking model in a folder: weights as safetensors, its graph as ONNX, facts as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from consumers.encoding.vocabulary import Vocabulary
from consumers.ranking.described import FILE
from consumers.ranking.graphs import graph_of
from consumers.ranking.models import Model, Pieces, Sizes, Widths, compose
from consumers.ranking.stored import KERNELS, load_from, named_by, vocabulary_of
from vidtopics.files import write_whole


@dataclass(frozen=True, eq=False)
class Stored:
    """A model, and what is needed to use it.

    Attributes:
        name: of the model, as `ranking.model` has it.
        model: with its weights.
        known: the ids and centres that it knows.
        places: H, the longest history that it was trained with.
        half_life_us: of the users' decayed counts that it was trained with.
    """

    name: str
    model: Model
    known: Vocabulary
    places: int
    half_life_us: int


def store(folder: Path, stored: Stored, facts: Mapping[str, Any]) -> None:
    """Writes a model in one step.

    Weights and graph under names of their own, then the JSON that names them; older ones go. A
    model that reads cover features has no graph: no request has them.
    """
    model, known = stored.model, stored.known
    tensors = {key: value.detach().contiguous() for key, value in model.state_dict().items()}
    data = save({**tensors, KERNELS: torch.from_numpy(known.centres.kernels)})
    weights, graph = f"{named_by(data)}.safetensors", ""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / weights, data)
    if not model.pieces.cover:
        traced = graph_of(model, places=stored.places, weights=folder / weights)
        graph = f"{named_by(traced)}.onnx"
        write_whole(folder / graph, traced)
    plain = {
        "weights": weights,
        "graph": graph,
        "model": stored.name,
        "places": stored.places,
        "half_life_us": stored.half_life_us,
        "sizes": asdict(model.sizes),
        "pieces": asdict(model.pieces),
        "widths": asdict(model.widths),
        "prior": asdict(known.prior),
        "position": known.position,
        "age": known.age,
        "topic_epoch": known.centres.epoch,
        **facts,
        "users": known.users.to_pylist(),
        "videos": known.videos.to_pylist(),
        "topics": known.centres.ids.tolist(),
        "parents": known.centres.parents.tolist(),
    }
    write_whole(folder / FILE, json.dumps(plain))
    for old in (*folder.glob("*.safetensors"), *folder.glob("*.onnx")):
        if old.name not in (weights, graph):
            old.unlink()


def restore(folder: Path) -> Stored:
    """The model in a folder and what it knows, by torch.

    TableError where there is none, or where its files don't fit.
    """
    return load_from(
        folder, lambda facts: _rebuild(facts, load((folder / facts["weights"]).read_bytes()))
    )


def _rebuild(facts: Mapping[str, Any], tensors: dict[str, torch.Tensor]) -> Stored:
    known = vocabulary_of(facts, tensors.pop(KERNELS).numpy())
    sizes = {**facts["sizes"], "topic_numbers": tuple(facts["sizes"]["topic_numbers"])}
    widths = {**facts["widths"], "hidden": tuple(facts["widths"]["hidden"])}
    model = compose(facts["model"], Sizes(**sizes), Pieces(**facts["pieces"]), Widths(**widths))
    model.load_state_dict(tensors)
    return Stored(facts["model"], model.eval(), known, facts["places"], facts["half_life_us"])
