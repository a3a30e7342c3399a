"""The equations by hand, and what follows from them."""

import math

import numpy as np
import pytest

from benchmarks import numpy_responses
from vidtopics.settings import SimulationSettings
from vidtopics.simulation import responses
from vidtopics.simulation.items import taste_net, tastes
from vidtopics.simulation.philox import Stream, normal_pair, philox, uniform
from vidtopics.simulation.responses import (
    affinity,
    click_logit,
    click_probability,
    empty_responses,
    new_state,
    refresh_probability,
    respond,
    watch_seconds,
)
from vidtopics.simulation.world import World

HOUR = 3_600_000_000
SHARPNESS = SimulationSettings().sharpness


@pytest.fixture(scope="module")
def world():
    return World.build(SimulationSettings(users=4_000, videos=500), seed=7)


def show(world, slates, *, state=None, users=None):
    users = np.arange(len(slates)) if users is None else users
    state = state or new_state(world.users, int(world.items.published.max()))
    out = empty_responses(*slates.shape)
    respond(
        world.seed,
        0,
        0,
        users,
        slates.astype(np.int32),
        world.items,
        world.users,
        SHARPNESS,
        state,
        out,
    )
    return out, state


def test_affinity_by_hand():
    e = np.eye(3, 16, dtype=np.float32)
    weights = np.log(np.array([0.25, 0.75], dtype=np.float32))
    # cos is 0 to the first interest and 1 to the second: .25 exp(-4) + .75.
    a, interest = affinity(e[2], e[[0, 2]], weights, 4.0)
    assert a == pytest.approx(math.log(0.25 * math.exp(-4) + 0.75), abs=1e-6)
    assert interest == 1


def test_click_probability_by_hand():
    # -1 + .5 * 2 + 6.3 - .15 * 4 - 2 - .3 * log2(1 + 9 / 3) = 3.1; rank 4: 4^-.35
    logit = click_logit(-1.0, 2.0, 6.3, 4.0, True, 9.0)
    assert logit == pytest.approx(3.1)
    assert click_probability(4, logit) == pytest.approx(4**-0.35 / (1 + math.exp(-3.1)))


def test_watch_seconds_by_hand():
    # exp(c + .26 (-2 + 1.2) + .35 + 1.05 * -1)
    seconds = math.exp(responses.WATCH_INTERCEPT - 0.208 + 0.35 - 1.05)
    assert watch_seconds(-2.0, 1.0, 1e6, -1.0, False) == pytest.approx(seconds)
    assert watch_seconds(-2.0, 1.0, 10.0, -1.0, False) == 10
    assert watch_seconds(-2.0, 1.0, 10.0, -1.0, True) == pytest.approx(min(seconds, 20))


def test_refresh_probability_by_hand():
    logit = responses.REFRESH_INTERCEPT + 0.5 + 0.18 * (4 - 2.3) - 0.05 * 6
    assert refresh_probability(0.5, 4, 6) == pytest.approx(1 / (1 + math.exp(-logit)))


def kernel_draws(seed, slates):
    """The numbers that the kernel draws on the first day for slates [N, K] of users 0 to N."""
    draws = [np.empty(slates.shape) for _ in range(4)]
    for (user, place), video in np.ndenumerate(slates):
        click = philox(seed, Stream.CLICK.value, user, video, 0, 0)
        watch = philox(seed, Stream.WATCH.value, user, video, 0, 0)
        numbers = (uniform(click[0]), uniform(click[1]), normal_pair(*watch[:2])[0])
        for array, number in zip(draws, (*numbers, uniform(watch[2])), strict=True):
            array[user, place] = number
    words = [philox(seed, Stream.REFRESH.value, user, 0, 0, 0)[0] for user in range(len(slates))]
    return numpy_responses.Draws(*draws, np.array([uniform(word) for word in words]))


def test_plain_numpy_gives_the_same_responses_on_the_same_draws(world):
    """All equations once more, a slate's places in turn; a video comes twice in some slates."""
    slates = ((np.arange(300)[:, None] * 7 + np.arange(8) * np.array([1] * 7 + [0])) % 500).astype(
        np.int32
    )
    out, state = show(world, slates)
    plain = new_state(world.users, int(world.items.published.max()))
    draws = kernel_draws(world.seed, slates)
    peer = numpy_responses.respond(world, np.arange(300), slates, draws, plain)
    assert out.clicked.sum() > 300
    assert np.array_equal(peer.clicked, out.clicked)
    assert np.array_equal(peer.again, out.again)
    assert np.abs(peer.shown_at - out.shown_at).max() <= 1_000  # microseconds, of float32 seconds
    assert np.allclose(peer.watch_seconds, out.watch_seconds, rtol=1e-5)
    for name in ("interests", "fatigue", "joy", "clicks", "seen", "shown"):
        assert np.allclose(getattr(plain, name), getattr(state, name), atol=1e-5), name


def test_the_same_video_gets_fewer_clicks_further_down(world):
    # Every user sees videos in another rotation, so that each video is as often at each rank.
    slates = (np.arange(4_000)[:, None] + np.arange(8)) % 500
    by_rank = show(world, slates)[0].clicked.mean(axis=0)
    assert (np.diff(by_rank) < 0.02).all()
    # 8^-.35 = .48 of the clicks of rank 1, less what fatigue takes.
    assert 0.40 < by_rank[7] / by_rank[0] < 0.52


def test_a_video_seen_before_gets_fewer_clicks(world):
    slates = (np.arange(4_000)[:, None] + np.arange(8)) % 500
    first, state = show(world, slates)
    state.fatigue[:] = 0
    second, _ = show(world, slates, state=state)
    assert second.clicked.mean() < 0.75 * first.clicked.mean()


def test_the_ring_forgets_after_128(world):
    _, state = show(world, np.arange(8)[None])
    assert (state.seen[0] >= 0).sum() == 8
    for first in range(8, 136, 8):
        show(world, np.arange(first, first + 8)[None], state=state)
    assert set(state.seen[0].tolist()) == set(range(8, 136))


def test_fatigue_halves_in_two_hours(world):
    state = new_state(world.users, int(world.items.published.max()))
    state.fatigue[0] = 8.0
    state.clock[0] += 4 * HOUR
    show(world, np.arange(1)[None], state=state)
    clicked = state.clicks[0]
    assert state.fatigue[0].sum() == pytest.approx(4 * 8 / 4 + clicked, abs=0.01)


def test_watching_half_pulls_the_interest_towards_the_video(world):
    before = world.users.interests.copy()
    out, state = show(world, (np.arange(4_000)[:, None] + np.zeros(1, dtype=int)) % 500)
    video = np.arange(4_000) % 500
    half = (out.clicked[:, 0] == 1) & (out.watch_seconds[:, 0] >= 0.5 * world.items.duration[video])
    moved = (state.interests != before).any(axis=(1, 2))
    assert np.array_equal(moved, half)
    taste = world.items.taste[video][:, None]
    closer = (state.interests * taste).sum(axis=2) - (before * taste).sum(axis=2)
    assert (closer[half].max(axis=1) > 0).all()
    assert np.allclose(np.linalg.norm(state.interests, axis=2), 1, atol=1e-5)


def test_the_clock_is_glances_and_watching(world):
    out, state = show(world, (np.arange(400)[:, None] + np.arange(8)) % 500)
    assert (np.diff(out.shown_at, axis=1) > 0).all()
    clicked = out.clicked == 1
    glance = (out.clicked_at - out.shown_at)[clicked]
    assert ((glance >= 1_000_000) & (glance <= 3_000_000)).all()
    done = out.clicked_at[:, 7] + (out.watch_seconds[:, 7] * 1e6).astype(np.int64)
    assert np.abs(state.clock[: len(done)] - done)[clicked[:, 7]].max() <= 300  # float32 seconds
    assert (out.clicked_at[~clicked] == 0).all()


def test_who_clicks_a_video_further_down_would_have_clicked_it_first(world):
    # One number decides wherever the video stands; only its chance falls with rank (and with the
    # click before it).
    first, _ = show(world, np.tile([3, 5], (4_000, 1)))
    second, _ = show(world, np.tile([5, 3], (4_000, 1)))
    up, down = first.clicked[:, 0] == 1, second.clicked[:, 1] == 1
    assert 0 < down.sum() < up.sum()
    assert not (down & ~up).any()


def test_a_user_answers_alike_in_any_company(world):
    slates = np.tile(np.arange(8), (4_000, 1))
    first, _ = show(world, slates)
    some, _ = show(world, slates[100:200], users=np.arange(100, 200))
    assert np.array_equal(some.clicked, first.clicked[100:200])


@pytest.mark.parametrize(("eta", "same", "other"), [(0.0, 0.0, 0.0), (1.0, 0.87, 0.02)])
def test_eta_is_how_much_content_says_about_taste(eta, same, other):
    """Cosine of tastes of two videos on one topic, less that of two primary classes."""
    world = World.build(SimulationSettings(users=1, videos=2_000, visible_taste=eta), seed=7)
    topic, primary = world.items.topic, world.classes.primary[world.items.topic]
    cosine = world.items.taste @ world.items.taste.T
    one = cosine[(topic[:, None] == topic) & ~np.eye(2_000, dtype=bool)].mean()
    two = cosine[primary[:, None] != primary].mean()
    assert one - two == pytest.approx(same - other, abs=0.06)


def test_taste_with_eta_zero_ignores_content_and_with_one_ignores_the_hidden_side():
    rng = np.random.default_rng(0)
    sem, hidden = rng.normal(size=(5, 16)), rng.normal(size=(5, 8))
    blind = taste_net(SimulationSettings(visible_taste=0.0), 7)
    seeing = taste_net(SimulationSettings(visible_taste=1.0), 7)
    assert np.array_equal(tastes(sem, hidden, blind), tastes(sem[::-1], hidden, blind))
    assert np.array_equal(tastes(sem, hidden, seeing), tastes(sem, hidden[::-1], seeing))
    assert np.allclose(np.linalg.norm(tastes(sem, hidden, seeing), axis=1), 1)
