"""A delivery that changes 1% of the videos: rows rewritten and CPU seconds, beside a full run.

A script: `python -m benchmarks.increment [--videos 20000] [--home DIR]`. It makes a catalogue with
tags, stored encodings (the encoders' own work is left out on both sides) and a log; a first process
trains and runs all jobs, a second one runs them after a delivery in which half of a percent of the
videos are new, as many have another title and tags, and a percent of the log is new.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from producers.content.weights import encoder_identity
from vidtopics.contracts import (
    CLICKS,
    DERIVED,
    IMPRESSIONS,
    VIDEO_CATALOG,
    VIDEO_CONTENT_ENCODING,
    VIDEO_TAGS,
    Table,
)
from vidtopics.jobs.job import Run
from vidtopics.jobs.pipeline import find, run_jobs
from vidtopics.settings import Settings, load
from vidtopics.tables import Commit, Tables
from vidtopics.tables.commits import latest_commit
from vidtopics.tables.schemas import arrow_schema

DAY_US = 86_400_000_000
FIRST_US = 20_500 * DAY_US
THEMES, TAGS_A_THEME, IMAGE, TITLE = 200, 12, 1280, 384
LOG_ROWS_A_VIDEO = 10
SHARE = 0.01
MOST_ROWS, MOST_CPU = 0.02, 0.05


def deliver(tables: Tables, ids: NDArray[np.int64], day: int, settings: Settings) -> None:
    """Videos of a day with their tags, encodings and impressions; an id again is a correction."""
    rng = np.random.default_rng(day)
    at = FIRST_US + day * DAY_US
    names, theme = [f"v{i:07d}" for i in ids], ids % THEMES
    contents = [f"{name}-{day}" for name in names]
    times = {"event_timestamp": at, "created_timestamp": at}
    videos = [
        {"video_id": name, "title": content, "cover": "", "content_hash": content}
        | {"primary_classes": [f"p{t % 20}"], "secondary_classes": [f"s{t}"]}
        | {"published_at": FIRST_US, "removed_at": None, **times}
        for name, content, t in zip(names, contents, theme.tolist(), strict=True)
    ]
    chosen = rng.integers(0, TAGS_A_THEME, (len(ids), 4))
    tags = [
        {"video_id": name, "tag": tag, "spelling": tag, "source": "tags", **times}
        for name, t, row in zip(names, theme.tolist(), chosen.tolist(), strict=True)
        for tag in sorted({f"t{t}-{j}" for j in row})
    ]
    commit = Commit("ingest", at, at, live=True)
    for table, rows in ((VIDEO_CATALOG, videos), (VIDEO_TAGS, tags)):
        schema = arrow_schema(table, table.timed_columns)
        tables.publish(table, pa.Table.from_pylist(rows, schema=schema), commit, changes=True)
    _publish_encodings(tables, contents, theme, at, settings)
    _publish_log(tables, names, at, rng)


def _publish_encodings(
    tables: Tables, contents: list[str], theme: NDArray[np.int64], at: int, settings: Settings
) -> None:
    rng = np.random.default_rng(7)
    centres = [rng.normal(size=(THEMES, width)) for width in (IMAGE, TITLE)]
    noise = np.random.default_rng(at % 2**32)
    image, title = (c[theme] + noise.normal(size=(len(theme), c.shape[1])) for c in centres)
    columns = {
        "content_hash": contents,
        "encoder": [encoder_identity(settings.content)] * len(theme),
        "image_encoding": list(image.astype(np.float32)),
        "title_encoding": list(title.astype(np.float32)),
        "has_image": [True] * len(theme),
        "has_title": [True] * len(theme),
        "event_timestamp": [at] * len(theme),
        "created_timestamp": [at] * len(theme),
    }
    rows = pa.table(columns, schema=arrow_schema(VIDEO_CONTENT_ENCODING))
    widths = {"image_width": IMAGE, "title_width": TITLE}
    commit = Commit("ingest", at, at, live=True)
    tables.publish(VIDEO_CONTENT_ENCODING, rows, commit, widths=widths)


def _publish_log(tables: Tables, names: list[str], at: int, rng: np.random.Generator) -> None:
    count = LOG_ROWS_A_VIDEO * len(names)
    when = np.sort(rng.integers(at, at + DAY_US // 2, count)).tolist()
    users = rng.integers(0, len(names), count).tolist()
    shown = [
        {"event_id": f"{at}-{i}", "user_id": f"u{user}", "video_id": names[i % len(names)]}
        | {"request_id": None, "position": None, "event_timestamp": us, "created_timestamp": us}
        for i, (us, user) in enumerate(zip(when, users, strict=True))
    ]
    commit = Commit("ingest", at + DAY_US, at + DAY_US, live=True)
    for table, rows in (
        (IMPRESSIONS, shown),
        (CLICKS, [{**r, "watch_seconds": None} for r in shown[::9]]),
    ):
        schema = arrow_schema(table, table.timed_columns)
        tables.publish(table, pa.Table.from_pylist(rows, schema=schema), commit)


def run_all(home: Path, day: int, settings: Settings) -> None:
    """One process of `vidtopics run` as of the end of a day."""
    run = Run.backfill(Tables(home), settings, FIRST_US + (day + 1) * DAY_US)
    decision = run_jobs(run, find([]))
    assert decision is not None


def measure(home: Path, day: int) -> float:
    """CPU seconds of a process that does it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "benchmarks.increment", "--home", str(home), "--run", str(day)]
    # As the command does: threads of torch that wait don't count.
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    subprocess.run(command, check=True, env=environment)  # noqa: S603
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def written(tables: Tables, table: Table) -> tuple[int, int]:
    """Rows that the last run wrote, and rows that hold."""
    run = Run.backfill(tables, Settings(), FIRST_US + 2 * DAY_US)
    commit = latest_commit(tables.commits(table), run.as_of_us)
    return commit.rows if commit else 0, len(run.read(table, *table.key))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=20_000)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--run", type=int, help="only run all jobs as of the end of this day")
    options = parser.parse_args()
    settings = load(Path(__file__).parents[1] / "conf" / "demo.yaml")
    if options.run is not None:
        run_all(options.home, options.run, settings)
        return
    with tempfile.TemporaryDirectory() as folder:
        tables = Tables(options.home or folder)
        tables.home.mkdir(parents=True, exist_ok=True)
        changed = max(2, round(SHARE * options.videos))
        deliver(tables, np.arange(options.videos), 0, settings)
        full = measure(tables.home, 0)
        start = options.videos - changed // 2
        deliver(tables, np.arange(start, start + changed), 1, settings)
        increment = measure(tables.home, 1)
        lines = [f"{options.videos:,} videos, {changed} new or changed; encoders not counted"]
        for table in (t for t in DERIVED if t.kind == "history"):
            rows, holding = written(tables, table)
            limit = f"at most {MOST_ROWS:.0%}"
            lines.append(
                f"{table.name}: {rows:,} of {holding:,} rows ({rows / holding:.2%}, {limit})"
            )
        share = f"{increment / full:.1%}, at most {MOST_CPU:.0%}"
        lines.append(f"CPU: {increment:.1f} s of {full:.1f} s ({share})")
        print("\n".join(lines))  # noqa: T201


if __name__ == "__main__":
    main()
