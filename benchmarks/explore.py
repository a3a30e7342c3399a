"""The topic page of a synthetic catalogue: what writing it costs, and how fast it opens.

`python -m benchmarks.explore --videos 3000000 --topics 6000` publishes two releases, a day apart,
writes the page in a process of its own, and opens it in Chromium beside a page that only says
"Topics", in turns. `--vectors` gives every video both blocks, as wide as the
paper's, so that "why is it here" is computed. `--home DIR` keeps tables and page, and takes them up
again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from benchmarks import homes
from benchmarks.children import in_child
from benchmarks.data import DAY_US, START_US
from benchmarks.figures import timed
from producers.topics.neighbours import near_duplicates
from vidtopics import contracts
from vidtopics.contracts import Table
from vidtopics.explore import write_page
from vidtopics.tables import Commit, Tables
from vidtopics.tables.deltalake_engine import append
from vidtopics.tables.schemas import arrow_schema

BATCH = 200_000
COVERS = 64
TAG_WIDTH, JOINT_WIDTH = 128, 2_304
WIDTH = TAG_WIDTH + JOINT_WIDTH  # paper, IV-B
VECTOR_ROWS = 8_192
NEW = 0.05
"""Share of the videos that came on the second day."""
ROUNDS = 5
SYLLABLES = 32

# u(i, k): a number in [0, 1) that depends on a video and a purpose alone.
_MACROS = """
CREATE MACRO u(i, k) AS (hash(i * 64 + k) % 1000003) / 1000003.0;
CREATE MACRO word(n) AS syllables[1 + n % 32] || syllables[1 + n // 32 % 32]
  || syllables[1 + n // 1024 % 32];
CREATE MACRO first_topic(i) AS CAST(floor($topics * pow(u(i, 0), 1.5)) AS BIGINT);
CREATE MACRO video(i) AS 'v' || lpad(CAST(i AS VARCHAR), 9, '0')"""

_CATALOG = """
SELECT video(i) AS video_id,
  array_to_string(list_transform(range(6), lambda k: word(
    CAST(30000 * pow(u(i, 8 + k), 2) AS BIGINT))), ' ') AS title,
  covers[1 + CAST(hash(i) % 64 AS BIGINT)] AS cover,
  ['class ' || first_topic(i) % 50] AS primary_classes,
  ['class ' || first_topic(i) % 367] AS secondary_classes,
  make_timestamptz($at) AS published_at, NULL AS removed_at,
  CAST(CASE WHEN i % 1000 = 1 THEN i - 1 ELSE i END AS VARCHAR) AS content_hash"""
_TAGS = """
SELECT video(i) AS video_id, tag, tag AS spelling, 'catalogue' AS source FROM (
  SELECT i, unnest(list_transform(range(5), lambda k: word(
    (first_topic(i) * 3 + k + CAST(u(i, 16 + k) * 2 AS BIGINT) * 977) % 12000) || k)) AS tag"""
_TOPICS_OF = """
SELECT video(i) AS video_id,
  list_transform(range(8), lambda k: CASE WHEN k < n THEN first + k * 7 ELSE -1 END) AS topic_ids,
  list_transform(range(8), lambda k: CASE WHEN k < n THEN top - 0.03 * k ELSE 0 END)
    AS topic_weights,
  list_transform(topic_ids, lambda t: CASE WHEN t < 0 THEN -1 ELSE (t - 1) % 77 + 1 END)
    AS parent_topic_ids,
  n AS topic_count, u(i, 3) < 0.1 AS below_threshold, 1 AS topic_epoch
FROM (SELECT i, 1 + CAST(floor(u(i, 1) * 7) AS BIGINT) AS n,
  1 + (first_topic(i) + $day * CAST(u(i, 2) < 0.01 AS BIGINT)) % ($topics - 50) AS first,
  0.4 + 0.5 * u(i, 4) AS top"""
_STATISTICS = """
SELECT video(i) AS video_id, exposures + $day * (exposures // 10) AS video_exposures,
  CAST(floor((exposures + $day * (exposures // 10)) * 0.2 * u(i, 6)) AS BIGINT) AS video_clicks,
  CAST(exposures AS FLOAT) AS video_decayed_exposures,
  CAST(0.1 * exposures AS FLOAT) AS video_decayed_clicks, CAST(1 AS BIGINT) AS video_decayed_at
FROM (SELECT i, CAST(floor(10 / (0.0001 + u(i, 5))) AS BIGINT) AS exposures"""
_QUEUES = """
SELECT topic_ids[k] AS topic_id, video_id,
  row_number() OVER (PARTITION BY topic_ids[k] ORDER BY topic_weights[k] DESC, video_id)
    AS queue_position,
  'topic' AS queue_level, 0.2 AS queue_ctr, 100 AS queue_exposures, 20.0 AS queue_clicks,
  false AS fresh, 1 AS topic_epoch
FROM (SELECT *, unnest(range(1, 3)) AS k FROM ({topics}))
WHERE topic_ids[k] > 0 QUALIFY queue_position <= 200"""


def build(home: Path, videos: int, topics: int, *, vectors: bool = False) -> None:
    """Publish and release the tables of two days; with `vectors` both blocks of every video."""
    tables = Tables(home)
    covers = _covers(home)
    new = int(videos * (1 - NEW))
    if vectors:
        for table, batches in _vectors(videos):
            _publish(tables, table, batches, START_US)
    for day, ids in ((0, (0, new)), (1, (new, videos))):
        at = START_US + day * DAY_US
        with _generator(covers, topics, day) as query:
            rows = f"FROM (SELECT range AS i FROM range({ids[0]}, {ids[1]}))"
            upto = f"FROM (SELECT range AS i FROM range({ids[1]}))"
            changed = f"{upto[:-1]} WHERE range >= {ids[0]} OR u(range, 2) < 0.01)"
            _publish(tables, contracts.VIDEO_CATALOG, query(f"{_CATALOG} {rows}", at), at)
            _publish(tables, contracts.VIDEO_TAGS, query(f"{_TAGS} {rows})", at), at)
            assigned = _TOPICS_OF + " " + (changed if day else rows) + ")"
            _publish(tables, contracts.VIDEO_TOPICS, query(assigned, at), at)
            counted = f"{_STATISTICS} {upto})"
            _publish(tables, contracts.VIDEO_STATISTICS, query(counted, at), at)
            everything = f"{_TOPICS_OF} {upto})"
            queues = _QUEUES.format(topics=everything)
            _publish(tables, contracts.TOPIC_QUEUES, query(queues, at), at)
            if day == 0:
                _publish(tables, contracts.TOPICS, iter([_topics(topics)]), at)
        homes.release_tables(tables, as_of_us=at, created_us=at, quality={"topic_epoch": 1})


def _covers(home: Path) -> list[str]:
    """Files of noise and a gradient, as large as posters are."""
    folder = home / "covers"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    paths = []
    for number in range(COVERS):
        small = rng.integers(0, 255, (12, 9, 3), dtype=np.uint8)
        path = folder / f"{number}.jpg"
        Image.fromarray(small).resize((360, 480), Image.Resampling.BICUBIC).save(path, quality=85)
        paths.append(str(path))
    return paths


@contextmanager
def _generator(
    covers: list[str], topics: int, day: int
) -> Iterator[Callable[[str, int], Iterator[pa.RecordBatch]]]:
    """Rows of a query over video numbers, a batch at a time."""
    syllables = [a + b for a in "bdfgklmn" for b in "aeio"]
    assert len(syllables) == SYLLABLES
    with duckdb.connect(config={"memory_limit": "2GB"}) as con:
        con.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        con.execute(_MACROS.replace("$topics", str(topics)))
        literals = {"syllables": str(syllables), "covers": str(covers)}

        def query(sql: str, at: int) -> Iterator[pa.RecordBatch]:
            text = sql.replace("$topics", str(topics)).replace("$day", str(day))
            text = text.replace("$at", str(at))
            names = ", ".join(f"{value} AS {name}" for name, value in literals.items())
            text = text.replace("SELECT range AS i", f"SELECT range AS i, {names}")
            yield from con.sql(text).to_arrow_reader(BATCH)

        yield query


def _topics(count: int) -> pa.RecordBatch:
    rng = np.random.default_rng(2)
    groups = rng.normal(size=(50, WIDTH))
    centroids = groups[np.arange(count) % 50] + 0.7 * rng.normal(size=(count, WIDTH))
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    flat = pa.array(centroids.astype(np.float32).reshape(-1))
    day = pa.scalar(START_US, pa.int64()).cast(pa.timestamp("us", "UTC"))
    names = [[f"term{n % 977}", f"word{n}", f"label{n % 31}"] for n in range(count)]
    parents = np.arange(count) % 77 + 1
    return pa.record_batch(
        {
            "topic_id": pa.array(np.arange(1, count + 1)),
            "centroid": pa.FixedSizeListArray.from_arrays(flat, WIDTH),
            "size": pa.array(np.full(count, 1)),
            "label_terms": pa.array(names),
            "topic_epoch": pa.array(np.full(count, 1)),
            "born": pa.repeat(day, count),
            "retired": pa.nulls(count),
            "split_from": pa.array(np.zeros(count, np.int64)),
            "parent_topic_id": pa.array(parents),
            "parent_label_terms": pa.array([[f"group{n}"] for n in parents.tolist()]),
        }
    )


def _vectors(videos: int) -> Iterator[tuple[Table, Iterator[pa.RecordBatch]]]:
    """Random unit vectors of every video, a batch at a time."""
    tag = {"tag_count": pa.array([5]), "tag_embedding": TAG_WIDTH}
    joint = {
        "content_blocks": pa.array([3]),
        "encoder_version": pa.array(["1"]),
        "joint_embedding": JOINT_WIDTH,
    }

    def rows(columns: dict[str, Any]) -> Iterator[pa.RecordBatch]:
        rng = np.random.default_rng(4)
        for start in range(0, videos, VECTOR_ROWS):
            numbers = np.arange(start, min(start + VECTOR_ROWS, videos))
            ids = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 9, "0")
            arrays = {"video_id": pc.binary_join_element_wise("v", ids, "")}
            for name, value in columns.items():
                if isinstance(value, int):
                    drawn = rng.normal(size=(len(numbers), value)).astype(np.float32)
                    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
                    flat = pa.array(drawn.reshape(-1))
                    arrays[name] = pa.FixedSizeListArray.from_arrays(flat, value)
                else:
                    arrays[name] = pa.repeat(value[0], len(numbers))
            yield pa.record_batch(arrays)

    yield contracts.VIDEO_TAG_EMBEDDING, rows(tag)
    yield contracts.VIDEO_JOINT_REPRESENTATION, rows(joint)


def _publish(tables: Tables, table: Table, batches: Iterator[pa.RecordBatch], at: int) -> None:
    """Append rows that hold and are known from a time on, or replace a snapshot's."""
    schema = arrow_schema(table)
    moment = pa.scalar(at, pa.int64()).cast(pa.timestamp("us", "UTC"))

    def timed_rows() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            columns = {name: batch[name] for name in batch.schema.names}
            columns |= {
                contracts.EVENT_TIME: pa.repeat(moment, len(batch)),
                contracts.CREATED_TIME: pa.repeat(moment, len(batch)),
                contracts.VALUE_HASH: pa.array(np.ones(len(batch), np.int64)),
            }
            arrays = [columns[field.name].cast(field.type) for field in schema]
            yield pa.record_batch(arrays, schema=schema)

    commit = Commit("benchmark", at, at, rows=1, created_min_us=at)
    commit = replace(commit, ordinal=len(tables.commits(table)) + 1)
    mode: Literal["append", "overwrite"] = "overwrite" if table.kind == "snapshot" else "append"
    append(table, tables.delta(table, create=True), timed_rows(), commit, mode=mode)


def writing(home: str) -> Callable[[], dict[str, Any]]:
    """The call that is measured: writes the page of a home."""

    def call() -> dict[str, Any]:
        output = Path(home) / "explore.html"
        page = write_page(Tables(home), output, find_pairs=near_duplicates)
        return {
            "page_bytes": page.size,
            "folder_bytes": page.folder_size,
            "parts": sum(1 for _ in page.folder.rglob("*.js")) if page.folder else 0,
        }

    return call


def opening(page: Path) -> dict[str, float]:
    """Medians in ms: the page with its first covers, a search, and a page that says "Topics"."""
    from playwright.sync_api import sync_playwright

    plain = page.with_name("plain.html")
    plain.write_text("<!doctype html><title>x</title><h1>Topics</h1>", encoding="utf-8")
    seconds: dict[str, list[float]] = {"plain": [], "open": [], "topic": [], "search": []}
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for _ in range(ROUNDS):
            for name, value in _visit(browser, plain.as_uri(), page.as_uri()).items():
                seconds[name].append(value)
        browser.close()
    return {name: round(1000 * median(values)) for name, values in seconds.items()}


def _visit(browser: Any, plain: str, page: str) -> dict[str, float]:
    """Seconds until each is there, in a new tab."""
    tab = browser.new_page()
    seconds = {"plain": timed(lambda: _goto(tab, plain, "h1"))[0]}
    tab.close()
    tab = browser.new_page()
    seconds["open"] = timed(lambda: _goto(tab, page, ".morning span"))[0]
    first = tab.locator(".card h2 a").first
    seconds["topic"] = timed(lambda: _click(tab, first))[0]
    word = tab.locator(".tiles a").first.get_attribute("title").split()[0]
    seconds["search"] = timed(lambda: _search(tab, word))[0]
    tab.close()
    return seconds


def _goto(tab: Any, address: str, selector: str) -> None:
    tab.goto(address)
    tab.wait_for_selector(selector)


def _click(tab: Any, link: Any) -> None:
    link.click()
    tab.wait_for_selector(".queue img")


def _search(tab: Any, word: str) -> None:
    tab.fill("#query", word)
    tab.wait_for_selector("h1:has-text('Results')")
    tab.wait_for_selector(".tiles a")


def main(arguments: list[str]) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=100_000)
    parser.add_argument("--topics", type=int, default=1_000)
    parser.add_argument("--vectors", action="store_true", help="with both blocks, 2,432 wide")
    parser.add_argument("--home", type=Path)
    options = parser.parse_args(arguments)
    with homes.folder() as scratch:
        home = options.home or scratch
        if not (home / "tables").exists():
            build(home, options.videos, options.topics, vectors=options.vectors)
        child = in_child("benchmarks.explore", "writing", home=str(home))
        opened = opening(home / "explore.html")
    written = child.result
    lines = [
        f"{options.videos:,} videos, {options.topics:,} topics",
        f"written in {child.seconds:.0f} s, peak memory {child.peak_mb:,.0f} MB",
        f"page {written['page_bytes'] / 1e6:.1f} MB, "
        f"{written['parts']:,} parts of {written['folder_bytes'] / 1e6:,.0f} MB",
        *(
            f"{name}: {ms:,} ms ({ms / opened['plain']:.1f} times a page that says Topics)"
            for name, ms in opened.items()
        ),
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
