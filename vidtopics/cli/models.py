"""`vidtopics models`: topic model versions, what they learned, and where each is in force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from vidtopics.cli.common import DEFAULT_HOME, AsJson, ServedHome, print_json

if TYPE_CHECKING:
    from vidtopics.topic_models import Version


def models(home: ServedHome = DEFAULT_HOME, as_json: AsJson = False) -> None:
    """List topic model versions: as of when, what they learned, and which releases are of them."""
    from vidtopics.releases.loads import live_now, read_loads
    from vidtopics.tables import Tables
    from vidtopics.tables.releases import in_force, read_log, released
    from vidtopics.tables.stamps import now_us
    from vidtopics.topic_models import in_force as model_in_force
    from vidtopics.topic_models import versions

    tables = Tables(home)
    log = read_log(tables)
    next_run = model_in_force(tables.home, as_of_us=now_us(), releases=log)
    current = in_force(log)
    live = {load.release_id for load in live_now(read_loads(tables)).values()}
    rows = []
    for version in versions(tables.home):
        own = [row.release_id for row in released(log) if row.topic_model == version.number]
        uses = {
            "next run": next_run is not None and version.number == next_run.number,
            "release in force": current is not None and current.release_id in own,
            "online": bool(live.intersection(own)),
        }
        rows.append((version, own, [name for name, is_used in uses.items() if is_used]))
    if as_json:
        print_json(
            {
                "models": [
                    {**plain(version), "releases": own, "in_force": used}
                    for version, own, used in rows
                ]
            }
        )
        return
    _show(rows)


def plain(version: Version) -> dict[str, Any]:
    """A version's manifest with times as text."""
    from vidtopics.times import moment

    names = ("as_of", "created", "trained")
    times = {name: moment(getattr(version, f"{name}_us")) for name in names}
    left_out = {f"{name}_us" for name in names} | {"shape", "key", "comparable"}
    return times | {k: v for k, v in asdict(version).items() if k not in left_out}


def figures(version: Version) -> str:
    """What a version learned, for people.

    >>> from types import SimpleNamespace
    >>> evaluation = {"videos": 200, "topics": 12, "born": 2, "retired": 1, "loss_primary": 0.51}
    >>> figures(SimpleNamespace(evaluation=evaluation, epoch=1))
    '200 videos, 12 topics (2 born, 1 retired), epoch 1'
    """
    known: Mapping[str, Any] = version.evaluation
    changes = ", ".join(f"{known[name]} {name}" for name in ("born", "retired") if name in known)
    return (
        f"{known.get('videos', '?')} videos, {known.get('topics', '?')} topics"
        f"{f' ({changes})' if changes else ''}, epoch {version.epoch}"
    )


def _show(rows: list[tuple[Version, list[int], list[str]]]) -> None:
    from rich.table import Table

    from vidtopics.cli.show import as_text, out
    from vidtopics.times import moment

    table = Table(box=None, header_style="bold")
    for name in ("model", "as of (UTC)", "trained (UTC)", "from"):
        table.add_column(name, no_wrap=True)
    for name in ("learned", "releases", "in force"):
        table.add_column(name, overflow="fold")
    for version, releases, uses in rows:
        times = (moment(us)[:16].replace("T", " ") for us in (version.as_of_us, version.trained_us))
        table.add_row(
            str(version.number),
            *times,
            str(version.previous or ""),
            as_text(figures(version)),
            ", ".join(map(str, releases)),
            ", ".join(uses),
        )
    out.print(table)
