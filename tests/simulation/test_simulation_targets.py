"""What comes out at the demo's size, against the figures that docs/simulation.md names.

Within 10%.
"""

import json

import numpy as np
import pytest

from benchmarks.world_targets import TARGETS, Tally, main, misses, table
from vidtopics.settings import SimulationSettings
from vidtopics.simulation.loop import simulate
from vidtopics.simulation.responses import affinity, empty_responses, new_state, respond
from vidtopics.simulation.world import World

SEEDS = (7, 8, 9)


@pytest.fixture(scope="module")
def tallies():
    return [Tally(World.build(SimulationSettings(), seed)) for seed in SEEDS]


@pytest.fixture(scope="module")
def figures(tallies):
    return [tally.figures() for tally in tallies]


@pytest.mark.parametrize("target", [t for t in TARGETS if not t.given_up], ids=lambda t: t.name)
def test_within_ten_percent_of_the_target(figures, target):
    mean = np.mean([of_world[target.name] for of_world in figures])
    assert mean == pytest.approx(target.value, rel=0.1)


@pytest.mark.parametrize("name", ["click-through rate", "active user-days"])
def test_each_world_has_the_rate_and_not_their_mean_alone(figures, name):
    """One intercept for all left .10 in one world and .29 in the next."""
    target = next(t.value for t in TARGETS if t.name == name)
    assert [of_world[name] for of_world in figures] == pytest.approx([target] * 3, rel=0.1)


def test_what_is_given_up_is_missed_and_says_why(figures):
    """A target that has come within reach is to be held, not given up."""
    for target in TARGETS:
        mean = np.mean([of_world[target.name] for of_world in figures])
        if target.given_up and target.name != "untagged videos":
            assert mean != pytest.approx(target.value, rel=0.1)
    assert not misses({t.name: t.value for t in TARGETS})
    assert misses({t.name: 0.8 * t.value for t in TARGETS}) == [
        t.name for t in TARGETS if not t.given_up
    ]


def test_figures_by_hand():
    """Two users and one day, counted from the batches by plain loops."""
    world = World.build(SimulationSettings(users=40, videos=60, days=2), 7)
    shown, clicks, watched, exposures = {}, {}, [], dict.fromkeys(range(60), 0)
    for batch in simulate(world):
        for i, user in enumerate(batch.users):
            shown[batch.day, user] = shown.get((batch.day, user), 0) + 8
            for k in range(8):
                exposures[batch.slates[i, k]] += 1
                if batch.responses.clicked[i, k]:
                    clicks[user] = clicks.get(user, 0) + 1
                    watched.append(batch.responses.watch_seconds[i, k])
    days = list(shown.values())
    expected = {
        "click-through rate": sum(clicks.values()) / sum(days),
        "active user-days": len(days) / 80,
        "impressions per active day, coefficient of variation": np.std(days) / np.mean(days),
        "clicks per clicker in 5 days": sum(clicks.values()) / len(clicks),
        "P(watch >= 18 s given >= 7 s)": sum(s >= 18 for s in watched)
        / sum(s >= 7 for s in watched),
        "impressions of a video, most over mean": 60 * max(exposures.values()) / sum(days),
    }
    tally = Tally(world)
    figures = tally.figures()
    assert {name: figures[name] for name in expected} == pytest.approx(expected)
    pairs = [
        (user, video)
        for batch in simulate(world)
        for user, slate in zip(batch.users, batch.slates.tolist(), strict=True)
        for video in slate
    ]
    assert tally.repeated_share() == pytest.approx(1 - len(set(pairs)) / len(pairs))


def test_the_last_rank_gets_about_half_the_clicks_of_the_first(tallies):
    clicks = sum(tally.clicks for tally in tallies)
    assert clicks[7] / clicks[0] == pytest.approx(8**-0.35, rel=0.1)


def test_popularity_concentrates_impressions_on_what_is_liked(tallies):
    for tally in tallies:
        appeal = tally.world.items.appeal
        assert tally.exposures.max() / tally.exposures.mean() > 3
        assert np.average(appeal, weights=tally.exposures) - appeal.mean() > 0.1


def test_an_oracle_gets_more_clicks_than_popularity_and_that_more_than_chance():
    """Slates for the same users, by what each would click, by the log's clicks, and by chance."""
    world = World.build(SimulationSettings(users=1_000, videos=400, days=4), 7)
    clicks = np.zeros(400)
    for batch in simulate(world):
        clicks += np.bincount(batch.slates[batch.responses.clicked == 1], minlength=400)
    users, items = world.users, world.items
    fit = np.array(
        [
            [
                affinity(items.taste[v], users.interests[u], users.log_weights[u], 8.0)[0]
                for v in range(400)
            ]
            for u in range(1_000)
        ]
    )
    slates = {
        "oracle": np.argsort(-(fit + 0.5 * items.appeal), axis=1)[:, :8],
        "popular": np.tile(np.argsort(-clicks)[:8], (1_000, 1)),
        "random": np.random.default_rng(0).random((1_000, 400)).argsort(axis=1)[:, :8],
    }
    rate = {}
    for policy, chosen in slates.items():
        state, out = new_state(users, int(items.published.max())), empty_responses(1_000, 8)
        respond(7, 0, 0, np.arange(1_000), chosen.astype(np.int32), items, users, 8.0, state, out)
        rate[policy] = out.clicked.mean()
    assert rate["oracle"] > rate["popular"] + 0.05 > rate["random"] + 0.1


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_prints_target_source_and_value(monkeypatch, capsys, as_json):
    argv = ["world_targets", "7", "--users", "300", *(["--json"] if as_json else [])]
    monkeypatch.setattr("sys.argv", argv)
    with pytest.raises(SystemExit) as end:
        main()
    text = capsys.readouterr().out
    world = World.build(SimulationSettings(users=300), 7)
    figures = Tally(world).figures()
    if as_json:
        printed = json.loads(text)
        assert {row["name"]: row["mean"] for row in printed["targets"]} == pytest.approx(figures)
        missed = printed["missed"]
    else:
        assert text.startswith(table([figures]))
        missed = misses(figures)
        assert text.endswith(f"missed by more than 10%: {', '.join(missed) or 'none'}\n")
    assert end.value.code == (1 if missed else 0)
