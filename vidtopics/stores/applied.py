"""What Feast's registry was made from, for a process that has nothing new to register.

It needs no Feast then, whose import takes seconds.
"""

from __future__ import annotations

import json
from pathlib import Path

from vidtopics.files import write_whole

REGISTRY = "registry.db"
APPLIED = "registry.applied"
"""A file of the home: the digest of what was applied, and the registry's state after it."""


def registry_state(registry: Path) -> dict[str, int]:
    """What tells a registry file from the one that another writer puts in its place."""
    state = registry.stat()
    return {"mtime_ns": state.st_mtime_ns, "bytes": state.st_size}


def read_applied(home: Path) -> str | None:
    """The digest of what was applied; None where another has written the registry since.

    >>> read_applied(Path("/nowhere"))
    """
    try:
        applied = json.loads((home / APPLIED).read_text(encoding="utf-8"))
        digest: str = applied.pop("digest")
        return digest if applied == registry_state(home / REGISTRY) else None
    except (OSError, ValueError, KeyError):
        return None


def record_applied(home: Path, digest: str) -> None:
    """Record that the registry as it is now has what `digest` stands for."""
    stamp = {"digest": digest, **registry_state(home / REGISTRY)}
    write_whole(home / APPLIED, json.dumps(stamp))
