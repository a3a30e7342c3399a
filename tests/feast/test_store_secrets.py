"""No repr of the stores' settings, and no error of theirs, shows a password."""

import logging
import pickle

import pytest
import yaml
from feast import FeatureStore, RepoConfig
from feast.repo_config import load_repo_config

from vidtopics.stores.packed_redis import PackedRedisOnlineStoreConfig

STORE = "vidtopics.stores.packed_redis.PackedRedisOnlineStore"
SECRET = "se%23cr3t"
URLS = [
    f"redis://:{SECRET}@host:6379/0",
    f"rediss://ranker:{SECRET}@host:6379?ssl_ca_certs=/ca.crt",
    f"redis+cluster://ranker:{SECRET}@h1:6379,h2:6379",
    f"redis://host:6379?username=ranker&password={SECRET}",
    f"redis://host:6379?p%61ssword={SECRET}&client_name=ranker",
    f"redis://ranker:{SECRET}/x@host:6379",
    f"unix:///run/redis.sock?password={SECRET}",
    f"host:6379,password={SECRET}",
]


def repo_config(folder, url, **options):
    return RepoConfig(
        project="shop",
        provider="local",
        registry=str(folder / "registry.db"),
        entity_key_serialization_version=3,
        offline_store={"type": "dask"},
        online_store={"type": STORE, "url": url, **options},
    )


@pytest.mark.parametrize("url", URLS)
def test_no_repr_or_log_shows_the_password(tmp_path, url, caplog):
    config = repo_config(tmp_path, url)
    shown = [config, config.online_store, FeatureStore(config=config), {"nested": [config]}]
    for value in shown:
        for text in (repr(value), str(value), f"{value}"):
            assert SECRET not in text
            assert "shop" in text or "url=" in text
    with caplog.at_level(logging.INFO):
        logging.getLogger("shop").info("settings: %s, %r", config, config.online_store)
    assert SECRET not in caplog.text
    assert config.online_store.url == url


def test_what_is_no_secret_is_shown(tmp_path):
    config = repo_config(tmp_path, "redis://ranker:pw@host:6379/3", prefix="shop", buckets=64)
    assert "redis://***@host:6379/3" in repr(config)
    assert "'buckets': 64" in repr(config)
    assert "prefix='shop'" in repr(config.online_store)
    assert "${REDIS_URL}" in repr(repo_config(tmp_path, "${REDIS_URL}"))


def test_the_key_of_an_offline_store_beside_it_is_not_shown(tmp_path):
    config = RepoConfig(
        project="shop",
        registry=str(tmp_path / "registry.db"),
        entity_key_serialization_version=3,
        offline_store={
            "type": "vidtopics.stores.delta.DeltaOfflineStore",
            "root": str(tmp_path),
            "storage_options": {"AWS_SECRET_ACCESS_KEY": SECRET},
        },
        online_store={"type": STORE, "url": URLS[0]},
    )
    assert SECRET not in repr(config)


@pytest.mark.parametrize(
    "fault", [{"prefix": "p*"}, {"buckets": 0}, {"unknown": 1}, {"blank_expired": "yes"}]
)
def test_an_error_in_the_settings_names_the_key_and_shows_no_password(tmp_path, fault):
    (key,) = fault
    with pytest.raises(Exception, match=key) as error:
        repo_config(tmp_path, URLS[0], **fault)
    assert SECRET not in str(error.value)
    file = tmp_path / "feature_store.yaml"
    settings = {
        "project": "shop",
        "registry": "registry.db",
        "entity_key_serialization_version": 3,
        "online_store": {"type": STORE, "url": URLS[0], **fault},
    }
    file.write_text(yaml.safe_dump(settings))
    with pytest.raises(Exception, match=key) as error:
        load_repo_config(tmp_path, file)
    assert SECRET not in str(error.value)


@pytest.mark.parametrize("url", URLS)
def test_settings_go_to_a_file_and_back_with_the_password(tmp_path, url):
    config = repo_config(tmp_path, url)
    file = tmp_path / "feature_store.yaml"
    settings = config.model_dump(mode="json", by_alias=True, exclude_unset=True)
    file.write_text(yaml.safe_dump(settings | {"registry": "registry.db"}))
    again = load_repo_config(tmp_path, file)
    assert again.online_store.url == url
    assert pickle.loads(pickle.dumps(config.online_store)) == config.online_store
    assert PackedRedisOnlineStoreConfig(**config.online_store.model_dump()).url == url
