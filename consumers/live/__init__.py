"""A release's rows with the events since its as-of time folded in, as the next run would.

Recall, features and ranking read :class:`consumers.live.store.LiveStore` as they read a release;
what it adds to a row is one function for each view (:mod:`~consumers.live.users`,
:mod:`~consumers.live.topics`, :mod:`~consumers.live.videos`), which a replay calls again with what
was logged (:class:`consumers.live.part.LivePart`).
"""

from consumers.live.alone import ReleaseAlone
from consumers.live.part import LivePart
from consumers.live.rules import LiveRules
from consumers.live.store import LiveStore

__all__ = ["LivePart", "LiveRules", "LiveStore", "ReleaseAlone"]
