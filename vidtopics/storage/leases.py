"""A lease in a bucket: one object that its holder renews by conditional requests.

The object is created where there is none (If-None-Match), and replaced only as it was read
(If-Match), so that of two who want it one gets it. Given back, it stays, with what its last holder
wrote. How long a holder has been silent is told by the store's clock alone: that of its last
renewal against that of an object which is written now.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from vidtopics.errors import ConflictError, SettingsError, explain

if TYPE_CHECKING:
    from vidtopics.storage.objects import Objects

LOCK = "run.lock"
CLOCK = "run.clock"
"""An object whose time is the store's now."""
STALE_S = 120.0
"""A holder that has been silent for so long is dead or stands still."""
NS = 1_000_000_000


@dataclass(frozen=True)
class Holding:
    """What the object says.

    `holder`: whatever the holder writes of itself; `place`: who else can tell that it is dead;
    `is_held`: false once it was given back; `id`, `renewals`: no two writings have the same bytes.
    """

    holder: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""
    is_held: bool = False
    id: str = ""
    renewals: int = 0

    def to_bytes(self) -> bytes:
        """As it is stored."""
        return json.dumps(asdict(self)).encode()


@dataclass(frozen=True)
class Stored:
    """A holding as the store has it: with its tag, and when it was renewed by the store's clock."""

    holding: Holding
    tag: str | None
    renewed_ns: int


def stored(objects: Objects) -> Stored | None:
    """Who holds the lease of a home, or held it last; None where nobody ever did.

    What isn't whole or of another kind is a holding of nobody, given back.
    """
    read = objects.read_listed(LOCK)
    if read is None:
        return None
    content, item = read
    try:
        holding = Holding(**json.loads(content))
    except (ValueError, TypeError):
        holding = Holding()
    return Stored(holding, item.tag, item.modified_ns)


def silent_s(objects: Objects, current: Stored) -> float:
    """Seconds since the lease was renewed, by the store's clock."""
    return max(0.0, (now_ns(objects) - current.renewed_ns) / NS)


def now_ns(objects: Objects) -> int:
    """The store's time, in nanoseconds since 1970; stores give whole seconds."""
    objects.write(CLOCK, b"")
    item = objects.head(CLOCK)
    return item.modified_ns if item else 0


def take(
    objects: Objects, holder: Mapping[str, Any], place: str, before: Stored | None
) -> Holding | None:
    """Take the lease in the place of what was read; None where another was first.

    Raises:
        SettingsError: the store has no conditional requests.
    """
    holding = Holding(holder, place, is_held=True, id=uuid4().hex)
    try:
        if not _put(objects, holding, before):
            return None
        _refuse_without_conditions(objects, holding)
    except NotImplementedError:
        raise _without_conditions(objects) from None
    return holding


def renew(objects: Objects, holding: Holding) -> Holding | None:
    """Renew a lease; None where another has it."""
    return _rewritten(objects, holding, is_held=True)


def give_back(objects: Objects, holding: Holding) -> None:
    """Give a lease back; one that another has is left alone."""
    _rewritten(objects, holding, is_held=False)


def is_own(holding: Holding, current: Stored | None) -> bool:
    """Whether a lease is still one's own."""
    return current is not None and current.holding.is_held and current.holding.id == holding.id


def refuse_held(objects: Objects) -> None:
    """ConflictError where a run holds the lease of a home that isn't to change meanwhile."""
    current = stored(objects)
    if current is None or not current.holding.is_held or silent_s(objects, current) > STALE_S:
        return
    holder = current.holding.holder
    raise ConflictError(
        explain(
            str(objects.address),
            expected="no run that writes to it",
            found=f"`{holder.get('command')}`, process {holder.get('pid')} on {holder.get('host')}",
            mend="wait for it",
        )
    )


def _rewritten(objects: Objects, holding: Holding, *, is_held: bool) -> Holding | None:
    current = stored(objects)
    if current is None or not is_own(holding, current):
        return None
    new = replace(holding, is_held=is_held, renewals=current.holding.renewals + 1)
    return new if _put(objects, new, current) else None


def _put(objects: Objects, holding: Holding, before: Stored | None) -> bool:
    if before is None:
        return objects.create(LOCK, holding.to_bytes())
    return objects.replace(LOCK, holding.to_bytes(), before.tag)


def _refuse_without_conditions(objects: Objects, holding: Holding) -> None:
    """SettingsError where the store overwrites what a conditional request may not."""
    other = replace(holding, id="a request that has to be refused", is_held=False)
    is_overwritten = objects.create(LOCK, other.to_bytes()) or objects.replace(
        LOCK, other.to_bytes(), '"0"'
    )
    if is_overwritten:
        raise _without_conditions(objects)


def _without_conditions(objects: Objects) -> SettingsError:
    return SettingsError(
        explain(
            str(objects.address),
            expected="a store with conditional writes (If-None-Match, If-Match)",
            found="one that overwrites what it may not",
            mend="use a store that has them, or work in a folder and copy the home: without them"
            " two runs could mix",
        )
    )
