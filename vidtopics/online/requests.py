"""A read without its transport: which keys to ask for, and what the answers mean."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vidtopics.contracts import ENTITIES, SERVICES
from vidtopics.errors import InputError, StoreError, explain
from vidtopics.layout import Directory, KeySpace, place
from vidtopics.layout.chain import lifted
from vidtopics.layout.directory import LIVE_QUEUES
from vidtopics.layout.hashes import HashedIds
from vidtopics.online.features import Features, gather


def directory_commands(prefix: str) -> list[tuple[str, str]]:
    """The commands whose answers :meth:`Directory.parse` takes.

    The version comes first: a change that lies between the answers shows as a newer version at the
    next read.
    """
    kinds = {"directory": "GET", "layout": "GET"}
    kinds |= dict.fromkeys(("views", "schemas", "structures", LIVE_QUEUES), "HGETALL")
    return [(command, place(prefix, name)) for name, command in kinds.items()]


def encoded(ids: Sequence[str]) -> list[bytes]:
    """Ids as the bytes that keys end with.

    Raises:
        TypeError: an id is null or no text.
        InputError: an id isn't UTF-8.

    >>> encoded(["v1", 7])
    Traceback (most recent call last):
    ...
    TypeError: ids: expected a list of strings, found 7 (int). Mend: pass [str(id), ...].
    """
    if not isinstance(ids, str):
        try:
            return list(map(str.encode, ids))
        except (TypeError, UnicodeEncodeError):  # no test of each id where all is well
            raise _wrong_id(ids) from None
    raise _wrong_id(ids)


def _wrong_id(ids: Sequence[object]) -> TypeError | InputError:
    """What is wrong with the first id that has no key: null, no text, or not UTF-8."""
    if isinstance(ids, str):
        return _no_text(ids, "pass [str(id), ...]")
    at, wrong = next((i, v) for i, v in enumerate(ids) if not _is_id(v))
    if wrong is None:
        return _no_text(wrong, "leave null ids out")
    if not isinstance(wrong, str):
        return _no_text(wrong, "pass [str(id), ...]")
    return InputError(
        explain(
            f"ids, number {at}",
            expected="text in UTF-8",
            found=ascii(wrong),
            mend="decode the id from its own encoding",
        )
    )


def _no_text(wrong: object, mend: str) -> TypeError:
    value = f"{wrong!r} ({type(wrong).__name__})"
    return TypeError(explain("ids", expected="a list of strings", found=value, mend=mend))


def _is_id(value: object) -> bool:
    if not isinstance(value, str):
        return False
    return value.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in value)


def check_one_key(directory: Directory, views: Iterable[str]) -> None:
    """StoreError for a view of several join keys: each plain id would be NOT_FOUND."""
    for view in views:
        entry = directory.views.get(view)
        if entry and len(entry.keys) > 1:
            raise StoreError(
                explain(
                    f"view {view}",
                    expected="one join key",
                    found=", ".join(entry.keys),
                    mend="read it through Feast, or by `read_parts` with keys from Feast's "
                    "serialize_entity_key",
                )
            )


def views_of(views: Sequence[str] | str) -> list[str]:
    """The views of a service, by its name, or those that are named, each once.

    Raises:
        InputError: there is no such service.

    >>> views_of("ranking_v1"), views_of(["video_topics", "video_topics"])
    (['video_topics', 'video_statistics'], ['video_topics'])
    """
    if not isinstance(views, str):
        return list(dict.fromkeys(views))
    if views not in SERVICES:
        raise InputError(
            explain(
                "views",
                expected=f"a list of views, or one of the services {', '.join(SERVICES)}",
                found=repr(views),
                mend="name one of them",
            )
        )
    return [table.name for table in SERVICES[views]]


def entity_ids(ids: Mapping[str, Sequence[str]]) -> dict[str, list[bytes]]:
    """Encoded ids by the join key of their entity.

    Raises:
        InputError: there is no such entity, or an id isn't UTF-8; TypeError: one is no text.

    >>> entity_ids({"video": ["v1"], "user": ["u1"]})
    {'video_id': [b'v1'], 'user_id': [b'u1']}
    """
    unknown = [name for name in ids if name not in ENTITIES]
    if unknown:
        raise InputError(
            explain(
                "ids",
                expected=f"ids by entity: {', '.join(ENTITIES)}",
                found=repr(unknown[0]),
                mend='pass {"video": [...], "user": [...]}',
            )
        )
    return {ENTITIES[name].name: encoded(values) for name, values in ids.items()}


def ids_of_view(directory: Directory, view: str, ids: Mapping[str, list[bytes]]) -> list[bytes]:
    """Of ids by join key those that a view is read for.

    Raises:
        StoreError: the view isn't there, or has several join keys.
        InputError: none of its entity were given.
    """
    check_one_key(directory, [view])
    [key] = directory.view(view).keys
    if key not in ids:
        raise InputError(
            explain(
                f"view {view}",
                expected=f"ids for {key}",
                found=", ".join(ids) or "none",
                mend=f'pass {{"{key.removesuffix("_id")}": [...]}}',
            )
        )
    return ids[key]


@dataclass(frozen=True)
class Part:
    """Ids of one view; `fingerprints` are uint32[N] of their values."""

    view: str
    space: KeySpace
    hashed: HashedIds

    @property
    def fingerprints(self) -> NDArray[np.uint32]:
        """Of the view and each id."""
        return self.space.marked(self.hashed.hashes)


@dataclass(frozen=True)
class Request:
    """What one MGET asks for: the directory's version, then each part's ids."""

    directory: Directory
    parts: Sequence[Part]

    @classmethod
    def of(cls, directory: Directory, parts: Iterable[tuple[str, Sequence[bytes]]]) -> Request:
        """The request for (view, ids) pairs; StoreError names a view that isn't there."""
        pairs = [(view, directory.keys(view), ids) for view, ids in parts]
        # Views are mostly read for the same ids: those are hashed once.
        hashed = {
            id(ids): HashedIds.of(ids) for ids in {id(ids): ids for *_, ids in pairs}.values()
        }
        return cls(directory, [Part(view, space, hashed[id(ids)]) for view, space, ids in pairs])

    def packed(self) -> bytes:
        r"""The MGET in Redis' protocol.

        redis-py makes a key of each id, then an argument of each key; this is one step.

        >>> from vidtopics.layout import Layout
        >>> Request(Directory("vt", 1, Layout(16), {}, {}), []).packed()
        b'*2\r\n$4\r\nMGET\r\n$24\r\nvt:{directory}:directory\r\n'
        """
        version = place(self.directory.prefix, "directory").encode()
        count = 2 + sum(len(part.hashed.ids) for part in self.parts)
        pieces = [b"*%d\r\n$4\r\nMGET\r\n$%d\r\n%b" % (count, len(version), version)]
        for part in self.parts:
            pieces += part.space.bulk_strings(part.hashed)
        pieces.append(b"\r\n")
        return b"".join(pieces)

    def keys(self) -> list[bytes]:
        """The same as keys."""
        keys = [place(self.directory.prefix, "directory").encode()]
        for part in self.parts:
            keys += part.space.of(part.hashed.ids)
        return keys

    def stale(self, answers: Sequence[bytes | None]) -> bool:
        """Whether the directory has changed since it was read."""
        return is_stale(self.directory, answers[0])

    def features(
        self,
        answers: Sequence[bytes | None],
        names: Sequence[str] | None = None,
        *,
        expired_values: bool = False,
    ) -> list[Features]:
        """What the answers say, for each (view, ids) pair; `expired_values` as :func:`gather`.

        Raises:
            StoreError: a name is no field of any of the views.
        """
        if names is not None:
            self._check(names)
        now_us, start = time.time_ns() // 1000, 1
        features = []
        for part in self.parts:
            entry, fingerprints = self.directory.view(part.view), part.fingerprints
            values = answers[start : start + len(fingerprints)]
            start += len(fingerprints)
            if self.directory.layout.version == 1:
                values = [value and lifted(value) for value in values]
            schemas = self.directory.schemas
            features.append(
                gather(
                    schemas[entry.schema],
                    schemas,
                    values,
                    fingerprints,
                    now_us=now_us,
                    ttl_us=entry.ttl_us,
                    live=entry.live,
                    names=names,
                    expired_values=expired_values,
                )
            )
        return features

    def _check(self, names: Sequence[str]) -> None:
        directory = self.directory
        fields = [
            f.name
            for part in self.parts
            for f in directory.schemas[directory.view(part.view).schema].fields
        ]
        if not set(names) <= set(fields):
            wrong = next(name for name in names if name not in fields)
            views = ", ".join(part.view for part in self.parts)
            raise StoreError(
                explain(
                    f"Redis, prefix {directory.prefix!r}, {views}",
                    expected=f"the field {wrong}",
                    found=", ".join(fields),
                    mend="correct the name, or load the view again where its fields have changed",
                )
            )


@dataclass(frozen=True)
class Batches:
    """The keys of a request as MGETs.

    One for a server; for a cluster one per bucket (of all views) and one for the version.

    >>> batches = Batches.by_slot([b"version", b"{1}a", b"{0}e", b"{1}c"], [7, 4, 9], 2)
    >>> batches.commands
    [('MGET', b'version'), ('MGET', b'{0}e'), ('MGET', b'{1}a', b'{1}c')]
    >>> batches.answers([[b"7"], [b"E"], [b"A", b"C"]])
    [b'7', b'A', b'E', b'C']
    """

    commands: list[tuple[Any, ...] | bytes]
    order: list[int] | None = None

    @classmethod
    def whole(cls, request: Request) -> Batches:
        """One MGET."""
        return cls([request.packed()])

    @classmethod
    def of_cluster(cls, request: Request) -> Batches:
        """One MGET per bucket."""
        hashes = np.concatenate([np.empty(0, np.uint32), *(p.hashed.hashes for p in request.parts)])
        return cls.by_slot(request.keys(), hashes, request.directory.layout.buckets)

    @classmethod
    def by_slot(cls, keys: Sequence[bytes], hashes: ArrayLike, buckets: int) -> Batches:
        """The version's key and N others with their CRC-32."""
        slots = np.concatenate(
            [[-1], np.array(hashes, np.int64) % buckets]
        )  # the version lies in a slot of its own
        order = np.argsort(slots, kind="stable")
        bounds = [*np.flatnonzero(np.diff(slots[order], prepend=-2)).tolist(), len(keys)]
        ordered = [keys[i] for i in order.tolist()]
        return cls([("MGET", *ordered[a:b]) for a, b in pairwise(bounds)], order.tolist())

    def answers(self, replies: Sequence[Sequence[bytes | None]]) -> Sequence[bytes | None]:
        """What the MGETs gave, in the order of the keys."""
        if self.order is None:
            return replies[0]
        values: list[bytes | None] = [None] * len(self.order)
        for i, value in zip(self.order, chain.from_iterable(replies), strict=True):
            values[i] = value
        return values


def is_stale(directory: Directory, version: bytes | None) -> bool:
    """Whether a version that was read isn't that of a directory."""
    return version is None or int(version) != directory.version
