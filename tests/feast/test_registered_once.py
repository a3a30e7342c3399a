"""A demo that is run again registers nothing with Feast where there is nothing new to register."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from feast import FeatureStore

from vidtopics.cli import apply
from vidtopics.contracts import VIEWS
from vidtopics.materialization import Moved
from vidtopics.settings import OnlineSettings
from vidtopics.stores import registry_intervals
from vidtopics.stores.applied import REGISTRY
from vidtopics.tables import Tables

ONLINE = OnlineSettings(prefix="once")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def registered(home, tmp_path, redis_url, monkeypatch):
    """A home that is registered, from a copy of the feature repo that a test may change."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "feature_repo", checkout / "feature_repo")
    shutil.copy(ROOT / "feature_store.yaml", checkout)
    monkeypatch.chdir(checkout)
    for name in [n for n in sys.modules if n.partition(".")[0] == "feature_repo"]:
        monkeypatch.delitem(sys.modules, name)
    assert not apply.is_registered(home, ONLINE)
    apply.register(home, ONLINE)
    yield home
    (home / REGISTRY).unlink()


def test_what_is_registered_is_not_registered_again(registered, monkeypatch):
    assert apply.is_registered(registered, ONLINE)
    assert not apply.is_registered(registered, OnlineSettings(prefix="other"))
    assert not apply.is_registered(registered, ONLINE, embedded=True)
    monkeypatch.setattr(apply, "version", lambda name: "another Feast")
    assert not apply.is_registered(registered, ONLINE)


def test_another_feature_repo_is_registered(registered):
    with Path("feature_repo/feature_views.py").open("a", encoding="utf-8") as views:
        views.write("\n")
    assert not apply.is_registered(registered, ONLINE)


def test_a_registry_that_another_wrote_is_made_anew(registered):
    store = FeatureStore(fs_yaml_file=registered / "feature_store.yaml")
    store.delete_feature_service("training_v1")
    assert not apply.is_registered(registered, ONLINE)
    (registered / REGISTRY).unlink()
    assert not apply.is_registered(registered, ONLINE)
    apply.register(registered, ONLINE)
    assert apply.is_registered(registered, ONLINE)


def test_the_intervals_of_a_release_are_no_reason_to_register(registered, monkeypatch):
    monkeypatch.setattr(registry_intervals, "_as_of", lambda *of: datetime(2026, 1, 4, tzinfo=UTC))
    written = (registered / REGISTRY).read_bytes()
    registry_intervals.record_release(Tables(registered), [Moved(name, 1) for name in VIEWS])
    assert (registered / REGISTRY).read_bytes() != written
    assert apply.is_registered(registered, ONLINE)
