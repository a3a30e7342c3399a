"""Cover files of a catalogue as the encoders take them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path


class Covers(Sequence[bytes | None]):
    """Cover files, each read when it is asked for; None where there is no file."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    # A sequence also takes slices; encoding asks for one item at a time.
    def __getitem__(self, i: int) -> bytes | None:  # type: ignore[override]
        path = Path(self.paths[i])
        return path.read_bytes() if self.paths[i] and path.is_file() else None

    def __iter__(self) -> Iterator[bytes | None]:
        return (self[i] for i in range(len(self)))
