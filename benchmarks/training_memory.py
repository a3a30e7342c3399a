"""Memory of training topics and of the jobs that infer with them, by the number of videos.

`python -m benchmarks.training_memory --videos 50000 100000 300000 --fit 3000000` makes homes of
synthetic videos with encodings of the paper's widths (1,536 and 768), tags and classes, trains a
topic model version, represents all videos and gives all of them topics, each in a fresh process.
Projections keep those widths in all, so that z has 2,304 values and a topic representation 2,432.
Memory is anonymous memory at its peak, as the pages of a scratch file can be taken back at any
time. Vectors lie in scratch files at every size, as they do in large catalogues: so what grows with
the videos is what is held for each beside its vectors, and `--widths` that are small show it in
less time. `--fit`
continues it to more videos by a line.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.children import in_child
from benchmarks.kmeans import anonymous_memory
from producers.content.weights import encoder_identity
from vidtopics import files
from vidtopics.contracts import VIDEO_CATALOG, VIDEO_CONTENT_ENCODING, VIDEO_TAGS
from vidtopics.jobs.inputs import lists, moments
from vidtopics.jobs.job import Run
from vidtopics.jobs.pipeline import find, train_topics
from vidtopics.sampling import sampled_peak
from vidtopics.settings import Settings, parse
from vidtopics.tables import Commit, Tables
from vidtopics.tables.schemas import arrow_schema

AT_US = 20_500 * 86_400_000_000
WIDTHS = (1_536, 768)
THEMES, TAGS_A_THEME, TAGS_A_VIDEO = 600, 4, 2
PART = 10_000
PROCESSES = ("training", "joint", "topics")
CONTENT = {
    "image_encoder": {"name": "inception_resnet_v2", "weights": "random:1"},
    "title_encoder": {"weights": "random:1"},
    "train_encoders": False,
    "expert_width": 256,
    "iterations": 20,
}


class Size(NamedTuple):
    """Videos, and GB at the peak of a training and of two jobs."""

    videos: int
    training: float
    joint: float
    topics: float


def settings_for(clusters: int, projection_width: int) -> Settings:
    """Those of both processes: K, and few steps, which hold the same memory as many.

    Block weights are set: their calibration takes minutes of K-means on 30,000 videos at most.
    """
    topics = {"clusters": clusters, "restarts": 1, "iterations": 1, "tag_weight": 1}
    content = {**CONTENT, "projection_width": projection_width}
    sections = {"content": content, "topics": topics, "tags": {"walk_length": 20}}
    return parse(sections, where="benchmarks.training_memory")


def make_home(home: Path, videos: int, widths: tuple[int, int]) -> None:
    """Publish a catalogue, its tags and the encodings of its contents."""
    tables, commit = Tables(home), Commit("ingest", AT_US, AT_US, live=True)
    home.mkdir(parents=True)
    names, theme = [f"v{i:07d}" for i in range(videos)], np.arange(videos) % THEMES
    catalogue = {
        "video_id": names,
        "title": [f"title of {name}" for name in names],
        "cover": pa.repeat("", videos),
        "primary_classes": lists_of([f"p{t % 50}" for t in theme.tolist()]),
        "secondary_classes": lists_of([f"s{t % 367}" for t in theme.tolist()]),
        "published_at": moments(np.repeat(AT_US, videos)),
        "removed_at": pa.nulls(videos),
        "content_hash": names,
    }
    pairs = {
        "video_id": np.repeat(names, TAGS_A_VIDEO),
        "tag": [
            f"t{t}-{(v + j) % TAGS_A_THEME}"
            for v, t in enumerate(theme.tolist())
            for j in range(TAGS_A_VIDEO)
        ],
        "source": pa.repeat("tags", videos * TAGS_A_VIDEO),
    }
    pairs["spelling"] = pairs["tag"]
    for table, columns in ((VIDEO_CATALOG, catalogue), (VIDEO_TAGS, pairs)):
        when = moments(np.repeat(AT_US, len(columns["video_id"])))
        timed = columns | {"event_timestamp": when, "created_timestamp": when}
        schema = arrow_schema(table, table.timed_columns)
        tables.publish(table, pa.table(timed, schema=schema), commit, changes=True)
    named = dict(zip(("image_width", "title_width"), widths, strict=True))
    for number, rows in enumerate(encodings(names, theme, widths)):
        part = Commit("ingest", AT_US, AT_US, live=True, inputs={"part": number})
        tables.publish(VIDEO_CONTENT_ENCODING, rows, part, widths=named)


def encodings(
    contents: Sequence[str], theme: NDArray[np.int64], widths: tuple[int, int]
) -> Iterator[pa.Table]:
    """Rows of the table of encodings, a part after the other: a theme's centre and noise."""
    rng, encoder = np.random.default_rng(0), encoder_identity(settings_for(1, 1).content)
    image, width = widths[0], sum(widths)
    centres = rng.standard_normal((THEMES, width), np.float32)
    for first in range(0, len(contents), PART):
        of_part = theme[first : first + PART]
        noise = rng.standard_normal((len(of_part), width), np.float32)
        vectors, every = centres[of_part] + noise, np.ones(len(of_part), bool)
        when = moments(np.repeat(AT_US, len(of_part)))
        columns = {
            "content_hash": contents[first : first + PART],
            "encoder": pa.repeat(encoder, len(of_part)),
            "image_encoding": lists(vectors[:, :image]),
            "title_encoding": lists(vectors[:, image:]),
            "has_image": every,
            "has_title": every,
            "event_timestamp": when,
            "created_timestamp": when,
        }
        yield pa.table(columns, schema=arrow_schema(VIDEO_CONTENT_ENCODING))


def lists_of(names: Sequence[str]) -> pa.ListArray:
    """One name a video, as a list."""
    return pa.ListArray.from_arrays(np.arange(len(names) + 1, dtype=np.int32), pa.array(names))


def training(home: str, clusters: int, width: int) -> Callable[[], float]:
    """Train the version of the home; the call returns GB at its peak."""
    run = _run(home, clusters, width)
    return _peak_of(lambda: train_topics(run))


def joint(home: str, clusters: int, width: int) -> Callable[[], float]:
    """Represent every video of the home; the call returns GB at its peak."""
    [job] = find(["video_joint_representation"])
    run = _run(home, clusters, width)
    return _peak_of(lambda: job.run(run))


def topics(home: str, clusters: int, width: int) -> Callable[[], float]:
    """Give topics to every video of the home; the call returns GB at its peak."""
    tags, job = find(["video_tag_embedding", "video_topics"])
    run = _run(home, clusters, width)
    tags.run(run)
    return _peak_of(lambda: job.run(run))


def _run(home: str, clusters: int, width: int) -> Run:
    return Run.backfill(Tables(home), settings_for(clusters, width), AT_US + 1)


def _peak_of(work: Callable[[], object]) -> Callable[[], float]:
    def call() -> float:
        in_files = patch.object(files, "LEAST_MAPPED", 1)
        with in_files, sampled_peak(anonymous_memory, every=0.05) as peak_gb:
            work()
        return peak_gb()

    return call


def measure(home: Path, videos: int, clusters: int, widths: tuple[int, int]) -> Size:
    """Make a home of that many videos, and measure all three."""
    make_home(home, videos, widths)
    arguments: dict[str, str | int] = {
        "home": str(home),
        "clusters": clusters,
        "width": sum(widths) // 2,
    }
    module = "benchmarks.training_memory"  # which run as a script is another
    peaks = (in_child(module, name, **arguments).result for name in PROCESSES)
    return Size(videos, *peaks)


def table(sizes: Sequence[Size], fit: int) -> str:
    """The sizes as Markdown, with a row by the line through them where `fit` is set."""
    head = "| videos | training, GB | joint representation, GB | topics, GB |"
    lines = [head, "|---|---|---|---|", *(_row(f"{s.videos:,}", s[1:]) for s in sizes)]
    if fit:
        videos, *columns = np.array(sizes, float).T
        ends = [float(np.polyval(np.polyfit(videos, column, 1), fit)) for column in columns]
        lines.append(_row(f"{fit:,}, by the line", ends))
    return "\n".join(lines)


def _row(name: str, gigabytes: Sequence[float]) -> str:
    return f"| {name} | {' | '.join(f'{gb:.2f}' for gb in gigabytes)} |"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, nargs="+", required=True)
    parser.add_argument("--clusters", type=int, default=6_000)
    parser.add_argument("--widths", type=int, nargs=2, default=WIDTHS, help="of both encodings")
    parser.add_argument("--fit", type=int, default=0, help="videos to continue the table to")
    options = parser.parse_args()
    sizes = []
    for videos in options.videos:
        with tempfile.TemporaryDirectory() as folder:
            sizes.append(
                measure(Path(folder) / "home", videos, options.clusters, tuple(options.widths))
            )
        print(table(sizes, 0).splitlines()[-1], flush=True)  # noqa: T201
    print("\n" + table(sizes, options.fit))  # noqa: T201


if __name__ == "__main__":
    main()
