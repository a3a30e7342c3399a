"""A result is joined again from its pins, made by the stream or Feast's offline store."""

import json
from copy import deepcopy

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from feast import FeatureService, FeatureStore, RepoConfig
from released_home import DAY_US, START_US, fill, publish

from benchmarks.homes import release_tables
from feature_repo import feature_views
from feature_repo.entities import video
from vidtopics.cli import common
from vidtopics.contracts import EVENT_TIME, SERVICES, VIDEO_STATISTICS
from vidtopics.tables import Tables
from vidtopics.tables.pins import read_pins
from vidtopics.tables.schemas import TIMESTAMP

VIEWS = SERVICES["training_v1"]
AT = START_US + DAY_US + DAY_US // 2


@pytest.fixture
def home(tmp_path):
    """Forty videos with three versions in both views; released."""
    tables = Tables(tmp_path / "home")
    fill(tables, 40, versions=3)
    return tables


@pytest.fixture
def spine(tmp_path):
    """200 rows at two times, of videos that are there and that aren't."""
    videos = np.random.default_rng(2).integers(0, 45, 200)
    times = np.where(np.arange(200) % 2, AT, AT - DAY_US // 4)
    rows = pa.table(
        {"video_id": [f"v{i}" for i in videos], EVENT_TIME: pa.array(times).cast(TIMESTAMP)}
    )
    path = tmp_path / "spine.parquet"
    pq.write_table(rows, path)
    return path


def join(home, spine, out, *options):
    return common.run(["join", str(spine), str(out), "--home", str(home.home), *map(str, options)])


def change_past(home, *, known_day):
    """Another row of every video that holds from the first day on, known from a later one."""
    event, created = (np.full(40, START_US + days * DAY_US) for days in (1, known_day))
    values = dict.fromkeys([c.name for c in VIDEO_STATISTICS.values], [9] * 40)
    publish(home, VIDEO_STATISTICS, event, created, np.zeros(40, bool), values)
    now_us = START_US + 9 * DAY_US
    release_tables(home, as_of_us=now_us, created_us=now_us, settings="test")


def compact_and_vacuum(home):
    for view in VIEWS:
        delta = DeltaTable(home.uri(view))
        delta.optimize.compact()
        assert delta.vacuum(0, dry_run=False, enforce_retention_duration=False)


def feast_store(home, tmp_path, **offline):
    """A project of the views of `training_v1` over the home's tables."""
    views = [deepcopy(getattr(feature_views, view.name)) for view in VIEWS]
    config = RepoConfig(
        project="pins",
        registry=str(tmp_path / "registry.db"),
        online_store=None,
        entity_key_serialization_version=3,
        offline_store={
            "type": "vidtopics.stores.delta.DeltaOfflineStore",
            "root": str(home.home / "tables"),
            **offline,
        },
    )
    store = FeatureStore(config=config)
    store.apply([deepcopy(video), *views, FeatureService(name="training_v1", features=views)])
    return store


def feast_join(store, spine):
    service = store.get_feature_service("training_v1")
    return store.get_historical_features(pq.read_table(spine).to_pandas(), service).to_arrow()


def test_a_file_is_joined_again_byte_for_byte(home, spine, tmp_path):
    assert join(home, spine, tmp_path / "first.parquet") == 0
    change_past(home, known_day=1)
    assert join(home, spine, tmp_path / "today.parquet") == 0
    first = pq.read_table(tmp_path / "first.parquet")
    assert not pq.read_table(tmp_path / "today.parquet").equals(first)
    again = tmp_path / "again.parquet"
    assert join(home, spine, again, "--pins", tmp_path / "first.parquet") == 0
    assert again.read_bytes() == (tmp_path / "first.parquet").read_bytes()


def test_a_delta_table_is_joined_again_with_the_same_rows_and_pins(home, spine, tmp_path):
    assert join(home, spine, tmp_path / "first") == 0
    change_past(home, known_day=1)
    assert join(home, spine, tmp_path / "again", "--pins", tmp_path / "first") == 0
    first, again = (DeltaTable(tmp_path / name).to_pyarrow_table() for name in ("first", "again"))
    assert again.equals(first)
    assert read_pins(tmp_path / "again") == read_pins(tmp_path / "first")


def test_a_version_that_is_gone_is_joined_again_by_its_cut(home, spine, tmp_path):
    assert join(home, spine, tmp_path / "first.parquet") == 0
    change_past(home, known_day=8)
    compact_and_vacuum(home)
    again = tmp_path / "again.parquet"
    assert join(home, spine, again, "--pins", tmp_path / "first.parquet") == 0
    assert again.read_bytes() == (tmp_path / "first.parquet").read_bytes()


@pytest.mark.parametrize("gone", [False, True], ids=["the version opens", "the version is gone"])
@pytest.mark.parametrize("known_by", [False, True])
def test_the_stream_joins_again_what_feast_joined(home, spine, tmp_path, gone, known_by):
    store = feast_store(home, tmp_path, known_by=known_by)
    first = feast_join(store, spine)
    pq.write_table(first, tmp_path / "feast.parquet")
    change_past(home, known_day=8)
    if gone:
        compact_and_vacuum(home)
    out = tmp_path / "again.parquet"
    assert join(home, spine, out, "--pins", tmp_path / "feast.parquet") == 0
    assert pq.read_table(out).equals(first, check_metadata=True)


@pytest.mark.parametrize("gone", [False, True], ids=["the version opens", "the version is gone"])
def test_feast_joins_again_what_the_stream_joined(home, spine, tmp_path, gone):
    assert join(home, spine, tmp_path / "first.parquet") == 0
    change_past(home, known_day=8)
    if gone:
        compact_and_vacuum(home)
    first = pq.read_table(tmp_path / "first.parquet")
    store = feast_store(home, tmp_path, known_by=True, pins=str(tmp_path / "first.parquet"))
    assert feast_join(store, spine).equals(first, check_metadata=True)


def test_pins_that_do_not_fit_are_refused_before_anything_is_written(home, spine, tmp_path, capsys):
    assert join(home, spine, tmp_path / "first.parquet") == 0
    plain = tmp_path / "plain.parquet"
    pq.write_table(pa.table({"x": [1]}), plain)
    pins = read_pins(tmp_path / "first.parquet").plain()
    half, damaged = tmp_path / "half.json", tmp_path / "damaged.json"
    half.write_text(json.dumps({"views": {"video_topics": pins["views"]["video_topics"]}}))
    damaged.write_text("{")
    for wrong, message in {
        plain: "expected pins in its metadata, found none",
        half: "expected a pin of video_statistics, found pins of video_topics",
        damaged: "expected a Parquet file or Delta table of a result, or JSON",
        tmp_path / "nowhere.json": "No such file",
        home.home: "expected a Parquet file or Delta table of a result, or JSON",
    }.items():
        capsys.readouterr()
        assert join(home, spine, tmp_path / "out.parquet", "--pins", wrong) == 2, wrong
        assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out.parquet").exists()


def test_a_spine_beyond_the_pins_of_a_version_that_is_gone_is_refused(
    home, spine, tmp_path, capsys
):
    """Feast's pins count up to the spine's latest time; rows after it may have been others."""
    pq.write_table(feast_join(feast_store(home, tmp_path), spine), tmp_path / "feast.parquet")
    compact_and_vacuum(home)
    rows = pq.read_table(spine)
    later = pa.array([AT + 1] * len(rows)).cast(TIMESTAMP)
    pq.write_table(rows.set_column(1, EVENT_TIME, later), tmp_path / "later.parquet")
    out = tmp_path / "out.parquet"
    assert join(home, tmp_path / "later.parquet", out, "--pins", tmp_path / "feast.parquet") == 2
    assert "no time of the spine after those" in " ".join(capsys.readouterr().err.split())
    assert not out.exists()
