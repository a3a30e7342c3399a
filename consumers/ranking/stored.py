"""A trained ranking model in its folder, as serving reads it: without torch.

`model.json` names the weights (`HASH.safetensors`) and the graph beside them (`HASH.onnx`), whose
tables are the weights' own bytes: a model's embeddings lie on the disk once. Each name is the hash
of its file, which is looked at before anything of the file is used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from consumers.encoding.topics import Centres
from consumers.encoding.vocabulary import Vocabulary
from consumers.ranking.described import described
from vidtopics.errors import TableError, explain
from vidtopics.files import sha256
from vidtopics.rates import Prior

T = TypeVar("T")
KERNELS = "vocabulary.kernels"
"""The kernels of the topics' centres among the weights: a vocabulary's only large array."""
DIGITS = 16
"""Of a SHA-256 in hexadecimal, in the name of its file."""
TYPES: Mapping[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8")}
"""Of safetensors."""


class Place(NamedTuple):
    """Where an array lies in a file of weights.

    Attributes:
        dtype: of its numbers.
        shape: of the array.
        offset: bytes before it in the file.
        length: in bytes.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int
    length: int


def places_in(path: Path) -> dict[str, Place]:
    """Where each array lies in a safetensors file; ValueError where it is another."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if not 0 < size < path.stat().st_size:
            raise ValueError("no safetensors file")
        arrays = json.loads(file.read(size))
    arrays.pop("__metadata__", None)
    return {
        name: Place(TYPES[a["dtype"]], tuple(a["shape"]), 8 + size + begin, end - begin)
        for name, a in arrays.items()
        for begin, end in [a["data_offsets"]]
    }


def mapped(path: Path, name: str) -> NDArray[np.float32]:
    """An array of a file of weights in memory that the processes of a machine share."""
    place = places_in(path)[name]
    return np.memmap(path, place.dtype, "r", place.offset, place.shape)


def named_by(content: bytes) -> str:
    """What a file of these bytes is called, before its ending.

    >>> named_by(b"weights")
    '9a129038d9a00aed'
    """
    return hashlib.sha256(content).hexdigest()[:DIGITS]


def _check_named(folder: Path, facts: Mapping[str, Any]) -> None:
    """ValueError for a file that lies elsewhere, or isn't the one that was stored."""
    for name in filter(None, (facts["weights"], facts["graph"])):
        if Path(name).name != name:
            raise ValueError(f"a file in another folder, {name!r}")
        digest = sha256(folder / name)
        if digest[:DIGITS] != Path(name).stem:
            raise ValueError(f"{name} with bytes of SHA-256 {digest[:DIGITS]}")


def load_from(folder: Path, load: Callable[[Mapping[str, Any]], T]) -> T:
    """What `load` makes of a model's facts; TableError where there is none, or its files don't fit.

    Args:
        folder: `models/ranking` of a home.
        load: takes the JSON.
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
        _check_named(folder, facts)
        return load(facts)
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


def vocabulary_of(facts: Mapping[str, Any], kernels: NDArray[np.float32]) -> Vocabulary:
    """What a stored model knows."""
    topics, parents = (np.array(facts[name], np.int64) for name in ("topics", "parents"))
    users, videos = (pa.array(facts[name], pa.string()) for name in ("users", "videos"))
    centres = Centres(topics, kernels, parents, facts["topic_epoch"])
    prior = Prior(**facts["prior"])
    return Vocabulary(users, videos, centres, prior, facts["position"], facts["age"])
