"""Views of users end to end: Redis, our client, Feast online and offline, joins by file."""

import asyncio
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import redis
from feast import FeatureStore
from feast_home import START, START_US, fill, user_rows, write

from benchmarks.homes import release_tables
from vidtopics.cli import common
from vidtopics.cli.apply import register
from vidtopics.contracts import SERVICES, VIEWS
from vidtopics.errors import InputError, StoreError
from vidtopics.materialization import materialize
from vidtopics.online import AsyncOnlineClient, OnlineClient
from vidtopics.settings import OnlineSettings
from vidtopics.tables import Tables

ONLINE = OnlineSettings(prefix="users")
USER_VIEWS = [name for name, table in VIEWS.items() if table.view.entity == "user"]
IDS = {"video": ["a", "b", "nobody"], "user": ["u"]}


@pytest.fixture(scope="module")
def store(tmp_path_factory, redis_url):
    """Feast over a home whose first release is in Redis; user `w` is known from day 3 on."""
    home = tmp_path_factory.mktemp("users")
    fill(home)
    for name in USER_VIEWS:
        [row] = user_rows(name)
        write(home, name, [row | {"user_id": "w", "event": 2, "created": 3}])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDIS_URL", redis_url)
        versions = lambda tables: {n: tables.delta(t).version() for n, t in VIEWS.items()}  # noqa: E731
        patch.setattr(Tables, "data_versions", versions)  # of tables without commits of jobs
        tables = Tables(home)
        assert release_tables(tables, as_of_us=START_US, created_us=START_US, settings="s")
        with redis.Redis.from_url(redis_url) as connection:
            materialize(tables, connection, ONLINE)
        file, _ = register(home, ONLINE)
        yield FeatureStore(fs_yaml_file=file)


@pytest.fixture
def client(store, redis_url):
    return OnlineClient.from_url(redis_url, prefix="users", timeout_s=20)


def values(features, row: int) -> dict:
    """A row's values as Feast gives them."""
    plain = {}
    for name in features.names:
        value = features[name][row]
        value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        plain[name] = None if features.null[name][row] else value
    return plain


def test_feast_gives_what_the_client_gives_of_ranking_v2(store, client):
    features = client.read_entities("ranking_v2", IDS)
    assert list(features) == [table.name for table in SERVICES["ranking_v2"]]
    rows = [{"video_id": video, "user_id": "u"} for video in IDS["video"]]
    service = store.get_feature_service("ranking_v2")
    answer = store.get_online_features(service, rows).to_dict()
    for i in range(len(rows)):
        own = {}
        for name, view_features in features.items():
            own |= values(view_features, i if VIEWS[name].view.entity == "video" else 0)
        assert {name: answer[name][i] for name in own} == own
    assert answer["recent_video_ids"] == [["b", "a"]] * 3


def test_both_clients_read_two_entities_in_one_round_trip(client, redis_url, monkeypatch):
    first = client.read_entities("ranking_v2", IDS)
    sent, real = [], redis.Connection.send_packed_command
    monkeypatch.setattr(
        redis.Connection, "send_packed_command", lambda *a, **k: (sent.append(a), real(*a, **k))[1]
    )
    features = client.read_entities("ranking_v2", IDS)
    assert len(sent) == 1
    assert [len(f) for f in features.values()] == [3, 3, 1, 1, 1, 1]
    assert features["user_topics"]["user_topic_ids"][0].tolist() == [2, 1]

    async def read():
        own = AsyncOnlineClient.from_url(redis_url, prefix="users", timeout_s=20)
        try:
            return await own.read_entities("ranking_v2", IDS)
        finally:
            await own.aclose()

    waited = asyncio.run(read())
    for name in first:
        assert [values(waited[name], i) for i in range(len(waited[name]))] == [
            values(first[name], i) for i in range(len(first[name]))
        ]


@pytest.mark.parametrize(
    ("views", "ids", "error", "message"),
    [
        ("ranking_v9", IDS, InputError, "views: expected a list of views, or one of the services"),
        (
            ["user_topics"],
            {"video": ["a"]},
            InputError,
            "view user_topics: expected ids for user_id",
        ),
        (
            ["user_topics"],
            {"person": ["u"]},
            InputError,
            "ids: expected ids by entity: video, user",
        ),
        (["user_ages"], {"user": ["u"]}, StoreError, "expected the view user_ages"),
    ],
)
def test_what_can_not_be_read_is_named(client, views, ids, error, message):
    with pytest.raises(error, match=message):
        client.read_entities(views, ids)


def spine(days: list[float]) -> pd.DataFrame:
    """A row for each time and user."""
    rows = [(user, video, START + timedelta(days=d)) for d in days for user, video in ("ua", "wb")]
    return pd.DataFrame(rows, columns=["user_id", "video_id", "event_timestamp"])


def test_a_join_by_file_and_feasts_join_see_what_was_known(store, tmp_path, capsys):
    """w's row holds from day 2 and is known from day 3; nobody has one before day 1."""
    entity_rows = spine([0.5, 1.5, 2.5, 3.5])
    service = store.get_feature_service("training_v2")
    feast_rows = store.get_historical_features(entity_rows, service).to_df()
    entity_rows.to_parquet(tmp_path / "spine.parquet")
    home = store.config.offline_store.root.removesuffix("/tables")
    ask = ["join", str(tmp_path / "spine.parquet"), str(tmp_path / "out.parquet"), "--home", home]
    assert common.run([*ask, "--service", "training_v2"]) == 0
    joined = pq.read_table(tmp_path / "out.parquet").to_pylist()
    exposures = [row["user_exposures"] for row in joined]
    assert exposures == [None, None, 5, None, 5, None, 5, 5]
    names = [c.name for table in SERVICES["training_v2"] for c in table.values]
    for name in names:
        of_feast = [plain(value) for value in feast_rows[name]]
        assert of_feast == [row[name] for row in joined], name


def plain(value):
    if isinstance(value, np.ndarray):
        return value.tolist()
    return None if value is None or value is pd.NA or value != value else value


def test_a_join_as_served_sees_the_release_that_was_live(store, tmp_path):
    """The release went live when this module began: no row was served in January."""
    now = pd.Timestamp(datetime.now(UTC)) + pd.Timedelta(minutes=5)
    rows = spine([3.5])
    rows = pd.concat([rows, rows.assign(event_timestamp=now)])
    rows.to_parquet(tmp_path / "spine.parquet")
    home = store.config.offline_store.root.removesuffix("/tables")
    ask = ["join", str(tmp_path / "spine.parquet"), str(tmp_path / "out.parquet"), "--home", home]
    assert common.run([*ask, "--service", "training_v2", "--served"]) == 0
    served = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["user_topic_ids"] for row in served] == [None, None, [2, 1], [2, 1]]
