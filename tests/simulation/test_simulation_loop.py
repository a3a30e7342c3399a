"""Days under arms: what the loop promises whatever the policies are."""

import hashlib

import numpy as np
import pytest

from vidtopics.settings import SimulationSettings
from vidtopics.simulation.items import DAY, start_of
from vidtopics.simulation.loop import run_days, simulate
from vidtopics.simulation.platform import Platform
from vidtopics.simulation.responses import new_state
from vidtopics.simulation.slates import LoggedPolicy
from vidtopics.simulation.world import World

SMALL = SimulationSettings(users=300, videos=200, days=4)


@pytest.fixture(scope="module")
def world():
    return World.build(SMALL, 7)


class First:
    """Everybody gets the first videos of the pool."""

    name = "first"

    def open_day(self, day, platform):
        pass

    def choose(self, day, refresh, users, now_us, platform, slates, propensities):
        slates[:] = platform.live[: slates.shape[1]]
        propensities[:] = 1


def digest(batches):
    state = hashlib.sha256()
    for batch in batches:
        for array in (batch.users, batch.slates, batch.propensities, *batch.responses):
            state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()


def run(world, arms, arm_of, days=range(4), block=1_000):
    state, platform = new_state(world.users, start_of(world.settings)), Platform.new(world)
    return run_days(world, state, platform, arms, arm_of.astype(np.int8), days, block=block)


def test_the_worlds_own_log_is_the_logged_policy_alone(world):
    alone = digest(run(world, [LoggedPolicy(world)], np.zeros(300)))
    assert digest(simulate(world)) == alone


def test_arms_with_the_same_policy_are_one_arm(world):
    """Whatever way users are divided, and whatever blocks they are served in."""
    one = digest(run(world, [LoggedPolicy(world)], np.zeros(300)))
    split = [LoggedPolicy(world), LoggedPolicy(world)]
    assert digest(run(world, split, np.arange(300) % 2)) == one


def test_users_get_the_policy_of_their_arm(world):
    arm_of = np.arange(300) % 2
    arms = [LoggedPolicy(world), First()]
    batches = list(run(world, arms, arm_of, block=37))
    assert max(len(batch.users) for batch in batches) == 37
    by_round = {}
    for batch in batches:
        by_round.setdefault((batch.day, batch.refresh), []).append(batch)
        treated = arm_of[batch.users] == 1
        live = np.flatnonzero(world.items.published < start_of(SMALL) + batch.day * DAY)
        assert (batch.slates[treated] == live[:8]).all()
        assert (batch.propensities[treated] == 1).all()
        assert not (batch.slates[~treated] == live[:8]).all(axis=1).any()
    for (_, refresh), blocks in by_round.items():
        users = np.concatenate([batch.users for batch in blocks])
        assert (np.diff(users) > 0).all()
        if refresh:
            earlier = by_round[blocks[0].day, refresh - 1]
            again = np.concatenate([b.users[b.responses.again] for b in earlier])
            assert users.tolist() == again.tolist()


def test_who_is_in_no_other_users_way_answers_alike_in_every_experiment(world):
    """Common random numbers: a user's slates decide, not who else is in which arm."""
    some = np.zeros(300)
    some[:150] = 1
    everybody, half = (
        [
            (b.users[r], b.responses.clicked[r].tolist())
            for b in batches
            for r in range(len(b.users))
            if b.users[r] >= 150
        ]
        for batches in (
            run(world, [First(), LoggedPolicy(world)], arm_of) for arm_of in (np.zeros(300), some)
        )
    )
    assert half == everybody
    assert len(half) > 100


def test_days_can_be_run_in_parts(world):
    state, platform = new_state(world.users, start_of(SMALL)), Platform.new(world)
    policy, arm_of = LoggedPolicy(world), np.zeros(300, np.int8)
    parts = [
        batch
        for days in (range(1), range(1, 3), range(3, 4))
        for batch in run_days(world, state, platform, [policy], arm_of, days)
    ]
    assert digest(parts) == digest(simulate(world))


def test_a_world_that_goes_on_begins_with_the_same_log(world):
    longer = World.build(SMALL, 7, later_days=6)
    assert digest(simulate(longer)) == digest(simulate(world))
    for name, array in longer.items._asdict().items():
        assert np.array_equal(array[:200], getattr(world.items, name)), name


def test_later_videos_come_at_the_logs_rate_from_its_last_day_on():
    settings = SMALL.model_copy(update={"videos": 1_150})  # 1,000 older, 50 on each of three days
    published = World.build(settings, 7, later_days=6).items.published
    day = (published - start_of(settings)) // DAY
    assert np.bincount(day[1_000:]).tolist() == [50] * 9
    assert (np.diff(published[1_000:]) > 0).all()
