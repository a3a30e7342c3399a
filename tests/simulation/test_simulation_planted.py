"""What planted topics are worth, and what must come out as nothing."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from benchmarks import planted, planted_variants
from benchmarks.planted import gains, table, weighted_auc, written_world
from benchmarks.planted_features import Consumer, earlier, kernel_sums, read_log
from benchmarks.planted_sources import clustered, of_covers, of_tags
from benchmarks.planted_variants import (
    CLASSES,
    KERNEL,
    LEARNED,
    NOISES,
    ORACLE,
    PERMUTED,
    TOO_FEW,
    TOO_MANY,
    figure,
    of_noise,
    share_line,
    sources,
)
from vidtopics.errors import InputError
from vidtopics.settings import SimulationSettings
from vidtopics.simulation import World, write_world
from vidtopics.simulation.items import DAY
from vidtopics.simulation.titles import make_vocabulary, tags

SMALL = SimulationSettings(users=1_000, videos=600, days=10, covers=False)
TINY = SimulationSettings(users=60, videos=80, days=4, topics=40, tags=100, covers=False)


def by_variant(settings, seed=7):
    return {row.variant: row for row in gains(World.build(settings, seed))}


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


rows = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(-4, 4)), max_size=12)


@given(rows)
def test_history_sums_are_those_of_plain_loops(log):
    log = sorted(log, key=lambda row: row[0])
    user, code = (np.array([row[i] for row in log], dtype=np.int64) for i in (0, 1))
    values = np.array([[row[2], 1.0] for row in log]).reshape(-1, 2)
    weights = np.exp(-np.abs(np.subtract.outer(np.arange(4), np.arange(4))).astype(float))
    near, same = np.zeros(values.shape), np.zeros(values.shape)
    for i in range(len(log)):
        for j in range(i):
            if user[j] == user[i]:
                near[i] += weights[code[i], code[j]] * values[j]
                same[i] += (code[i] == code[j]) * values[j]
    assert np.allclose(kernel_sums(user, code, values, weights), near)
    assert np.allclose(earlier(user * 4 + code, values), same)


def test_weighted_auc_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    clicked, scores = rng.random(200) < 0.3, rng.integers(0, 20, 200).astype(float)
    weights = rng.integers(0, 3, 200).astype(float)
    expected = roc_auc_score(clicked, scores, sample_weight=weights)
    assert weighted_auc(clicked, scores, weights) == pytest.approx(expected)


def features(world, log):
    consumer = Consumer(world, log)
    classes = consumer.residuals(world.classes.secondary[consumer.topic])
    return [
        consumer.base(),
        consumer.counts(consumer.topic),
        consumer.shares(consumer.topic),
        classes,
        consumer.topic_kernels(consumer.topic),
        consumer.taste_kernels(),
    ]


def test_what_the_base_consumer_knows_by_plain_loops():
    world = World.build(TINY, 7)
    log = read_log(world)
    trains = log.shown_at < np.quantile(log.shown_at, 0.8)
    mean = log.clicked[trains].mean()
    lift = [log.clicked[trains & (log.position == k)].mean() / mean for k in range(8)]

    def counts(row):
        """Of the row's video before its day: exposures and clicks, each when it is known."""
        midnight = log.shown_at[row] // DAY * DAY
        same = log.video == log.video[row]
        return (same & (log.shown_at < midnight)).sum(), (
            same & log.clicked & (log.clicked_at < midnight)
        ).sum()

    def rate(row):
        exposures, clicks = counts(row)
        return (clicks + 10 * mean) / (exposures + 10)

    matrix = Consumer(world, log).base()
    for row in range(0, len(log.user), 61):
        user, video, position = log.user[row], log.video[row], log.position[row]
        history = [j for j in range(row) if log.user[j] == user]
        same = [j for j in history if log.video[j] == video]
        p = [min(max(rate(j) * lift[log.position[j]], 0.01), 0.99) for j in history]
        residual = sum(int(log.clicked[j]) - q for j, q in zip(history, p, strict=True))
        variance = sum(q * (1 - q) for q in p)
        exposures, age = counts(row)[0], (log.shown_at[row] - world.items.published[video]) / DAY
        expected = [
            np.log(rate(row) / (1 - rate(row))),
            np.log1p(exposures),
            exposures == 0,
            np.log2(1 + age / 3),
            *[position == k for k in range(1, 8)],
            np.log1p(len(history)),
            np.log1p(sum(log.clicked[j] for j in history)),
            *[residual / (variance + c) for c in (0.5, 2, 10, 40)],
            np.log1p(len(same)),
            np.log1p(sum(log.clicked[j] for j in same)),
            bool(same),
        ]
        assert matrix[row].tolist() == pytest.approx([float(x) for x in expected])


def flipped(log, rows):
    """The log with the other outcome in `rows` [N], known a microsecond after the impression."""
    clicked_at = np.where(rows, log.shown_at + 1, log.clicked_at)
    return replace(log, clicked=log.clicked ^ rows, clicked_at=clicked_at)


def test_no_impression_knows_its_own_outcome_or_a_later_one():
    world = World.build(TINY, 7)
    log = read_log(world)
    last = np.r_[log.user[1:] != log.user[:-1], True]
    last &= log.shown_at // DAY == log.shown_at.max() // DAY  # no video's count is of that day
    assert last.sum() > 5
    for before, after in zip(
        features(world, log), features(world, flipped(log, last)), strict=True
    ):
        assert before.tobytes() == after.tobytes()
    # Whereas with that of the user's impression before it, each changes.
    before = np.flatnonzero(last[1:] & ~last[:-1])
    rows = np.zeros(len(last), dtype=bool)
    rows[before] = log.user[before] == log.user[before + 1]
    base, changed = features(world, log)[0], features(world, flipped(log, rows))[0]
    assert (base != changed).any(axis=1)[1:][rows[:-1]].all()


def test_the_log_in_memory_is_the_written_one_and_another_is_refused(tmp_path):
    write_world(TINY, tmp_path / "world", seed=7)
    world = written_world(tmp_path / "world")
    assert (world.seed, world.settings) == (7, TINY)
    known = tmp_path / "world" / "truth" / "settings.json"
    known.write_text(known.read_text().replace('"seed": 7', '"seed": 8'))
    with pytest.raises(InputError, match="expected a log that this version of the simulation"):
        written_world(tmp_path / "world")


def test_the_command_prints_a_table_for_each_setting(monkeypatch, capsys):
    monkeypatch.setattr(planted, "DRAWS", 5)
    monkeypatch.setattr(planted_variants, "PERMUTATIONS", 1)
    argv = ["planted", "--seeds", "7", "--users", "60", "--eta", "0", "0.7"]
    monkeypatch.setattr("sys.argv", argv)
    planted.main()
    printed = capsys.readouterr().out
    monkeypatch.setattr("sys.argv", [*argv, "--json"])
    planted.main()
    rows = [planted.Gain(**row) for row in json.loads(capsys.readouterr().out)]
    assert [row.eta for row in rows] == [0.0] * 11 + [0.7] * 11
    assert printed == f"{table(rows[:11])}\n\n{table(rows[11:])}\n\n"


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
    slug = tags(world, vocabulary, np.arange(300)).slug
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
    monkeypatch.setattr(planted, "DRAWS", 5)
    rows = {row.variant: row for row in gains(World.build(SMALL, 7), sources)}
    true = rows[KERNEL].gain
    assert rows[of_noise("covers", 0.0)].gain == true
    assert true > rows[of_noise("covers", 0.5)].gain > rows[of_noise("covers", 1.0)].gain
    assert abs(rows[of_noise("covers", 1.0)].gain) < 0.1 * true
    assert true > rows[of_noise("tags", 0.0)].gain > rows[of_noise("tags", 1.0)].gain
    assert rows[TOO_FEW].gain > 0.3 * true
    assert rows[TOO_MANY].gain > 0.3 * true


def test_the_figure_has_a_line_for_each_eta_and_the_share_is_that_of_the_gains():
    names = [TOO_FEW, KERNEL, TOO_MANY]
    names += [of_noise(of, noise) for of in ("covers", "tags") for noise in NOISES]
    rows = [
        planted.Gain(eta, 60, 7, name, "base", 0.7, gain, 0.0, 0.0)
        for eta in (0.0, 0.7)
        for name, gain in zip(names, np.linspace(0, 0.1, len(names)), strict=True)
    ]
    svg = figure(rows)
    assert svg.count("<polyline") == 6
    assert "eta 0.7" in svg
    shares = {LEARNED: 0.01, KERNEL: 0.02, "kernel over planted tastes": 0.04, ORACLE: 0.1}
    rows = [planted.Gain(0.7, 60, 7, n, "base", 0.7, g, 0.0, 0.0) for n, g in shares.items()]
    assert share_line(rows) == (
        "learned topics recover 50% of topic kernel, 25% of kernel over planted tastes,"
        " 10% of oracle"
    )
