"""`known_by: served`: what could have been served, by the release log and the load log.

A row came in a version of its table; it could be served while a release with that version, or a
later one, was live. `docs/time.md` has the rule with an example.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from vidtopics.contracts import LOADS, Table
from vidtopics.errors import TableError, explain
from vidtopics.joins import Commits, Serving
from vidtopics.releases.loads import Load, read_loads
from vidtopics.tables import FOREVER
from vidtopics.tables.releases import read_log

if TYPE_CHECKING:
    from vidtopics.tables import Tables

ANY = "any"
"""The store that had a release first, whichever it was."""
NOTHING = -1
"""The version that is served of a table that the live release doesn't name."""


def servings(
    tables: Tables, views: Sequence[Table], store: str = ANY, until_us: int = FOREVER
) -> dict[str, Serving]:
    """When the rows of each view were served; all of one number of stretches.

    Args:
        tables: the home's tables.
        views: contracts of the views.
        store: as the load log names it; any: a row is known once one of them served it.
        until_us: loads after this time don't count.

    Raises:
        TableError: no release ever went live there.
    """
    loads = read_loads(tables)
    chosen = [load for load in loads if store in (ANY, load.store) and load.live_us <= until_us]
    if not chosen:
        stores = sorted({load.store for load in loads})
        raise TableError(
            explain(
                str(tables.path(LOADS)),
                expected="a load" if store == ANY else f"a load of {store}",
                found=f"loads of {', '.join(stores)}" if stores else "none",
                mend="vidtopics materialize, or join with what was committed",
            )
        )
    versions = {row.release_id: row.versions for row in read_log(tables)}
    steps = {view.name: list(served_versions(chosen, versions, view.name)) for view in views}
    falls = {us for name in steps for us in _falls(steps[name])}
    return {
        view.name: Serving.of(steps[view.name], _commits(tables, view), falls) for view in views
    }


def served_versions(
    loads: Iterable[Load], versions: Mapping[int, Mapping[str, int]], table: str
) -> Iterator[tuple[int, int]]:
    """(time, the greatest version of a table that a store serves from then on).

    >>> loads = [Load(10, "a", 1, 1), Load(20, "b", 1, 2), Load(30, "a", 2, 2), Load(40, "b", 2, 1)]
    >>> list(served_versions(loads, {1: {"topics": 5}, 2: {"topics": 6}}, "topics"))
    [(10, 5), (20, 6), (30, 6), (40, 6)]
    """
    live: dict[str, int] = {}
    for us, together in groupby(sorted(loads), key=lambda load: load.live_us):
        for load in together:
            live[load.store] = versions.get(load.release_id, {}).get(table, NOTHING)
        yield us, max(live.values())


def _falls(steps: Sequence[tuple[int, int]]) -> Iterator[int]:
    return (after[0] for before, after in pairwise(steps) if after[1] < before[1])


def _commits(tables: Tables, view: Table) -> Commits:
    log = (commit for commit in tables.commits(view) if commit.rows)
    return Commits.of((commit.created_us, commit.version) for commit in log)
