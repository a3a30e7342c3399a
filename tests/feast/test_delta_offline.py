"""The offline store as Feast drives it, held to a plain loop over all rows."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from feast import (
    Entity,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    OnDemandFeatureView,
    RepoConfig,
    ValueType,
)
from feast.data_format import DeltaFormat
from feast.types import Float64, Int64, String
from feast_home import DAY_US, START, START_US, statistics, topics, write

from vidtopics.errors import TableError


def days(n: float) -> datetime:
    return START + timedelta(days=n)


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    """Statistics of ten videos: late rows, corrections, ties, tombstones."""
    rng = np.random.default_rng(5)
    records = []
    for video in range(10):
        for _ in range(6):
            event = int(rng.integers(1, 6))
            created = event + int(rng.integers(0, 4))
            if rng.random() < 0.2:
                records.append({"video_id": f"v{video}", "event": event, "created": created})
            else:
                records.append(
                    statistics(
                        f"v{video}", int(rng.integers(1, 99)), 1, event=event, created=created
                    )
                )
    unique = {(r["video_id"], r["event"], r["created"]): r for r in records}
    return list(unique.values())


@pytest.fixture(scope="module")
def home(tmp_path_factory, rows):
    home = tmp_path_factory.mktemp("offline")
    write(home, "video_statistics", rows)
    write(
        home,
        "video_topics",
        [
            topics("v1", 7, 3, event=1),
            topics("v1", 8, event=2, created=4),
            topics("v2", 5, event=3),
        ],
    )
    return home


def make_store(home, *, known_by=False, ttl=timedelta(0)) -> FeatureStore:
    config = RepoConfig(
        project="offline",
        provider="local",
        registry=str(home / f"registry-{known_by}-{ttl.days}.db"),
        entity_key_serialization_version=3,
        offline_store={
            "type": "vidtopics.stores.delta.DeltaOfflineStore",
            "root": str(home / "tables"),
            "known_by": known_by,
        },
        online_store=None,
    )
    store = FeatureStore(config=config)
    video = Entity(name="video", join_keys=["video_id"], value_type=ValueType.STRING)
    times = {
        "timestamp_field": "event_timestamp",
        "created_timestamp_column": "created_timestamp",
        "file_format": DeltaFormat(),
    }
    stats = FeatureView(
        name="stats",
        entities=[video],
        ttl=ttl,
        schema=[Field(name="video_id", dtype=String), Field(name="exposures", dtype=Int64)],
        source=FileSource(
            path="video_statistics", field_mapping={"video_exposures": "exposures"}, **times
        ),
    )
    topic = FeatureView(
        name="topics",
        entities=[video],
        ttl=timedelta(0),
        source=FileSource(path="video_topics", **times),
        schema=[Field(name="video_id", dtype=String), Field(name="topic_count", dtype=Int64)],
    )
    double = OnDemandFeatureView(
        name="double",
        sources=[stats],
        schema=[Field(name="twice", dtype=Float64)],
        mode="pandas",
        feature_transformation=_twice(),
    )
    store.apply([video, stats, topic, double])
    return store


def _twice():
    from feast.transformation.pandas_transformation import PandasTransformation

    def twice(frame: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"twice": frame["exposures"] * 2.0})

    return PandasTransformation(twice, "twice")


def oracle(rows, video, at, *, known_by, ttl_days=0):
    """The value of the latest (event, created) row known and held at `at` (days), or None."""
    held = [
        r
        for r in rows
        if r["video_id"] == video and r["event"] <= at and (not known_by or r["created"] <= at)
    ]
    best = max(held, key=lambda r: (r["event"], r["created"]), default=None)
    if best is None or (ttl_days and best["event"] < at - ttl_days):
        return None
    return best.get("video_exposures")


def spine(n=200, seed=1) -> pd.DataFrame:
    """Rows out of order, repeated, of unknown videos too; at full days and between."""
    rng = np.random.default_rng(seed)
    at = rng.integers(0, 20, n) / 2
    return pd.DataFrame(
        {
            "video_id": [f"v{i}" for i in rng.integers(0, 12, n)],
            "event_timestamp": [days(float(d)) for d in at],
            "label": rng.integers(0, 2, n),
        }
    )


@pytest.mark.parametrize("known_by", [False, True])
@pytest.mark.parametrize("ttl_days", [0, 2])
@pytest.mark.parametrize("how", ["config", "call"])
def test_each_row_gets_what_held_at_its_time(home, rows, known_by, ttl_days, how):
    frame = spine()
    store = make_store(home, known_by=known_by and how == "config", ttl=timedelta(days=ttl_days))
    flag = known_by and how == "call"
    joined = store.get_historical_features(
        frame, ["stats:exposures"], filter_by_created_timestamp=flag
    ).to_df()
    assert joined["label"].tolist() == frame["label"].tolist()
    assert joined["video_id"].tolist() == frame["video_id"].tolist()
    at = [(t - START) / timedelta(days=1) for t in frame["event_timestamp"]]
    expected = [
        oracle(rows, v, d, known_by=known_by, ttl_days=ttl_days)
        for v, d in zip(frame["video_id"], at, strict=True)
    ]
    assert [None if pd.isna(v) else int(v) for v in joined["exposures"]] == expected
    assert None in expected
    assert any(expected)


def test_views_join_side_by_side_with_full_names_and_on_demand_views(home, rows):
    frame = spine(20)
    features = ["stats:exposures", "topics:topic_count", "double:twice"]
    joined = (
        make_store(home).get_historical_features(frame, features, full_feature_names=True).to_df()
    )
    assert list(joined.columns) == [
        "video_id",
        "event_timestamp",
        "label",
        "stats__exposures",
        "topics__topic_count",
        "double__twice",
    ]
    once, twice = joined["stats__exposures"].astype(float), joined["double__twice"].astype(float)
    pd.testing.assert_series_equal(once * 2, twice, check_names=False)


def test_times_of_the_spine_in_other_zones_and_without_one(home, rows):
    utc = pd.DataFrame({"video_id": ["v1"] * 2, "event_timestamp": [days(3), days(5)]})
    zoned = utc.assign(event_timestamp=utc["event_timestamp"].dt.tz_convert("Asia/Tokyo"))
    naive = utc.assign(event_timestamp=utc["event_timestamp"].dt.tz_localize(None))
    store = make_store(home)
    exposures = [
        store.get_historical_features(f, ["stats:exposures"]).to_df()["exposures"].tolist()
        for f in (utc, zoned, naive)
    ]
    assert exposures[0] == exposures[1] == exposures[2]


def test_a_microsecond_before_is_before(home):
    at = [START_US + DAY_US - 1, START_US + DAY_US]
    frame = pd.DataFrame(
        {"video_id": ["v1"] * 2, "event_timestamp": pd.to_datetime(at, unit="us", utc=True)}
    )
    topic_counts = (
        make_store(home)
        .get_historical_features(frame, ["topics:topic_count"])
        .to_df()["topic_count"]
    )
    assert [None if pd.isna(v) else int(v) for v in topic_counts] == [None, 2]


def test_pull_latest_takes_the_latest_row_of_each_video(home, rows):
    store = make_store(home)
    view = store.get_feature_view("stats")
    job = store._get_provider().offline_store.pull_latest_from_table_or_query(
        store.config,
        view.batch_source,
        ["video_id"],
        ["video_exposures"],
        "event_timestamp",
        "created_timestamp",
        days(2),
        days(4),
    )
    exposures = {r["video_id"]: r["video_exposures"] for r in job.to_arrow().to_pylist()}
    within = [r for r in rows if 2 <= r["event"] <= 4]
    expected = {
        v: oracle([r for r in within if r["video_id"] == v], v, 99, known_by=False)
        for v in {r["video_id"] for r in within}
    }
    assert exposures == expected


def test_a_missing_table_a_missing_key_and_a_foreign_spine_are_named(home):
    store = make_store(home)
    with pytest.raises(TableError, match="expected the columns video_id"):
        store.get_historical_features(
            pd.DataFrame({"user": ["x"], "event_timestamp": [days(1)]}), ["stats:exposures"]
        ).to_df()
    with pytest.raises(
        TableError, match="expected a pandas DataFrame, a SELECT or None, found list"
    ):
        store.get_historical_features([{"video_id": "v1"}], ["stats:exposures"])
    view = store.get_feature_view("stats")
    view.batch_source.file_options.uri = "nowhere"
    with pytest.raises(
        TableError, match=r"source video_statistics, .*nowhere: expected a Delta table, found none"
    ):
        store._get_provider().validate_data_source(store.config, view.batch_source)


def test_an_empty_spine_gives_an_empty_frame(home):
    frame = pd.DataFrame(
        {
            "video_id": pd.Series([], dtype=str),
            "event_timestamp": pd.Series([], dtype="datetime64[us, UTC]"),
        }
    )
    joined = make_store(home).get_historical_features(frame, ["stats:exposures"]).to_df()
    assert len(joined) == 0
    assert "exposures" in joined.columns
