"""Fig. 4 as a page with pictures: covers of a topic, and pairs that differ by their cover alone."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from producers.topics.pairs import Pair, unlike_covers
from producers.unit_length import to_unit_length
from vidtopics.contracts import TOPICS, VIDEO_TAG_EMBEDDING, VIDEO_TOPICS
from vidtopics.errors import TableError, explain
from vidtopics.evaluate.retraining import read_catalogue
from vidtopics.explore.covers import thumbnail
from vidtopics.files import write_whole
from vidtopics.jobs.inputs import vectors
from vidtopics.jobs.job import Run

if TYPE_CHECKING:
    from vidtopics.evaluate.retraining import Catalogue

TOPIC_ROWS, COVERS, PAIRS = 3, 8, 6
HEAD = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>Covers of topics (Fig. 4)</title>"
    "<meta name=viewport content='width=device-width'><style>"
    ":root{color-scheme:light dark}"
    "body{font:15px/1.5 system-ui;max-width:64rem;margin:2rem auto;padding:0 1rem}"
    "div{display:grid;grid-template-columns:repeat(auto-fill,minmax(7rem,1fr));gap:.8rem}"
    "figure{margin:0;font-size:.8rem}img{width:7rem}"
    "h2{margin:1.6rem 0 .2rem;font-size:1rem}p{margin:0 0 .5rem}"
    "</style>"
)
ROWS_TEXT = (
    "The topics with most covers, each with the covers nearest to its centre, nearest first. A "
    "heading has the topic's ID, the terms that its titles and tags have more often than others, "
    "and its number of videos."
)
PAIRS_TEXT = (
    "Two videos of one topic whose titles and tags are alike and whose covers are not: topics of "
    "covers alone would part them. 1 is the same direction; covers of any two videos here have a "
    "mean cosine of {mean:.2f}."
)


def write_figure_4(run: Run, output: Path) -> int:
    """Write the page of a run's topics; returns the number of pairs.

    Rows: covers nearest to the centres of the topics with most covers, as the paper has them.
    Pairs: two videos of one topic whose titles and tags are alike and whose covers are not, which
    is what topics of several modalities bring and covers alone can't.

    Raises:
        TableError: no two videos of a topic have a cover, a title and tags.
    """
    catalogue = read_catalogue(run)
    topic, weight = _first_topics(run, catalogue)
    image, title = (to_unit_length(x).astype(np.float32) for x in _blocks(catalogue))
    pairs = unlike_covers(image, title, _tags(run, catalogue), topic, count=PAIRS)
    if not pairs:
        raise TableError(
            explain(
                "Fig. 4",
                expected="two videos of a topic with cover, title and tags",
                found="none",
                mend="ingest covers, titles and tags, then run the jobs",
            )
        )
    labels = _labels(run)
    limit = run.settings.ingest.max_image_pixels
    parts = [
        HEAD,
        f"<h1>Covers of topics</h1><p>{ROWS_TEXT}</p>",
        *_rows(catalogue, topic, weight, labels, limit),
        "<h1>Alike in title and tags, unlike in cover, and of one topic</h1>",
        f"<p>{PAIRS_TEXT.format(mean=_mean_cosine(image))}</p>",
        *(_pair(catalogue, pair, _heading(topic, pair.first, labels), limit) for pair in pairs),
    ]
    write_whole(output, "\n".join(parts))
    return len(pairs)


def _blocks(catalogue: Catalogue) -> list[NDArray[np.float32]]:
    """Image and title encodings, zero where one is missing."""
    image, title, has_image, has_title = catalogue.encodings
    return [image * has_image[:, None], title * has_title[:, None]]


def _mean_cosine(unit: NDArray[np.float32]) -> float:
    """Mean cosine of two different rows, float32[N, W] of length 1 or zero; 0 below two of them.

    >>> _mean_cosine(np.array([[1, 0], [0, 1], [0.6, 0.8], [0, 0]], np.float32)).__round__(4)
    0.4667
    """
    count = int(unit.any(axis=1).sum())
    total = unit.sum(axis=0, dtype=np.float64)
    return float(total @ total - count) / max(count * (count - 1), 1)


def _heading(topic: NDArray[np.int64], row: int, labels: dict[int, str]) -> str:
    """The ID, label and number of videos of a video's topic."""
    number = int(topic[row])
    videos = int((topic == number).sum())
    terms = escape(labels.get(number, "without a label"))
    return f"Topic {number}: {terms} <small>({videos:,} videos)</small>"


def _first_topics(run: Run, catalogue: Catalogue) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Each video's first topic, -1 for none, and its weight."""
    rows = run.read(VIDEO_TOPICS)
    at = pc.index_in(catalogue.videos["video_id"], value_set=rows["video_id"].combine_chunks())
    topic = pc.list_element(rows["topic_ids"], 0).take(at)
    weight = pc.list_element(rows["topic_weights"], 0).take(at)
    return (
        pc.fill_null(topic, -1).to_numpy().astype(np.int64),
        pc.fill_null(weight, 0).to_numpy().astype(np.float32),
    )


def _tags(run: Run, catalogue: Catalogue) -> NDArray[np.float32]:
    """Tag embeddings, zero where a video has none."""
    rows = run.read(VIDEO_TAG_EMBEDDING, "video_id", "tag_embedding")
    at = pc.index_in(catalogue.videos["video_id"], value_set=rows["video_id"].combine_chunks())
    present = pc.is_valid(at).to_numpy()
    embeddings = vectors(rows["tag_embedding"])
    tags = np.zeros((len(present), embeddings.shape[1]), np.float32)
    tags[present] = embeddings[pc.drop_null(at).to_numpy()]
    return tags


def _labels(run: Run) -> dict[int, str]:
    rows = run.read(TOPICS, "topic_id", "label_terms").to_pylist()
    return {row["topic_id"]: ", ".join(row["label_terms"]) for row in rows}


def _rows(
    catalogue: Catalogue,
    topic: NDArray[np.int64],
    weight: NDArray[np.float32],
    labels: dict[int, str],
    limit: int,
) -> list[str]:
    """A line of covers for each of the topics that have most of them."""
    has_cover = catalogue.encodings[2]
    numbers, sizes = np.unique(topic[has_cover & (topic >= 0)], return_counts=True)
    parts = []
    for number in numbers[np.argsort(-sizes, kind="stable")[:TOPIC_ROWS]]:
        videos = np.flatnonzero(has_cover & (topic == number))
        nearest = videos[np.argsort(-weight[videos], kind="stable")[:COVERS]]
        figures = "".join(_figure(catalogue, int(row), limit) for row in nearest)
        heading = _heading(topic, int(videos[0]), labels)
        parts.append(f"<h2>{heading}</h2><div>{figures}</div>")
    return parts


def _pair(catalogue: Catalogue, pair: Pair, heading: str, limit: int) -> str:
    figures = "".join(_figure(catalogue, row, limit) for row in (pair.first, pair.second))
    cosines = f"cosine of covers {pair.image:.2f}, titles {pair.title:.2f}, tags {pair.tag:.2f}"
    return f"<h2>{heading}</h2><p>{cosines}</p><div>{figures}</div>"


def _figure(catalogue: Catalogue, row: int, limit: int) -> str:
    video = catalogue.videos.slice(row, 1).to_pylist()[0]
    tags = ", ".join(catalogue.tags[row].as_py()[:5])
    title = escape(video["title"] or video["video_id"])
    picture, _ = thumbnail(video["cover"], limit)
    image = f'<img alt="{title}" src="data:image/webp;base64,{picture}">' if picture else ""
    caption = f"{title}<br><small>{escape(tags) or 'no tags'}</small>"
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"
