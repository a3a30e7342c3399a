"""A serving log, read in chunks of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vidtopics.errors import InputError, explain
from vidtopics.layout import Watermark
from vidtopics.online import Status
from vidtopics.online.log_files import PATTERN
from vidtopics.online.served import Served

CHUNK_ROWS = 65_536


@dataclass(frozen=True, eq=False)
class Chunk:
    """Answers of one view with the same fields: N rows of some lines.

    Attributes:
        lines: the lines.
        line: int64[N], the line of each row.
        ids: N entity ids.
        status: uint8[N].
        event_us: int64[N].
        created_us: int64[N].
        client_us: int64[N], the time of the answer by the client's clock.
        server_us: int64[N], by the clock of Redis.
    """

    lines: Sequence[Served]
    line: NDArray[np.int64]
    ids: Sequence[str]
    status: NDArray[np.uint8]
    event_us: NDArray[np.int64]
    created_us: NDArray[np.int64]
    client_us: NDArray[np.int64]
    server_us: NDArray[np.int64]

    @classmethod
    def of(cls, lines: Sequence[Served]) -> Chunk:
        """The rows of lines that agree in view and fields."""
        line = np.repeat(np.arange(len(lines)), [len(s.ids) for s in lines])
        client_us = np.array([s.client_us for s in lines], np.int64)
        offset_us = np.array([s.offset_us for s in lines], np.int64)
        ids = [i for s in lines for i in s.ids]
        status = np.concatenate([s.status for s in lines])
        event_us, created_us = (
            np.concatenate([getattr(s, t) for s in lines]) for t in ("event_us", "created_us")
        )
        return cls(
            lines,
            line,
            ids,
            status,
            event_us,
            created_us,
            client_us[line],
            (client_us + offset_us)[line],
        )

    @property
    def view(self) -> str:
        """The feature view."""
        return self.lines[0].view

    @property
    def names(self) -> tuple[str, ...]:
        """The fields that were read."""
        return tuple(self.lines[0].columns)

    @cached_property
    def keys(self) -> tuple[list[str], NDArray[np.int64]]:
        """Different ids, and int64[N]: the place of each row's id among them."""
        encoded = pa.array(self.ids, pa.string()).dictionary_encode()
        return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)

    @cached_property
    def present(self) -> NDArray[np.int64]:
        """int64[N]: a row's place in columns of PRESENT rows alone; -1 for the others."""
        is_present = self.status == Status.PRESENT
        return np.where(is_present, np.cumsum(is_present) - 1, -1)

    def column(self, name: str) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """uint8[P, k] and bool[P]: canonical bytes and nulls of a field in the P PRESENT rows."""
        parts = [s.columns[name] for s in self.lines if len(s.columns[name])]
        null = np.concatenate([s.null[name] for s in self.lines])
        return (np.concatenate(parts) if parts else np.empty((0, 0), np.uint8)), null

    def marks(self, side: str) -> list[Watermark | None]:
        """Each line's `floor` or `ceiling`."""
        return [getattr(s, side) for s in self.lines]


class Log:
    """The files of a folder, oldest first; counts while it is read.

    Raises:
        InputError: there is no such file.
    """

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(
            folder.glob(PATTERN), key=lambda path: (path.stat().st_mtime_ns, path.name)
        )
        self.lines = self.damaged = self.dropped = 0
        if not self.paths:
            raise InputError(
                explain(
                    str(folder),
                    expected=f"a serving log ({PATTERN})",
                    found="none",
                    mend="give the client one: OnlineClient.from_url(url, "
                    "log=ServingLog(folder, connect(url),"
                    " share=0.01)), see docs/parity.md",
                )
            )

    def chunks(self, rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
        """Chunks of about `rows` rows; every line once."""
        waiting: dict[tuple[object, ...], list[Served]] = {}
        held = 0
        for served in self._served():
            waiting.setdefault(_kind(served), []).append(served)
            held += len(served.ids)
            if held >= rows:
                yield from map(Chunk.of, waiting.values())
                waiting, held = {}, 0
        yield from map(Chunk.of, waiting.values())

    def _served(self) -> Iterator[Served]:
        for path in self.paths:
            with path.open("rb") as lines:
                for line in lines:
                    if is_blanked(line):
                        continue
                    self.lines += 1
                    try:
                        served = Served.from_line(line)
                    except ValueError:
                        self.damaged += 1
                        continue
                    self.dropped += served.dropped
                    yield served


def is_blanked(line: bytes) -> bool:
    r"""Whether a line was of a person who was erased (docs/erasure.md); an empty one is damaged.

    >>> is_blanked(b"   \n"), is_blanked(b"\n"), is_blanked(b"{}\n")
    (True, False, False)
    """
    text = line.rstrip(b"\n")
    return bool(text) and not text.strip(b" ")


def _kind(served: Served) -> tuple[object, ...]:
    """What lines must agree in to be one chunk: view, fields and their widths."""
    return served.view, tuple((name, column.shape[1]) for name, column in served.columns.items())
