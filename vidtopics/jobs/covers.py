"""Cover files of a catalogue as the encoders take them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vidtopics.paths import is_url
from vidtopics.storage import Address
from vidtopics.storage.single import read_object

LARGEST = 2**28
"""Bytes of a cover: ingest refuses those that have more than 4 for each of `max_image_pixels`."""


class Covers(Sequence[bytes | None]):
    """Covers in files and buckets, each read when it is asked for; None where there is none.

    A path is absolute, or an address of an object store, as ingest wrote it to the catalogue.
    One of more than :data:`LARGEST` bytes counts as none.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    # A sequence also takes slices; encoding asks for one item at a time.
    def __getitem__(self, i: int) -> bytes | None:  # type: ignore[override]
        return _read(self.paths[i])

    def __iter__(self) -> Iterator[bytes | None]:
        return (self[i] for i in range(len(self)))


def _read(cover: str) -> bytes | None:
    if is_url(cover):
        try:
            return read_object(Address.parse(cover, "cover"), LARGEST)
        except FileNotFoundError:
            return None
    path = Path(cover)
    if not cover or not path.is_file() or path.stat().st_size > LARGEST:
        return None
    return path.read_bytes()
