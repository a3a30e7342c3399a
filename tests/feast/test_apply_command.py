"""`vidtopics apply` enters what `vidtopics materialize` then finds: the same prefix and buckets."""

import json

import pytest
import redis
from feast.repo_config import load_repo_config

from vidtopics.cli.apply import register
from vidtopics.errors import StoreError
from vidtopics.layout import place
from vidtopics.materialization import StoreWriter
from vidtopics.settings import OnlineSettings


def test_the_buckets_of_the_settings_are_those_of_the_feast_store(home, redis_url, monkeypatch):
    monkeypatch.setenv("REDIS_URL", redis_url)
    file, registered = register(home, OnlineSettings(prefix="bucketed", buckets=64))
    assert "video_topics" in registered["feature_views"]
    assert load_repo_config(home, file).online_store.buckets == 64
    with redis.Redis.from_url(redis_url) as connection:
        layout = json.loads(connection.get(place("bucketed", "layout")))
        assert layout["buckets"] == 64
        StoreWriter(connection, prefix="bucketed", buckets=64)
        with pytest.raises(StoreError, match="keep `buckets` as they were"):
            StoreWriter(connection, prefix="bucketed", buckets=16)
