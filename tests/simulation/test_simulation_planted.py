"""What planted topics are worth, and what must come out as nothing."""

import json

import numpy as np
import pytest

from benchmarks import planted
from benchmarks.planted import gains, table
from benchmarks.planted_sources import clustered, of_covers, of_tags
from benchmarks.planted_variants import (
    CLASSES,
    KERNEL,
    NOISES,
    ORACLE,
    PERMUTED,
    TOO_FEW,
    TOO_MANY,
    figure,
    of_noise,
    sources,
)
from vidtopics.evaluate.ceiling import gains as ceiling_gains
from vidtopics.evaluate.ceiling.consumer import Consumer
from vidtopics.evaluate.ceiling.log import read_log
from vidtopics.settings import SimulationSettings
from vidtopics.simulation import World
from vidtopics.simulation.loop import simulate
from vidtopics.simulation.titles import make_vocabulary, tags

SMALL = SimulationSettings(users=1_000, videos=600, days=10, covers=False)


def consume(settings, seed=7):
    world = World.build(settings, seed)
    return Consumer(world, read_log(simulate(world)))


def by_variant(settings):
    return {row.variant: row for row in gains(consume(settings))}


@pytest.fixture(scope="module")
def with_topics():
    return by_variant(SMALL)


def test_topics_help_and_those_who_know_more_are_helped_more(with_topics):
    assert with_topics[KERNEL].low > 0.01
    assert with_topics["topic kernel and classes"].over == CLASSES
    assert with_topics["topic kernel and classes"].low > 0
    assert with_topics[KERNEL].gain > with_topics["share of clicks in the topic"].gain > 0
    tastes = with_topics["kernel over planted tastes"].gain
    assert with_topics[ORACLE].gain > tastes > with_topics[KERNEL].gain


def test_permuted_topics_are_worth_nothing(with_topics):
    """At most 5% of what the true ones are worth: the base consumer has all that they'd tell.

    Eight features of nothing may cost more in so small a world.
    """
    assert -0.1 < with_topics[PERMUTED].gain / with_topics[KERNEL].gain < 0.05


def test_a_third_of_random_topics_costs_much_of_the_gain(with_topics):
    spoilt = with_topics["kernel, 35% of topics random"].gain
    assert 0 < spoilt < 0.7 * with_topics[KERNEL].gain


def test_topics_are_worth_nothing_where_content_says_nothing_of_taste():
    blind = by_variant(SMALL.model_copy(update={"visible_taste": 0.0}))
    for variant in (KERNEL, CLASSES, "clicks and impressions in the topic", PERMUTED):
        assert blind[variant].low < 0 < blind[variant].high or abs(blind[variant].gain) < 0.001
    # The hidden side is still there to be known: the null is of topics, not of the measurement.
    assert blind["kernel over planted tastes"].low > 0.01


def test_the_command_prints_a_table_for_each_setting(monkeypatch, capsys):
    def gains_of_two(consumer, variants):
        world = consumer.world
        setting = (world.settings.visible_taste, 60, world.settings.taste_follows, world.seed)
        share = world.settings.visible_taste / 10
        two = [("base", 0.0), (KERNEL, share)]
        return [planted.Gain(*setting, name, "base", 0.6, g, g - 0.01, g + 0.01) for name, g in two]

    monkeypatch.setattr(planted, "gains", gains_of_two)
    argv = ["planted", "--seeds", "7", "--users", "60", "--eta", "0", "0.7"]
    monkeypatch.setattr("sys.argv", argv)
    planted.main()
    printed = capsys.readouterr().out
    assert "| topic kernel | base | +0.0700 ± 0.0100 | +0.0700 |" in printed
    monkeypatch.setattr("sys.argv", [*argv, "--json"])
    planted.main()
    rows = [planted.Gain(**row) for row in json.loads(capsys.readouterr().out)]
    settings = [(0.0, 60, "content"), (0.7, 60, "content")]
    assert [row.setting for row in rows] == [setting for setting in settings for _ in range(2)]
    assert printed == f"{table(rows[:2])}\n\n{table(rows[2:])}\n\n"


def agreement(topics, world):
    return (topics.code == world.items.topic).mean()


def test_topics_of_tags_and_covers_are_as_wrong_as_their_noise_says():
    world = World.build(SimulationSettings(users=1, videos=1_000), 7)
    assert agreement(of_covers(world, 0.0), world) == 1
    assert agreement(of_covers(world, 0.25), world) == pytest.approx(0.76, abs=0.04)  # 1/60 by luck
    by_tags = [agreement(of_tags(world, noise), world) for noise in (0.0, 0.2, 0.45, 1.0)]
    assert by_tags == sorted(by_tags, reverse=True)
    assert by_tags[0] > 0.6  # of three tags one is of a topic: a video may have none
    assert by_tags[-1] < 0.05


def test_the_likeliest_topic_by_tags_is_that_of_bayes_by_hand():
    """Two topics of one secondary class: only a tag of the topic tells them apart."""
    classes = {"primary_classes": 1, "secondary_classes": 1, "topics": 2, "tags": 40}
    settings = SimulationSettings(users=1, videos=300, tag_noise=0.2, **classes)
    world = World.build(settings, 7)
    vocabulary = make_vocabulary(world)
    slug = tags(world, np.arange(300)).slug
    share = np.diff(world.classes.share, prepend=0.0)
    starts = vocabulary.tags[0].starts  # topics' tags come first
    for video, code in enumerate(of_tags(world, 0.2).code):
        odds = share.copy()
        for one in slug[video][(slug[video] >= 0) & (slug[video] < starts[-1])]:
            topic = int(one >= starts[1])
            odds *= [0.8 * (t == topic) + 0.2 * share[topic] for t in range(2)]
        assert code == odds.argmax()


def test_clusters_of_contents_are_as_many_as_asked_and_their_centres_are_near():
    world = World.build(SimulationSettings(users=1, videos=600), 7)
    topics = clustered(world, 15)
    assert sorted(set(topics.code.tolist())) == list(range(15))
    cosines = world.items.sem @ topics.centres.T
    assert (cosines.argmax(axis=1) == topics.code).mean() > 0.95


def test_topics_lose_where_their_source_is_wrong(monkeypatch):
    monkeypatch.setattr(ceiling_gains, "DRAWS", 5)
    rows = {row.variant: row for row in gains(consume(SMALL), sources)}
    true = rows[KERNEL].gain
    assert rows[of_noise("covers", 0.0)].gain == true
    assert true > rows[of_noise("covers", 0.5)].gain > rows[of_noise("covers", 1.0)].gain
    assert abs(rows[of_noise("covers", 1.0)].gain) < 0.1 * true
    assert true > rows[of_noise("tags", 0.0)].gain > rows[of_noise("tags", 1.0)].gain
    assert rows[TOO_FEW].gain > 0.3 * true
    assert rows[TOO_MANY].gain > 0.3 * true


def test_the_figure_has_a_line_for_each_eta():
    names = [TOO_FEW, KERNEL, TOO_MANY]
    names += [of_noise(of, noise) for of in ("covers", "tags") for noise in NOISES]
    rows = [
        planted.Gain(eta, 60, "content", 7, name, "base", 0.7, gain, 0.0, 0.0)
        for eta in (0.0, 0.7)
        for name, gain in zip(names, np.linspace(0, 0.1, len(names)), strict=True)
    ]
    svg = figure(rows)
    assert svg.count("<polyline") == 6
    assert "eta 0.7" in svg
