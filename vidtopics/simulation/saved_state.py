"""Users and platform between two days, in a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vidtopics.errors import TableError, explain
from vidtopics.simulation.platform import Platform
from vidtopics.simulation.responses import State

FILE = "users.npz"


def save_state(folder: Path, state: State, platform: Platform) -> None:
    """Write both to a new folder.

    Raises:
        OSError: it can't be written.
    """
    folder.mkdir()
    with (folder / FILE).open("wb") as file:
        np.savez(file, allow_pickle=False, **state._asdict())
    platform.save(folder)


def load_state(folder: Path) -> tuple[State, Platform]:
    """State and platform as they were saved.

    Raises:
        TableError: the files can't be read.
    """
    path = folder / FILE
    try:
        with np.load(path, allow_pickle=False) as arrays:
            state = State(**dict(arrays))
    except Exception as error:  # whatever odd bytes lead the reader to
        found = f"{type(error).__name__} {error}"
        mend = "start the experiment anew, in another folder"
        raise TableError(
            explain(str(path), expected="a saved state", found=found, mend=mend)
        ) from None
    return state, Platform.load(folder)
