"""After a run Feast's registry says how far each view is online, as after Feast's own."""

import itertools
import os
import sys
from datetime import UTC, datetime, timedelta

import pytest
import redis
from feast import FeatureStore
from feast_home import START_US, fill, topics, write

from benchmarks.homes import release_tables
from vidtopics.cli.apply import register
from vidtopics.contracts import VIEWS as VIEW_TABLES
from vidtopics.errors import StoreError
from vidtopics.materialization import Moved, materialize
from vidtopics.settings import OnlineSettings
from vidtopics.stores import registry_intervals
from vidtopics.stores.registry_intervals import EPOCH, STAMP, merged, record_release
from vidtopics.tables import Tables

ONLINE = OnlineSettings(prefix="intervals")
DAY_US = 86_400_000_000
VIEWS = sorted(VIEW_TABLES)


def day(n):
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=n)


@pytest.fixture
def tables(tmp_path, redis_url, monkeypatch):
    monkeypatch.setenv("REDIS_URL", redis_url)
    with redis.Redis.from_url(redis_url) as connection:
        connection.flushall()
    fill(tmp_path)
    tables, numbers = Tables(tmp_path), itertools.count()

    def data_versions(tables):
        """Those of the views; another table moves on with each release."""
        versions = {name: tables.delta(VIEW_TABLES[name]).version() for name in VIEWS}
        return {**versions, "impressions": next(numbers)}

    monkeypatch.setattr(Tables, "data_versions", data_versions)
    release(tables, 4)
    return tables


def release(tables, as_of):
    at = START_US + as_of * DAY_US
    assert release_tables(tables, as_of_us=at, created_us=at, settings="s")


def run(tables, redis_url):
    """As `vidtopics materialize` does."""
    with redis.Redis.from_url(redis_url) as connection:
        moved = materialize(tables, connection, ONLINE)
    record_release(tables, moved)
    return moved


def intervals(tables):
    store = FeatureStore(fs_yaml_file=tables.home / "feature_store.yaml")
    return {view.name: view.materialization_intervals for view in store.list_feature_views()}


def test_each_run_moves_the_end_of_one_interval(tables, redis_url):
    register(tables.home, ONLINE)
    assert intervals(tables) == {key: [] for key in VIEWS}
    run(tables, redis_url)
    assert intervals(tables) == {key: [(EPOCH, day(4))] for key in VIEWS}
    for as_of in (5, 6, 7):
        release(tables, as_of)
        run(tables, redis_url)
    assert intervals(tables) == {key: [(EPOCH, day(7))] for key in VIEWS}


def test_incremental_goes_on_where_the_release_ended(tables, redis_url):
    register(tables.home, ONLINE)
    run(tables, redis_url)
    # Feast alone would begin 52 weeks back; a row at the release's end is moved, one before isn't.
    write(tables.home, "video_topics", [topics("c", 9, event=3.5), topics("d", 9, event=4)])
    store = FeatureStore(fs_yaml_file=tables.home / "feature_store.yaml")
    store.materialize_incremental(end_date=day(10), feature_views=["video_topics"])
    answer = store.get_online_features(
        ["video_topics:topic_count"], [{"video_id": video} for video in "acd"]
    ).to_dict()
    assert answer["topic_count"] == [1, None, 1]
    release(tables, 12)
    run(tables, redis_url)
    assert intervals(tables)["video_topics"] == [(EPOCH, day(12))]


def test_a_home_that_was_applied_after_the_run_gets_its_intervals_with_the_next(tables, redis_url):
    run(tables, redis_url)
    register(tables.home, ONLINE)
    assert all(moved.up_to_date for moved in run(tables, redis_url))
    assert intervals(tables)["video_topics"] == [(EPOCH, day(4))]


def test_a_home_without_apply_has_no_registry(tables, redis_url):
    run(tables, redis_url)
    assert not (tables.home / "registry.db").exists()
    assert not (tables.home / STAMP).exists()


def test_a_round_without_news_does_not_ask_feast(tables, redis_url, monkeypatch):
    register(tables.home, ONLINE)
    run(tables, redis_url)
    written = (tables.home / "registry.db").stat().st_mtime_ns
    monkeypatch.setitem(sys.modules, "feast", None)
    run(tables, redis_url)
    assert (tables.home / "registry.db").stat().st_mtime_ns == written


def test_views_that_are_not_whole_or_were_taken_out_get_none(tables):
    register(tables.home, ONLINE)
    moved = [
        Moved("video_topics", 1, not_due=1),
        Moved("video_tag_embedding", 1, taken_out=True),
        Moved("topic_queues", 1),
        Moved("video_statistics", 1),
    ]
    record_release(tables, moved)
    assert {name for name, spans in intervals(tables).items() if spans} == {"video_statistics"}


def test_a_registry_that_cannot_be_written_is_named_and_no_stamp_is_left(tables, monkeypatch):
    register(tables.home, ONLINE)

    def refuse(*_):
        raise PermissionError(13, "Permission denied", "registry.db")

    monkeypatch.setattr(registry_intervals, "_record", refuse)
    with pytest.raises(StoreError, match=r"registry\.db.*the release is in Redis"):
        record_release(tables, [Moved("video_topics", 1)])
    assert not (tables.home / STAMP).exists()


def test_what_another_project_of_the_file_has_stays(tables, redis_url):
    register(tables.home, ONLINE)
    config = (tables.home / "feature_store.yaml").read_text()
    other = tables.home / "other.yaml"
    other.write_text(config.replace("project: vidtopics", "project: other"))
    FeatureStore(fs_yaml_file=other).apply([])
    before = FeatureStore(fs_yaml_file=other).list_projects()
    run(tables, redis_url)
    assert len(FeatureStore(fs_yaml_file=other).list_projects()) == len(before)
    assert os.path.getsize(tables.home / "registry.db") > 0


def test_apart_intervals_stay_apart():
    assert merged([(day(3), day(4)), (day(1), day(2))]) == [(day(1), day(2)), (day(3), day(4))]
    assert merged([(day(1), day(2)), (day(2), day(3)), (EPOCH, day(1))]) == [(EPOCH, day(3))]
    assert merged([]) == []
