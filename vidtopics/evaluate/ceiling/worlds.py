"""The simulated world that a home holds: built again, and held to what was written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vidtopics.errors import InputError, explain
from vidtopics.evaluate.ceiling.log import Log, read_log
from vidtopics.settings import SimulationSettings
from vidtopics.simulation import World
from vidtopics.simulation.loop import simulate
from vidtopics.simulation.truth import MARK

MEND = "simulate the world again: vidtopics ingest simulated --home NEW"


def home_world(home: Path) -> Path | None:
    """The folder of the world that a home was made from; None where it has no simulated one.

    Raises:
        InputError: its tables hold the logs of several worlds, or truth can't be read.
    """
    folders = sorted(mark.parents[1] for mark in (home / "simulated").glob(f"*/truth/{MARK}"))
    worlds = {repr(read_settings(folder)): folder for folder in folders}
    if len(worlds) > 1:
        raise InputError(
            explain(
                str(home / "simulated"),
                expected="one simulated world",
                found=f"{len(worlds)} of different settings or seeds",
                mend="evaluate a home that was made from one of them alone",
            )
        )
    return folders[-1] if folders else None


def read_settings(folder: Path) -> tuple[SimulationSettings, int]:
    """Settings and seed of the world that `write_world` left in `folder`.

    Raises:
        InputError: they can't be read, or are of another version.
    """
    path = folder / "truth" / MARK
    try:
        truth = json.loads(path.read_text(encoding="utf-8"))
        return SimulationSettings(**truth["settings"]), int(truth["seed"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            explain(
                str(path),
                expected="settings of a simulated world as this version has them",
                found=f"{type(error).__name__} {str(error).splitlines()[0]}",
                mend=MEND,
            )
        ) from None


def written_world(folder: Path) -> tuple[World, Log]:
    """The world that `write_world` left in `folder`, and its log.

    Raises:
        InputError: this version of the simulation writes another log, or a file can't be read.
    """
    settings, seed = read_settings(folder)
    world = World.build(settings, seed)
    batches = list(simulate(world))
    simulated = np.concatenate([batch.responses.clicked.ravel() for batch in batches])
    written = _read_clicked(folder / "impressions.parquet")
    if not np.array_equal(written, simulated):
        raise InputError(
            explain(
                str(folder),
                expected="a log that this version of the simulation writes",
                found="other clicks",
                mend=MEND,
            )
        )
    return world, read_log(batches)


def _read_clicked(path: Path) -> NDArray[np.int8]:
    try:
        clicked: NDArray[np.int8] = pq.read_table(path, columns=["clicked"])["clicked"].to_numpy()
        return clicked
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            explain(
                str(path),
                expected="the log of a simulated world",
                found=f"{type(error).__name__} {str(error).splitlines()[0]}",
                mend=MEND,
            )
        ) from None
