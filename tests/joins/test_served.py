"""`known_by: served`: every engine against a loop over all loads and rows.

A world is a history of commits to a view's table, of releases that name its versions, and of loads
that made releases live in two stores, backwards too (a rollback).
"""

from __future__ import annotations

import shutil
import time
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers.training import join_stream
from vidtopics.contracts import VIDEO_STATISTICS
from vidtopics.errors import TableError
from vidtopics.joins import matches
from vidtopics.releases.loads import record
from vidtopics.releases.served import ANY, servings
from vidtopics.tables import Commit, Tables
from vidtopics.tables.deltalake_engine import append
from vidtopics.tables.pins import read_pins
from vidtopics.tables.releases import Release
from vidtopics.tables.releases import append as append_releases
from vidtopics.tables.schemas import arrow_schema

VIEW = VIDEO_STATISTICS
STORES = ["a/0/vt", "b/0/vt"]


class Row(NamedTuple):
    video: str
    event: int
    value: int | None
    version: int
    created: int


class Load(NamedTuple):
    at: int
    store: str
    release: int


class World(NamedTuple):
    commits: list[list[tuple[str, int, int | None]]]  # per version, from 1 on
    releases: list[int]  # the version that each names, from release 1 on
    loads: list[Load]
    asks: list[tuple[str, int]]


def created_of(version: int) -> int:
    return 10 * version


def rows_of(world: World) -> list[Row]:
    return [
        Row(video, event, value, version, created_of(version))
        for version, rows in enumerate(world.commits, 1)
        for video, event, value in rows
    ]


def oracle(world: World, store: str) -> list[int | None]:
    """Per ask: of the rows of the version that is live then the one with the latest (event,
    created); of several stores that with the greatest version counts."""
    answers = []
    for video, at in world.asks:
        live = {load.store: load.release for load in sorted(world.loads) if load.at <= at}
        versions = [world.releases[n - 1] for s, n in live.items() if store in (ANY, s)]
        held = [
            row
            for row in rows_of(world)
            if versions and row.version <= max(versions) and row.video == video and row.event <= at
        ]
        best = max(held, key=lambda row: (row.event, row.created), default=None)
        answers.append(best.value if best else None)
    return answers


def fill(tables: Tables, world: World) -> None:
    """The world's commits, releases and loads in a home."""
    shutil.rmtree(tables.home / "tables", ignore_errors=True)
    for version, rows in enumerate(world.commits, 1):
        created = created_of(version)
        plain = [
            {
                "video_id": video,
                **dict.fromkeys([c.name for c in VIEW.values], value),
                "event_timestamp": event,
                "created_timestamp": created,
                "value_hash": 1,
            }
            for video, event, value in rows
        ]
        batch = pa.Table.from_pylist(plain, schema=arrow_schema(VIEW)).to_batches()
        commit = Commit("j", created, created, rows=len(rows), created_min_us=created)
        append(VIEW, tables.delta(VIEW, create=True), iter(batch), commit)
    log = [
        Release(number, "released", 0, number, {VIEW.name: version})
        for number, version in enumerate(world.releases, 1)
    ]
    append_releases(tables, log, run=1)
    for number, load in enumerate(sorted(world.loads)):
        record(tables, load.release, load.store, number, load.at)


def spine_of(world: World) -> pa.Table:
    times = pa.array([at for _, at in world.asks], pa.int64()).cast(pa.timestamp("us", "UTC"))
    videos = pa.array([video for video, _ in world.asks], pa.string())
    return pa.table({"video_id": videos, "event_timestamp": times})


def kernel(tables: Tables, world: World, store: str) -> list[int | None]:
    rows, spine = rows_of(world), spine_of(world)
    times = np.array([at for _, at in world.asks], np.int64)
    at = matches(
        spine.select(["video_id"]),
        times,
        pa.table({"video_id": pa.array([row.video for row in rows], pa.string())}),
        np.array([row.event for row in rows], np.int64),
        np.array([row.created for row in rows], np.int64),
        known_by=times,
        served=servings(tables, [VIEW], store)[VIEW.name],
    )
    return [rows[i].value if i >= 0 else None for i in at.tolist()]


def stream(tables: Tables, world: World, store: str) -> list[int | None]:
    reader = spine_of(world).to_reader(max_chunksize=2)
    joined = join_stream(tables, reader, [VIEW], served=store, chunk_rows=3).read_all()
    return list(joined["video_clicks"].to_pylist())


def feast(tables: Tables, world: World, store: str) -> list[int | None]:
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.data_format import DeltaFormat
    from feast.types import Int64

    config = RepoConfig(
        project="served",
        provider="local",
        registry=str(tables.home / "registry.db"),
        entity_key_serialization_version=3,
        offline_store={
            "type": "vidtopics.stores.delta.DeltaOfflineStore",
            "root": str(tables.home / "tables"),
            "known_by": "served",
        },
        online_store=None,
    )
    project = FeatureStore(config=config)
    if not project.list_feature_views():
        video = Entity(name="video", join_keys=["video_id"], value_type=ValueType.STRING)
        source = FileSource(
            path=VIEW.name,
            file_format=DeltaFormat(),
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
        )
        fields = [Field(name="video_clicks", dtype=Int64)]
        view = FeatureView(name=VIEW.name, entities=[video], schema=fields, source=source)
        project.apply([video, view])
    job = project.get_historical_features(
        spine_of(world).to_pandas(), [f"{VIEW.name}:video_clicks"]
    )
    return list(job.to_arrow()["video_clicks"].to_pylist())


def spark(tables: Tables, world: World, store: str) -> list[int | None]:
    from spark_jobs.training_set import join, read
    from vidtopics.jobs.session import session

    engine = session("served")
    numbered = spine_of(world).append_column("row_no", pa.array(range(len(world.asks)), pa.int64()))
    joined = join(
        engine.createDataFrame(numbered),
        [(VIEW, read(engine, tables.delta(VIEW)))],
        served=servings(tables, [VIEW], store),
    )
    return list(joined.toArrow().sort_by("row_no")["video_clicks"].to_pylist())


# Release 2 is bad, and rolled back at 60; release 3 has its values of before again.
ROLLBACK = World(
    commits=[[("x", 5, 1)], [("x", 30, 99), ("y", 30, 98)], [("x", 65, 1), ("y", 65, None)]],
    releases=[1, 2, 3],
    loads=[
        Load(20, STORES[0], 1),
        Load(50, STORES[0], 2),
        Load(60, STORES[0], 1),
        Load(70, STORES[0], 3),
    ],
    asks=[(video, at) for at in (19, 20, 49, 50, 59, 60, 69, 70, 80) for video in ("x", "y")],
)
SEEN = {
    "x": [None, 1, 1, 99, 99, 1, 1, 1, 1],
    "y": [None, None, None, 98, 98, None, None, None, None],
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return Tables(tmp_path_factory.mktemp("served"))


ENGINES = {"kernel": kernel, "stream": stream}


@pytest.mark.parametrize("name", [*ENGINES, "feast"])
def test_a_join_before_during_and_after_a_bad_release_gives_what_consumers_saw(
    tables: Tables, name: str
) -> None:
    fill(tables, ROLLBACK)
    expected = [value for pair in zip(SEEN["x"], SEEN["y"], strict=True) for value in pair]
    assert oracle(ROLLBACK, ANY) == expected
    assert (ENGINES | {"feast": feast})[name](tables, ROLLBACK, ANY) == expected


VERSIONS, VIDEOS = st.integers(1, 4), st.sampled_from(["x", "y"])
KEYED = st.tuples(VIDEOS, st.integers(0, 9), st.none() | st.integers(0, 9))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    commits = draw(
        st.lists(
            st.lists(KEYED, min_size=1, max_size=3, unique_by=lambda row: row[:2]),
            min_size=4,
            max_size=4,
        )
    )
    releases = sorted(draw(st.lists(VERSIONS, min_size=1, max_size=4)))
    load = st.builds(
        Load, st.integers(0, 60), st.sampled_from(STORES), st.integers(1, len(releases))
    )
    loads = draw(st.lists(load, min_size=1, max_size=6, unique_by=lambda x: x[:2]))
    asks = draw(st.lists(st.tuples(VIDEOS, st.integers(0, 70)), min_size=1, max_size=8))
    return World(commits, releases, loads, asks)


QUIET = settings(suppress_health_check=list(HealthCheck))


@settings(QUIET, max_examples=10)
@given(world=worlds())
def test_random_worlds_equal_the_oracle_in_feast(tables: Tables, world: World) -> None:
    fill(tables, world)
    assert feast(tables, world, ANY) == oracle(world, ANY)


def test_without_it_a_row_counts_from_its_commit_on(tables: Tables) -> None:
    fill(tables, ROLLBACK)
    joined = join_stream(tables, spine_of(ROLLBACK).to_reader(), [VIEW]).read_all()
    assert joined["video_clicks"].to_pylist()[:4] == [1, None, 1, None]  # at 19: known from 10 on


@settings(QUIET, max_examples=40)
@given(world=worlds(), named=st.booleans())
def test_random_worlds_equal_the_oracle(tables: Tables, world: World, named: bool) -> None:
    fill(tables, world)
    store = world.loads[0].store if named else ANY
    expected = oracle(world, store)
    for name, engine in ENGINES.items():
        assert engine(tables, world, store) == expected, name


@pytest.mark.slow
@settings(QUIET, max_examples=8)
@given(world=worlds())
def test_random_worlds_equal_the_oracle_on_spark(tables: Tables, world: World) -> None:
    fill(tables, world)
    assert spark(tables, world, ANY) == oracle(world, ANY)


def test_where_nothing_went_live_the_error_says_so(tables: Tables) -> None:
    fill(tables, ROLLBACK._replace(loads=[]))
    with pytest.raises(TableError, match=r"loads: expected a load, found none\. Mend: vidtopics m"):
        stream(tables, ROLLBACK, ANY)
    fill(tables, ROLLBACK)
    with pytest.raises(TableError, match="expected a load of c/vt, found loads of a/0/vt"):
        stream(tables, ROLLBACK, "c/vt")


def test_the_same_result_again_is_that_of_the_loads_of_then(tables: Tables) -> None:
    far = 2**55  # a time of the spine that is still to come
    world = ROLLBACK._replace(loads=ROLLBACK.loads[:2], asks=[("x", far)])
    fill(tables, world)
    first = join_stream(tables, spine_of(world).to_reader(), [VIEW], served=ANY).read_all()
    assert first["video_clicks"].to_pylist() == [99]
    record(tables, 1, STORES[0], 9, time.time_ns() // 1000)
    assert stream(tables, world, ANY) == [1]
    pins = read_pins(first)
    again = join_stream(tables, spine_of(world).to_reader(), [VIEW], served=ANY, pins=pins)
    assert again.read_all() == first
    with pytest.raises(TableError, match="pin of view video_statistics: expected served any"):
        join_stream(tables, spine_of(world).to_reader(), [VIEW], pins=pins)
