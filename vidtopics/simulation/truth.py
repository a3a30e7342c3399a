"""What is planted in a world, for experiments and tests alone.

No producer and no consumer reads it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vidtopics.simulation.identifiers import numbered
from vidtopics.simulation.world import World

MARK = "settings.json"
_ROWS = 65_536


def write_truth(world: World, folder: Path) -> None:
    """Write `videos.parquet`, `users.parquet` (as before the first day), `settings.json`.

    The last has the seed and the fitted click intercept as well, which `bias` holds already.

    A column is a field of :class:`Items` or :class:`Users` under its name, vectors as fixed-size
    lists (interests: 4 x 16 in a row); `primary` and `secondary` are the classes of `topic`.
    """
    folder.mkdir()
    _write(
        folder / "videos.parquet",
        "video_id",
        "v",
        world.items,
        world.classes.primary,
        world.classes.secondary,
    )
    _write(folder / "users.parquet", "user_id", "u", world.users)
    known = {
        "seed": world.seed,
        "settings": world.settings.model_dump(mode="json"),
        "click_intercept": world.click_intercept,
    }
    (folder / MARK).write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _write(
    path: Path, key: str, letter: str, latents: NamedTuple, *levels: NDArray[np.int64]
) -> None:
    arrays = dict(zip(latents._fields, latents, strict=True))
    if levels:
        arrays |= {"primary": levels[0][arrays["topic"]], "secondary": levels[1][arrays["topic"]]}
    count = len(latents[0])
    writer = None
    for first in range(0, count, _ROWS):
        ids = numbered(letter, np.arange(first, min(first + _ROWS, count)), count)
        table = pa.table(
            {key: ids}
            | {name: _column(array[first : first + _ROWS]) for name, array in arrays.items()}
        )
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer:
        writer.close()


def _column(array: NDArray[np.generic]) -> pa.Array:
    flat = pa.array(array.reshape(-1))
    return flat if array.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, array[0].size)
