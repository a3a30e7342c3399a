"""Releases into Redis: what came since the last one, idempotent, in any order, right after a crash.

:func:`materialize` moves by release, one run at a time. Each view has a watermark per bucket that
the last write of the bucket moves; a run that died is simply run again: rows that were written
already are no news to the store. docs/materialization.md has the rules.
"""

from vidtopics.materialization.changes import Span
from vidtopics.materialization.lock import LockError
from vidtopics.materialization.releases import IncompleteError, backfill, materialize, preview
from vidtopics.materialization.reports import Moved
from vidtopics.materialization.writer import StoreWriter

__all__ = [
    "IncompleteError",
    "LockError",
    "Moved",
    "Span",
    "StoreWriter",
    "backfill",
    "materialize",
    "preview",
]
