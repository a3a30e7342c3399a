"""Receipts of erasures: who was erased is a keyed hash, which late deliveries are held against."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from vidtopics.errors import InputError, TableError, explain
from vidtopics.files import write_whole
from vidtopics.layout.known import known_fields

FOLDER = "erasures"
SALT = "salt"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
State = Literal["begun", "done"]


@dataclass
class Receipt:
    """What became of a request.

    Attributes:
        request: its name.
        requested_us: when it was first made; events of before it go, also those that come later.
        people: keyed hashes of the ids, ascending.
        state: begun: to be run again; done.
        done_us: when it was; 0 before.
        counts: what became of statistics: kept or removed.
        erased: by place what went: rows, lines, keys, entries.
        remaining: files that still mention an id and that nothing here can change.
        releases: numbers of the releases whose versions are without the people from then on.
        derived: what was learned of many people, of them too, and how that ends.
    """

    request: str
    requested_us: int
    people: list[str]
    state: State = "begun"
    done_us: int = 0
    counts: str = "keep"
    erased: dict[str, dict[str, int]] = field(default_factory=dict)
    remaining: list[str] = field(default_factory=list)
    releases: list[int] = field(default_factory=list)
    derived: list[dict[str, Any]] = field(default_factory=list)

    def note(self, where: str, **numbers: int) -> None:
        """Enter what a place had; a later try finds less, so the greatest number stays."""
        before = self.erased.get(where, {})
        merged = {k: max(before.get(k, 0), n) for k, n in {**before, **numbers}.items()}
        if any(merged.values()):
            self.erased[where] = merged


@dataclass(frozen=True)
class Receipts:
    """The receipts of a home, and its salt."""

    home: Path

    @property
    def folder(self) -> Path:
        """Where they lie."""
        return self.home / FOLDER

    def path(self, request: str) -> Path:
        """The file of a request."""
        return self.folder / f"{request}.json"

    def hasher(self) -> Callable[[str], str]:
        """What makes a keyed hash of an id."""
        return partial(_hash, self._salt())

    def begin(self, request: str, ids: Iterable[str], now_us: int, counts: str) -> Receipt:
        """The receipt of a request: a new one, or that of an earlier try.

        Raises:
            InputError: the name can't be a file's, or is that of a request of other ids.
        """
        if not NAME.fullmatch(request):
            raise InputError(
                explain(
                    "--request",
                    expected="a name of letters, digits, `.`, `_` and `-`, 64 at most",
                    found=repr(request[:80]),
                    mend="choose one; the receipt is called by it",
                )
            )
        people = sorted(map(self.hasher(), ids))
        earlier = self.read(request)
        if earlier is None:
            return Receipt(request, now_us, people, counts=counts)
        if earlier.people != people:
            raise InputError(
                explain(
                    f"--request {request}",
                    expected=f"the {len(earlier.people)} ids that it was made for",
                    found="others",
                    mend="give the same ids, or another name",
                )
            )
        if earlier.counts != counts:
            raise InputError(
                explain(
                    f"--request {request}",
                    expected=f"erasure.counts: {earlier.counts}, as it was begun",
                    found=counts,
                    mend="set it so, or give another name",
                )
            )
        earlier.state = "begun"
        return earlier

    def read(self, request: str) -> Receipt | None:
        """The receipt of a request; None where there is none."""
        path = self.path(request)
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
            return Receipt(**known_fields(Receipt, plain))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, AttributeError) as error:
            raise TableError(
                explain(
                    str(path),
                    expected="a receipt",
                    found=str(error),
                    mend="restore it from a backup: late events are held against it",
                )
            ) from error

    def write(self, receipt: Receipt) -> None:
        """Write a receipt in one step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(receipt), indent=2)
        write_whole(self.path(receipt.request), text + "\n")

    def all(self) -> list[Receipt]:
        """Of all requests, by name."""
        names = sorted(path.stem for path in self.folder.glob("*.json"))
        return [receipt for name in names if (receipt := self.read(name))]

    def until_us(self) -> dict[str, int]:
        """By keyed hash up to when that person's events are erased."""
        until: dict[str, int] = {}
        for receipt in self.all():
            for person in receipt.people:
                until[person] = max(until.get(person, 0), receipt.requested_us)
        return until

    def _salt(self) -> bytes:
        """The home's salt, made once: the later of two that make it reads the other's."""
        path = self.folder / SALT
        if not path.exists() and not any(self.folder.glob("*.json")):
            self.folder.mkdir(parents=True, exist_ok=True)
            partial = self.folder / f".{SALT}-{os.getpid()}"
            handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(32))
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(partial, path)
            except FileExistsError:
                pass
            finally:
                partial.unlink()
        salt = path.read_bytes() if path.exists() else b""
        if len(salt) != 32:
            raise TableError(
                explain(
                    str(path),
                    expected="the 32 bytes that receipts were made with",
                    found=f"{len(salt)} bytes",
                    mend="restore it from a backup: without it late events can't be told",
                )
            )
        return salt


def _hash(salt: bytes, value: str) -> str:
    return blake2b(value.encode(), key=salt, digest_size=16).hexdigest()
