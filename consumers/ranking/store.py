"""A trained ranking model in a folder: weights as safetensors, vocabulary and facts as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import load, save

from consumers.ranking.codes import Vocabulary
from consumers.ranking.described import FILE, described
from consumers.ranking.models import Model, Pieces, Sizes, Widths, compose
from consumers.training.tallies import Centres
from vidtopics.errors import TableError, explain
from vidtopics.files import write_whole
from vidtopics.rates import Prior

KERNELS = "vocabulary.kernels"
"""The kernels of the topics' centres among the weights: a vocabulary's only large array."""


@dataclass(frozen=True, eq=False)
class Stored:
    """What serving needs of a model.

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

    The weights under a name of their own, then the JSON that names them; older weights go.
    """
    model, known = stored.model, stored.known
    tensors = {key: value.detach().contiguous() for key, value in model.state_dict().items()}
    data = save({**tensors, KERNELS: torch.from_numpy(known.centres.kernels)})
    weights = f"{sha256(data).hexdigest()[:16]}.safetensors"
    plain = {
        "weights": weights,
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
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / weights, data)
    write_whole(folder / FILE, json.dumps(plain))
    for old in folder.glob("*.safetensors"):
        if old.name != weights:
            old.unlink()


def restore(folder: Path) -> Stored:
    """The model in a folder and what it knows.

    TableError where there is none, or where its files don't fit.
    """
    facts = described(folder)
    if facts is None:
        raise TableError(
            explain(
                str(folder),
                expected="a ranking model",
                found="none",
                mend="run `vidtopics train ranking` first",
            )
        )
    try:
        return _rebuild(facts, load((folder / facts["weights"]).read_bytes()))
    except Exception as error:  # whatever odd bytes lead the readers to
        reason = f"{type(error).__name__} {error}".partition("\n")[0]
        raise TableError(
            explain(
                str(folder),
                expected="a ranking model",
                found=reason,
                mend="delete it and run `vidtopics train ranking`",
            )
        ) from error


def _rebuild(facts: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Stored:
    topics, parents = (np.array(facts[name], np.int64) for name in ("topics", "parents"))
    kernels = tensors.pop(KERNELS).numpy()
    users, videos = (pa.array(facts[name], pa.string()) for name in ("users", "videos"))
    centres = Centres(topics, kernels, parents, facts["topic_epoch"])
    known = Vocabulary(
        users, videos, centres, Prior(**facts["prior"]), facts["position"], facts["age"]
    )
    sizes = {**facts["sizes"], "topic_numbers": tuple(facts["sizes"]["topic_numbers"])}
    widths = {**facts["widths"], "hidden": tuple(facts["widths"]["hidden"])}
    model = compose(facts["model"], Sizes(**sizes), Pieces(**facts["pieces"]), Widths(**widths))
    model.load_state_dict(tensors)
    return Stored(facts["model"], model.eval(), known, facts["places"], facts["half_life_us"])
