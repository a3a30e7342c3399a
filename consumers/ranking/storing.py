"""A trained ranking model in a folder: weights as safetensors, vocabularies and facts as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.torch import load, save

from consumers.ranking.released import FILE, described
from consumers.ranking.vocabulary import Vocabulary
from consumers.ranking.wide_and_deep import WideAndDeep
from vidtopics.errors import TableError, explain
from vidtopics.files import write_whole
from vidtopics.rates import Prior
from vidtopics.settings import RankingSettings


def store(
    folder: Path,
    model: WideAndDeep,
    known: Vocabulary,
    settings: RankingSettings,
    facts: Mapping[str, Any],
) -> None:
    """Writes a model in one step.

    The weights under a name of their own, then the JSON that names them; older weights go.
    """
    data = save({name: value.detach().contiguous() for name, value in model.state_dict().items()})
    weights = f"{sha256(data).hexdigest()[:16]}.safetensors"
    plain = {
        "weights": weights,
        "shape": {
            "width": settings.embedding_width,
            "topic_width": settings.topic_width,
            "hidden": list(settings.hidden),
        },
        "topic_epoch": known.epoch,
        "prior": asdict(known.prior),
        **facts,
        "users": known.users.to_pylist(),
        "videos": known.videos.to_pylist(),
        "topics": known.topics.tolist(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / weights, data)
    write_whole(folder / FILE, json.dumps(plain))
    for old in folder.glob("*.safetensors"):
        if old.name != weights:
            old.unlink()


def restore(folder: Path) -> tuple[WideAndDeep, Vocabulary]:
    """The model in a folder and the ids that it knows.

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
        users, videos = (pa.array(facts[name], pa.string()) for name in ("users", "videos"))
        topics, prior = np.array(facts["topics"], np.int64), Prior(**facts["prior"])
        known = Vocabulary(users, videos, topics, facts["topic_epoch"], prior)
        model = WideAndDeep(
            users=len(users), videos=len(videos), topics=len(known.topics), **facts["shape"]
        )
        model.load_state_dict(load((folder / facts["weights"]).read_bytes()))
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
    return model.eval(), known
