"""A home remembers the named server that it was loaded into, and then refuses its own one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidtopics import server
from vidtopics.errors import SettingsError
from vidtopics.server import plain, remember, remembered

NAMED = "rediss://user:secret@cache:6379/0?ssl_cert_reqs=none"
FILE = "online.json"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.delenv("REDIS_URL", raising=False)
    yield tmp_path
    server.stop(tmp_path)


def test_it_remembers_the_address_alone(home: Path) -> None:
    assert remembered(home) is None
    assert remember(home, NAMED) is None
    assert remembered(home) == "rediss://cache:6379/0"
    text = (home / FILE).read_text()
    assert "secret" not in text
    assert "user" not in text
    assert remember(home, NAMED.replace("secret", "other")) is None  # the same server
    assert remember(home, "redis+cluster://a:1,b:2") == (
        "rediss://cache:6379/0",
        "redis+cluster://a:1,b:2",
    )
    assert [p.name for p in home.iterdir()] == [FILE]


def test_without_the_variable_the_embedded_server_is_refused_until_told(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(home, NAMED)
    for value in (None, "", "  "):
        monkeypatch.delenv("REDIS_URL", raising=False)
        if value is not None:
            monkeypatch.setenv("REDIS_URL", value)
        with pytest.raises(SettingsError, match=r"address of rediss://cache:6379/0.*--embedded"):
            server.url_of(home)
    assert not (home / "redis").exists()
    monkeypatch.setenv("REDIS_URL", "redis://replica:1")
    assert server.url_of(home) == "redis://replica:1"  # a reader may ask another
    own = server.url_of(home, embedded=True)
    assert own == server.running(home)
    assert remembered(home) == "rediss://cache:6379/0"


def test_a_load_into_its_own_server_ends_the_memory(home: Path) -> None:
    own = server.start(home)
    assert remember(home, own) is None
    assert remembered(home) is None
    remember(home, NAMED)
    assert remember(home, own.replace("127.0.0.1", "localhost")) == (
        "rediss://cache:6379/0",
        "the embedded server",
    )
    assert not (home / FILE).exists()
    assert server.url_of(home) == own


def test_nothing_is_made_where_there_is_no_home(home: Path) -> None:
    assert remember(home / "none", NAMED) is None
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null"])
def test_a_damaged_memory_is_no_free_choice(home: Path, text: str) -> None:
    (home / FILE).write_text(text)
    with pytest.raises(SettingsError, match=f"{home}/{FILE}: expected JSON"):
        server.url_of(home)


@given(st.text(st.sampled_from("ab:@/?#%[].1"), max_size=20))
def test_no_address_shows_a_password(password: str) -> None:
    try:
        shown = plain(f"redis://user:SECRET{password}@cache:6379/0")
    except ValueError:
        return  # no URL at all
    assert "SECRET" not in shown


@pytest.mark.parametrize("url", ["", "${REDIS_URL}"])
def test_feasts_store_refuses_it_too(home: Path, url: str) -> None:
    packed_redis = pytest.importorskip("vidtopics.stores.packed_redis")
    settings = packed_redis.PackedRedisOnlineStoreConfig(url=url, home="home")
    config = SimpleNamespace(online_store=settings, repo_path=home)
    (home / "home").mkdir()
    remember(home / "home", NAMED)
    with pytest.raises(SettingsError, match="embedded: true"):
        packed_redis._url(config)
    assert os.listdir(home / "home") == [FILE]
    settings.embedded = True
    try:
        assert packed_redis._url(config) == server.running(home / "home")
    finally:
        server.stop(home / "home")
    assert json.loads((home / "home" / FILE).read_text())["loaded_into"] == "rediss://cache:6379/0"


@pytest.mark.parametrize("url", ["", "${REDIS_URL}"])
def test_feasts_store_without_a_home_has_no_server_of_its_own(home: Path, url: str) -> None:
    packed_redis = pytest.importorskip("vidtopics.stores.packed_redis")
    settings = packed_redis.PackedRedisOnlineStoreConfig(url=url)
    config = SimpleNamespace(online_store=settings, repo_path=home)
    with pytest.raises(SettingsError, match=r"feature_store\.yaml: expected `url`"):
        packed_redis._url(config)
    assert list(home.iterdir()) == []


def test_feasts_store_without_a_home_leaves_the_folder_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed_redis = pytest.importorskip("vidtopics.stores.packed_redis")
    (home / ".vidtopics").mkdir()
    monkeypatch.chdir(home)
    settings = packed_redis.PackedRedisOnlineStoreConfig(url=NAMED)
    packed_redis._remember(SimpleNamespace(online_store=settings, repo_path=None))
    assert list((home / ".vidtopics").iterdir()) == []
