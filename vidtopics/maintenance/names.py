"""Which versions of a home's tables are named, and which few of them hold the files of all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

from vidtopics.contracts import RELEASES
from vidtopics.releases.loads import live_now, read_loads
from vidtopics.tables import Tables
from vidtopics.tables.releases import newest_released
from vidtopics.tables.whole import readable

Names = Mapping[str, frozenset[int]]
"""Per table the versions that are named."""


def named_versions(tables: Tables, *, since_us: int) -> Names:
    """The versions that a release of any state names which was recorded at `since_us` or later.

    So do, however old they are, the release in force and those that an online store shows its
    readers (the load log has them, be the store pinned to one or behind). A release's own times
    don't say when it was recorded: a backfill's lie in the past.
    """
    recent = sum(commit.rows for commit in tables.commits(RELEASES).committed_since(since_us))
    names: dict[str, set[int]] = {}
    with readable(RELEASES):
        remaining = {release.release_id for release in islice(newest_released(tables), 1)}
        remaining |= {load.release_id for load in live_now(read_loads(tables)).values()}
        for place, row in enumerate(tables.newest_rows(RELEASES)):
            is_recent = place < recent
            if not is_recent and not remaining:
                break
            if is_recent or row["release_id"] in remaining:
                for name, version in dict(row["versions"]).items():
                    names.setdefault(name, set()).add(version)
            remaining.discard(row["release_id"])
    return {name: frozenset(versions) for name, versions in names.items()}


def covering_versions(named: Iterable[int], removals: Iterable[int]) -> list[int]:
    """Of the versions named, the fewest whose data files are those of all.

    Between two commits that took files out (`removals`) a version has all files of those before.

    >>> covering_versions([3, 5, 9, 12], removals=[6, 13])
    [5, 12]
    >>> covering_versions([3, 5], removals=[])
    [5]
    """
    bounds = sorted(removals)
    last: dict[int, int] = {}
    for version in sorted(named):
        last[sum(bound <= version for bound in bounds)] = version
    return [*last.values()]
