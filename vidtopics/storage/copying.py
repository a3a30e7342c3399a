"""A home copied to another place, verified: `vidtopics home copy A B`.

What is there with the same bytes isn't sent again, so that a copy that was killed goes on. The log
entries of tables are put by conditional requests, after all that they name; another home, or one
that has commits which the source lacks, is never written to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby

from vidtopics.errors import TableError, explain
from vidtopics.failpoints import failpoint
from vidtopics.storage.addresses import Address
from vidtopics.storage.claims import apart, begin, claim, opened_home, refuse_apart, refuse_overlap
from vidtopics.storage.comparing import SENDERS, Proof, same_bytes
from vidtopics.storage.fingerprints import PART, Fingerprint
from vidtopics.storage.home_files import (
    COPYING,
    Stage,
    is_final,
    is_left_out,
    log_of,
    stage_of,
    survey,
)
from vidtopics.storage.leases import refuse_held
from vidtopics.storage.objects import Listed, Objects

Progress = Callable[[Stage, int, int], None]
"""A stage, how many of its files are done, and how many it has."""


@dataclass
class Copy:
    """What a copy did.

    `sent`, `same`: files that were sent, and that were there already, with their bytes. `by_tag`,
    `by_reading`: how many were verified by the MD5 that the store has of them, and by reading them
    back (SHA-256). `left_out`: files of the source that belong to its machine, by the first part of
    their names. `extra`: files of the target that the source hasn't.
    """

    source: str
    target: str
    home_id: str
    sent: int = 0
    sent_bytes: int = 0
    same: int = 0
    same_bytes: int = 0
    by_tag: int = 0
    by_reading: int = 0
    extra: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Done:
    """A file of the target: what it has to hold, the tag it was compared by, if it was."""

    fingerprint: Fingerprint | None
    size: int
    tag: str | None
    was_sent: bool


def copy_home(
    source: Address,
    target: Address,
    *,
    take_over: bool = False,
    progress: Progress = lambda stage, done, total: None,
) -> Copy:
    """Copy a home and verify what is there then.

    Args:
        source: a home.
        target: nothing yet, an empty folder or prefix, or an earlier copy of the same home.
        take_over: go on with a copy that another source or machine began.
        progress: told of each file.

    Raises:
        SettingsError: the source is no home, the target another home or something else, or one
            lies within the other.
        ConflictError: the target has commits that the source lacks, or another copy or a run is
            under way there.
        TableError: a store is out of reach, or a file isn't what was sent.
    """
    refuse_overlap(source, target)
    origin = opened_home(source)
    goal = Objects(target)
    if target.folder is None:
        refuse_held(goal)
    number = claim(origin, goal)
    files, left_out = survey(origin)
    existing = {key: item for key, item in goal.list().items() if not is_left_out(key)}
    refuse_apart(origin, goal, files, existing)
    begin(origin, goal, take_over, was_whole=len(existing) > 1)
    done = _Copying(origin, goal, files, existing, progress).run()
    copy = _verified(goal, done, Copy(str(source), str(target), number))
    copy.left_out = left_out
    goal.delete(COPYING)
    return copy


class _Copying:
    """The stages of one copy."""

    def __init__(
        self,
        source: Objects,
        target: Objects,
        files: Mapping[str, Listed],
        existing: Mapping[str, Listed],
        progress: Progress,
    ) -> None:
        self._source = source
        self._target = target
        self._files = files
        self._existing = existing
        self._progress = progress

    def run(self) -> dict[str, _Done]:
        """Bring the target to what the source has; what each file is, by key."""
        done: dict[str, _Done] = {}
        ordered = sorted(self._files, key=lambda key: (stage_of(key), log_of(key) or "", key))
        for stage, keys in groupby(ordered, key=stage_of):
            done |= self._stage(stage, [*keys])
            if stage == Stage.LOGS:
                failpoint("copy.logs")
        return done

    def _stage(self, stage: Stage, keys: list[str]) -> dict[str, _Done]:
        """Files side by side, but those of one log one after the other, as they were committed."""
        chains = [[*chain] for _, chain in groupby(keys, key=lambda key: log_of(key) or key)]
        done: dict[str, _Done] = {}
        with ThreadPoolExecutor(SENDERS) as pool:
            try:
                for part in pool.map(self._chain, chains):
                    done |= part
                    self._progress(stage, len(done), len(keys))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return done

    def _chain(self, keys: list[str]) -> dict[str, _Done]:
        return {key: self._file(key) for key in keys}

    def _file(self, key: str) -> _Done:
        existing = self._existing.get(key)
        try:
            if existing is not None:
                proof = same_bytes(self._source, self._target, key, self._files[key], existing)
                if proof is not None:
                    tag = existing.tag if proof == "tag" else None
                    return _Done(None, existing.size, tag, was_sent=False)
            fingerprint = self._send(key)
            failpoint("copy.sent")
        except FileNotFoundError:
            raise TableError(
                explain(
                    f"{self._source.address}/{key}",
                    expected="the file that was listed when the copy began",
                    found="none",
                    mend="run the copy again: maintenance removed it meanwhile",
                )
            ) from None
        return _Done(fingerprint, fingerprint.size, None, was_sent=True)

    def _send(self, key: str) -> Fingerprint:
        if not is_final(key) and self._files[key].size > PART:
            return self._target.take(self._source, key)
        content = self._source.read(key)
        if not is_final(key):
            self._target.write(key, content)
        elif not self._target.create(key, content):
            raise apart(self._target, key)
        return Fingerprint.of([content])


def _verified(target: Objects, done: Mapping[str, _Done], copy: Copy) -> Copy:
    """The copy's figures, once each file of the target is what it has to be; or TableError."""
    stored = target.list()
    for key, file in done.items():
        item = stored.get(key)
        if item is None or item.size != file.size:
            raise _not_as_sent(target, key, "none" if item is None else f"{item.size} bytes")
        if file.was_sent:
            copy.sent, copy.sent_bytes = copy.sent + 1, copy.sent_bytes + file.size
        else:
            copy.same, copy.same_bytes = copy.same + 1, copy.same_bytes + file.size
    with ThreadPoolExecutor(SENDERS) as pool:
        proofs = Counter(pool.map(lambda key: _proof(target, key, done[key], stored[key]), done))
    copy.by_tag, copy.by_reading = proofs["tag"], proofs["read"]
    copy.extra = sum(key not in done and not is_left_out(key) for key in stored)
    return copy


def _proof(target: Objects, key: str, file: _Done, item: Listed) -> Proof:
    """How a file was verified; TableError where it isn't what was sent."""
    if file.fingerprint is None:  # it was compared before anything was sent
        return "read" if file.tag is None else "tag"
    if file.fingerprint.has_tag(item.tag):
        return "tag"
    stored = Fingerprint.of(target.blocks(key))
    if stored.sha256 != file.fingerprint.sha256:
        raise _not_as_sent(target, key, f"SHA-256 {stored.sha256[:16]}")
    return "read"


def _not_as_sent(target: Objects, key: str, found: str) -> TableError:
    return TableError(
        explain(
            f"{target.address}/{key}",
            expected="the bytes that were sent",
            found=found,
            mend="run the copy again; if it comes back, look at the store or the disk",
        )
    )
