"""Releases into Redis: what came since the last one, idempotent, in any order, right after a crash.

:func:`materialize` moves by release. Each view has a watermark per bucket that the last write of the bucket moves; a run that died is
simply run again: rows that were written already are no news to the store.
"""

from vidtopics.materialization.releases import Moved, materialize
from vidtopics.materialization.writer import StoreWriter

__all__ = ["Moved", "StoreWriter", "materialize"]
