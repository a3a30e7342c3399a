"""Every kind of run of `vidtopics materialize`, beside the server's first load.

They run one after the other on one server.

After each run the keys are counted, and values of videos that got a new row are read by the client
and compared with what was published. Before the range is loaded their keys are deleted: it has to
bring them back.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import redis

from benchmarks import homes
from benchmarks.data import DAY_US, START_US, rows, video_ids
from benchmarks.figures import Figure, Scale, Target, check, figure, timed
from vidtopics.contracts import VIDEO_TOPICS
from vidtopics.materialization import Moved, Span, backfill, materialize
from vidtopics.materialization.reconcile import reconcile
from vidtopics.online import OnlineClient
from vidtopics.settings import OnlineSettings
from vidtopics.tables import Tables

NAMES = ("topic_ids", "topic_weights")
SETTINGS = OnlineSettings(keep=timedelta(0))  # keys of one release are counted
RETAINING = OnlineSettings()
FIRST = "first load"
EVERY = "every value changes"
MB = 2**20
Steps = dict[str, float]


@dataclass(frozen=True)
class Sizes:
    """Videos, rows of each, rows of the new commit, values to reconcile, and rounds."""

    videos: int
    versions: int
    new: int
    sample: int
    rounds: int

    @property
    def rows(self) -> int:
        """Of the first load."""
        return self.videos * self.versions


SIZES: dict[Scale, Sizes] = {
    "full": Sizes(200_000, 5, 2_000, 10_000, 3),
    "smoke": Sizes(5_000, 5, 50, 100, 1),
}


@dataclass(frozen=True)
class Server:
    """A server that is loaded, and the table that it is loaded from."""

    tables: Tables
    connection: redis.Redis
    sizes: Sizes

    def step(
        self,
        name: str,
        run: Callable[[], list[Moved]],
        read: int,
        written: int,
        shown: pa.Table | None = None,
    ) -> float:
        """Seconds of a run whose counts, keys and values of `shown` were checked."""
        seconds, moved = timed(run)
        check(
            f"rounds: {name}, rows read and written",
            [(m.read, m.written) for m in moved],
            [(read, written)],
        )
        check(f"rounds: {name}, keys", len(self.keys()), self.sizes.videos)
        if shown is not None:
            features = OnlineClient(self.connection).read(
                VIDEO_TOPICS.name, shown["video_id"].to_pylist(), NAMES
            )
            for column in NAMES:
                check(
                    f"rounds: {name}, {column}",
                    features[column].tolist(),
                    shown[column].to_pylist(),
                )
        return seconds

    def keys(self) -> set[bytes]:
        """Of every generation of the view, whose number is 1."""
        return set(self.connection.scan_iter(match="vt:*:1:{*", count=10_000))

    def delete(self, ids: Sequence[str]) -> None:
        """Delete the keys of these videos."""
        names = {i.encode() for i in ids}
        gone = [key for key in self.keys() if key.partition(b"}")[2] in names]
        check("rounds: keys to delete", len(gone), len(ids))
        self.connection.delete(*gone)

    def peak(self) -> int:
        """The highest `used_memory` since the server began; no command sets it back."""
        return int(cast("dict[str, int]", self.connection.info("memory"))["used_memory_peak"])


def run(scale: Scale) -> list[Figure]:
    """Seconds and memory of each kind of run; server and tables are fresh for each round."""
    sizes = SIZES[scale]
    with homes.folder() as home:
        homes.fill(home, (VIDEO_TOPICS.name,), sizes.videos, sizes.versions)
        measured = [_round(home, sizes) for _ in range(sizes.rounds)]
    return _figures(sizes, {name: [steps[name] for steps in measured] for name in measured[0]})


def _round(made: Path, sizes: Sizes) -> Steps:
    with (
        homes.folder() as home,
        homes.redis_server() as url,
        redis.Redis.from_url(url) as connection,
    ):
        shutil.copytree(made, home, dirs_exist_ok=True)
        tables = Tables(home)
        at = Server(tables, connection, sizes)
        empty = homes.used_memory(url)
        load = partial(materialize, tables, connection, SETTINGS)
        old, new = _rows(sizes)
        steps = {FIRST: at.step(FIRST, load, sizes.rows, sizes.videos, old)}
        steps["memory"] = (homes.used_memory(url) - empty) / MB
        steps["up to date"] = at.step("up to date", load, 0, 0, old)
        homes.publish(tables, VIDEO_TOPICS, new)
        homes.release_tables(tables)
        steps["new rows"] = at.step("new rows", load, sizes.new, sizes.new, new)
        total, before = sizes.rows + sizes.new, at.peak()
        steps["full"] = at.step("full", partial(load, full=True), total, sizes.videos, new)
        check("rounds: two generations take more than one", at.peak() > before, True)
        steps["peak"] = (at.peak() - empty) / MB
        at.delete(new["video_id"].to_pylist())
        since = START_US + sizes.versions * DAY_US
        span = Span(since, since + DAY_US)
        steps["range"] = at.step(
            "range", partial(backfill, tables, connection, SETTINGS, span), total, sizes.new, new
        )
        steps["reconcile"], reconciled = timed(
            partial(reconcile, tables, connection, SETTINGS, sample=sizes.sample)
        )
        check("rounds: reconcile", [(f.keys, f.faults) for f in reconciled], [(sizes.videos, {})])
        every = _changed(sizes)
        homes.publish(tables, VIDEO_TOPICS, every)
        homes.release_tables(tables)
        shown = every.take(np.arange(sizes.sample))
        # Last, as from here on each value has two versions: the old release is retained.
        load = partial(materialize, tables, connection, RETAINING)
        steps[EVERY] = at.step(EVERY, load, sizes.videos, sizes.videos, shown)
        return steps


def _changed(sizes: Sizes) -> pa.Table:
    """A new row of every video."""
    event = np.full(sizes.videos, START_US + (sizes.versions + 2) * DAY_US)
    ids = video_ids(np.arange(sizes.videos))
    return rows(VIDEO_TOPICS, ids, event, event + homes.HOUR_US, seed=sizes.versions + 1)


def _rows(sizes: Sizes) -> tuple[pa.Table, pa.Table]:
    """The latest rows of some videos as `homes.fill` makes them, and the rows after those."""
    chosen = np.sort(np.random.default_rng(5).choice(sizes.videos, sizes.new, replace=False))
    every = np.full(sizes.videos, START_US)
    last = rows(
        VIDEO_TOPICS, video_ids(np.arange(sizes.videos)), every, every, seed=sizes.versions - 1
    )
    event = START_US + sizes.versions * DAY_US + np.arange(sizes.new) % 24 * homes.HOUR_US
    new = rows(VIDEO_TOPICS, video_ids(chosen), event, event + homes.HOUR_US, seed=sizes.versions)
    return last.take(chosen), new


def _figures(sizes: Sizes, steps: dict[str, list[float]]) -> list[Figure]:
    total = f"{sizes.rows + sizes.new:,} rows read"
    share = partial(figure, "rounds", compare="share")
    after = {
        "up to date": ("up to date", "no rows read"),
        "new rows": ("one commit of new rows", f"{sizes.new:,} rows"),
        "full": ("--full", f"{total}, {sizes.videos:,} written"),
        "range": ("--since, --until", f"{total}, {sizes.new:,} written"),
        "reconcile": ("reconcile", f"{total}, about {sizes.sample:,} values compared"),
    }
    changed = "a load that changes every value, the release before retained"
    return [
        figure(
            "rounds", f"{sizes.rows:,} rows of {sizes.videos:,} videos, {FIRST}", "s", steps[FIRST]
        ),
        figure("rounds", f"{FIRST}, growth of used_memory", "MB", steps["memory"]),
        *(
            share(what, unit="s", ours=steps[name], peer=steps[FIRST], peer_name=FIRST, note=note)
            for name, (what, note) in after.items()
        ),
        share(
            changed,
            unit="s",
            ours=steps[EVERY],
            peer=steps[FIRST],
            peer_name=FIRST,
            targets=[Target("share", 1.5)],
            note=f"{sizes.videos:,} rows",
        ),
        share(
            "--full, peak of used_memory",
            unit="MB",
            ours=steps["peak"],
            peer=steps["memory"],
            peer_name=f"after the {FIRST}",
            note="above the empty server",
        ),
    ]
