"""Policies that `load_policies` reads from a home serve a world that goes on after its log."""

import json

import numpy as np
import pyarrow as pa
import pytest
from planted_home import SETTINGS, make_home

from consumers.policies import load_policies
from consumers.policies.home import POLICIES, Home
from consumers.policies.planted import planted_topics
from vidtopics.errors import SettingsError, TableError
from vidtopics.simulation import World
from vidtopics.simulation.items import DAY, start_of
from vidtopics.simulation.loop import run_days
from vidtopics.simulation.platform import Platform
from vidtopics.simulation.responses import new_state
from vidtopics.simulation.slates import LoggedPolicy
from vidtopics.tables import Tables


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return make_home(tmp_path_factory.mktemp("policies") / "home")


@pytest.fixture(scope="module")
def world():
    return World.build(SETTINGS.simulation, SETTINGS.seed, later_days=2)


@pytest.fixture(scope="module")
def after_log(world):
    """State and platform after the world's log."""
    state, platform = new_state(world.users, start_of(world.settings)), Platform.new(world)
    everybody = np.zeros(300, np.int8)
    for _ in run_days(world, state, platform, [LoggedPolicy(world)], everybody, range(6)):
        pass
    return state, platform


def played(world, after_log, policy, days=2):
    state, platform = after_log
    state, platform = type(state)(*(part.copy() for part in state)), platform.copy()
    batches = list(
        run_days(world, state, platform, [policy], np.zeros(300, np.int8), range(6, 6 + days))
    )
    clicks = sum(int(b.responses.clicked.sum()) for b in batches)
    return batches, clicks / sum(b.slates.size for b in batches)


def test_every_policy_fills_its_slates_and_personal_ones_are_clicked_most(tables, world, after_log):
    names = ["random", "popular", "oracle", *POLICIES]
    policies = load_policies(tables.home, world, names)
    assert [policy.name for policy in policies.values()] == names
    rates = {}
    for name, policy in policies.items():
        batches, rates[name] = played(world, after_log, policy)
        for batch in batches:
            assert all(len(set(row)) == 8 for row in batch.slates.tolist())
            first_us = start_of(world.settings) + batch.day * DAY
            assert (world.items.published[batch.slates] < first_us).all()
            assert ((batch.propensities > 0) & (batch.propensities <= 1)).all()
    assert rates["oracle"] > max(rates["topics"], rates["production"])
    assert min(rates["topics"], rates["production"], rates["oracle-topics"]) > rates["random"]
    assert rates["content"] > rates["random"]
    stored = {name.name for name in (tables.home / "models").iterdir()}
    assert stored == {"ranking", "ranking-cover", "ranking-planted"}


def test_two_arms_of_one_policy_do_what_one_arm_does(tables, world, after_log):
    """An A/A to the byte: nothing but the platform and the world decides, not what ran before."""
    (first,), (second,) = (load_policies(tables.home, world, ["topics"]).values() for _ in "ab")
    alone, rate = played(world, after_log, first)
    assert rate > 0
    state, platform = after_log
    state, platform = type(state)(*(part.copy() for part in state)), platform.copy()
    halves = (np.arange(300) % 2).astype(np.int8)
    together = list(run_days(world, state, platform, [first, second], halves, range(6, 8)))
    for one, two in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.slates, two.slates)
        np.testing.assert_array_equal(one.responses.watch_seconds, two.responses.watch_seconds)


def test_models_that_were_trained_once_are_read_again(tables, world):
    load_policies(tables.home, world, ["cover"])
    file = tables.home / "models" / "ranking-cover" / "model.json"
    written = file.stat().st_mtime_ns
    load_policies(tables.home, world, ["cover"])
    assert file.stat().st_mtime_ns == written
    facts = json.loads(file.read_text())
    assert facts["pieces"]["cover"]
    assert facts["sizes"]["cover"] == 128


def test_rankers_with_and_without_topics_have_one_base(tables, world):
    home = Home(Tables(tables.home), SETTINGS, world)
    plain, topical = home.plain_ranker().model, home.topic_ranker().model
    for name, weight in plain.state_dict().items():
        assert np.array_equal(weight, topical.state_dict()[f"base.{name}"])
    assert not plain.pieces.has_head


def test_videos_after_the_log_have_no_topics_until_they_are_delivered(tables, world):
    home = Home(Tables(tables.home), SETTINGS, world)
    codes = home.catalog.topic_codes
    assert len(codes) == len(world.items.topic) > 240
    assert (home.catalog.topic_ids[codes[:240, 0]] == 111 - world.items.topic[:240]).all()
    assert (codes[240:] == -1).all()
    assert not home.catalog.embeddings[240:].any()
    assert (home.planted_catalog.topic_codes[:, 0] >= 0).all()


def test_planted_topics_are_rows_of_the_view(world):
    rows, _ = planted_topics(world)
    first = rows.slice(0, 1).to_pylist()[0]
    topic = int(world.items.topic[0])
    assert first["topic_ids"] == [topic, *[-1] * 7]
    assert first["parent_topic_ids"][0] == int(world.classes.primary[topic])
    assert rows["topic_weights"].type == pa.list_(pa.float32())


def test_bad_names_homes_and_worlds_are_one_message(tables, world, tmp_path):
    with pytest.raises(SettingsError, match=r"policies: expected some of random.*found magic"):
        load_policies(tables.home, world, ["magic", "topics"])
    other = World.build(SETTINGS.simulation, SETTINGS.seed + 1)
    with pytest.raises(SettingsError, match=r"expected a home of the world .* found another seed"):
        load_policies(tables.home, other, ["topics"])
    changed = SETTINGS.simulation.model_copy(update={"topics": 13})
    with pytest.raises(SettingsError, match="found another topics"):
        load_policies(tables.home, World.build(changed, SETTINGS.seed), ["topics"])
    (tmp_path / "settings.yaml").write_bytes((tables.home / "settings.yaml").read_bytes())
    with pytest.raises(TableError, match=r"vidtopics run|release"):
        load_policies(tmp_path, world, ["topics"])
