"""The simulated experiment: its arms, its truth, its files, and that a kill changes no byte."""

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from vidtopics.errors import BusyError, InputError, SettingsError
from vidtopics.experiments import bucket
from vidtopics.experiments.analysis import analyse
from vidtopics.experiments.declaration import DAY_US, read_experiment
from vidtopics.experiments.groups import GroupPair, choose_groups
from vidtopics.failpoints import Crash, armed
from vidtopics.settings import SimulationSettings
from vidtopics.simulation.experiment import Plan, run_experiment
from vidtopics.simulation.experiment_days import FOLDER, open_days
from vidtopics.simulation.world import World

SMALL = SimulationSettings(users=400, videos=150, days=2)
PLAN = Plan(arms=("plain", "appealing"), salt="test", pre_days=2, days=3, groups=4)
STEPS = 2 + 2 + 3 + 2 * 3


class Ranked:
    """Everybody gets the 64 live videos with the highest scores in turn."""

    def __init__(self, name, scores):
        self.name, self.scores = name, scores

    def open_day(self, day, platform):
        self.order = platform.live[np.argsort(-self.scores[platform.live], kind="stable")[:64]]

    def choose(self, day, refresh, users, now_us, platform, slates, propensities):
        k = slates.shape[1]
        slates[:] = self.order[(np.arange(k) + (3 * day + refresh) * k) % 64]
        propensities[:] = 1


@pytest.fixture(scope="module")
def world():
    return World.build(SMALL, 7, later_days=PLAN.later_days)


@pytest.fixture(scope="module")
def policies(world):
    lasting = world.items.appeal + 2 * world.items.satisfaction
    return {
        "plain": Ranked("plain", np.arange(len(lasting), dtype=float)),
        "appealing": Ranked("appealing", lasting),
        "same": Ranked("same", np.arange(len(lasting), dtype=float)),
    }


@pytest.fixture(scope="module")
def folder(world, policies, tmp_path_factory):
    out = tmp_path_factory.mktemp("experiment") / "out"
    seen = []
    run_experiment(world, policies, PLAN, out, progress=lambda *step: seen.append(step))
    return SimpleNamespace(path=out, steps=seen)


def digests(path):
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(path.iterdir())}


def test_the_folder_is_an_experiment_that_the_analysis_takes(folder):
    report = analyse(folder.path)
    assert report["verdict"] == "decided"
    assert {c["outcome"] for c in report["checks"]} <= {"passed", "not checked"}
    names = {check["name"] for check in report["checks"] if check["outcome"] == "passed"}
    assert {"sample ratio", "assignment by hash", "no difference in the pre-period"} <= names
    assert len(report["comparisons"]) == 5
    files = {"assignment", "exposure", "outcomes", "pre_outcomes"}
    expected = {*(f"{name}.parquet" for name in files), "experiment.yaml", "truth.json"}
    assert {f.name for f in folder.path.iterdir()} == expected | {"plan.json"}


def test_users_are_in_the_arm_of_their_hash_and_nobody_else_is_logged(folder):
    experiment = read_experiment(folder.path)
    arm_of = {b[0]: arm for arm, b in experiment.arm_buckets.items()}
    table = pq.read_table(folder.path / "assignment.parquet")
    assignment = dict(zip(*table.to_pydict().values(), strict=True))
    ids = [f"u{number:07d}" for number in range(400)]
    assert assignment == {u: arm_of[b] for u in ids if (b := bucket(u, "test", 4)) in arm_of}
    logged = set(pq.read_table(folder.path / "outcomes.parquet")["user_id"].to_pylist())
    assert logged <= set(assignment)
    before = set(pq.read_table(folder.path / "pre_outcomes.parquet")["user_id"].to_pylist())
    assert before - set(assignment)  # groups were chosen among all


def test_the_log_has_a_row_a_request_in_the_experiments_days(folder):
    experiment = read_experiment(folder.path)
    start = np.datetime64("2026-01-05T00:00:00", "us").astype(int)  # 2 days of log, 2 before
    assert (experiment.start_us, experiment.days) == (start, 3)
    outcomes = pq.read_table(folder.path / "outcomes.parquet").to_pandas()
    day = (outcomes["time"].astype("int64") - start) // DAY_US
    assert set(day) <= {0, 1, 2, 3}  # a session goes on past midnight
    assert set(outcomes["refreshes"]) == {0, 1}
    assert ((outcomes["watch_seconds"] > 0) == (outcomes["views"] > 0)).all()
    exposure = pq.read_table(folder.path / "exposure.parquet").to_pandas()
    both = exposure.merge(outcomes, on=["user_id", "time"])
    assert len(both) == len(exposure) < len(outcomes)
    # whoever has a request that isn't a session's first has refreshed
    assert outcomes["refreshes"].sum() == len(outcomes) - len(exposure)


def test_everybody_is_alike_before_the_start(folder, world, policies, tmp_path):
    """All are under control in the pre-period: another treatment changes nothing there."""
    plan = Plan(arms=("plain", "same"), salt="test", pre_days=2, days=3, groups=4)
    run_experiment(world, policies, plan, tmp_path / "out")
    name = "pre_outcomes.parquet"
    assert digests(tmp_path / "out")[name] == digests(folder.path)[name]
    # A/A: everybody does the same in both arms, so that the truth is exactly nothing
    effects = json.loads((tmp_path / "out" / "truth.json").read_text())["effects"]
    assert [(e["relative"], e["low"], e["high"]) for e in effects] == [(0.0, 0.0, 0.0)] * 5


def test_the_truth_is_everybody_under_each_arm(folder, world, policies):
    """The recorded effect is that of a plain loop over both whole populations."""
    from vidtopics.simulation.items import start_of
    from vidtopics.simulation.loop import run_days
    from vidtopics.simulation.platform import Platform
    from vidtopics.simulation.responses import new_state
    from vidtopics.simulation.slates import LoggedPolicy

    arm_of, end = np.zeros(400, np.int8), start_of(SMALL) + 7 * DAY_US
    watch, views = {}, {}
    for arm in PLAN.arms:
        state, platform = new_state(world.users, start_of(SMALL)), Platform.new(world)
        for policy, days in (
            (LoggedPolicy(world), range(2)),
            (policies["plain"], range(2, 4)),
        ):
            list(run_days(world, state, platform, [policy], arm_of, days))
        watch[arm] = views[arm] = 0.0
        for batch in run_days(world, state, platform, [policies[arm]], arm_of, range(4, 7)):
            inside = batch.responses.shown_at[:, 0] < end
            watch[arm] += float(batch.responses.watch_seconds[inside].sum())
            views[arm] += int(batch.responses.clicked[inside].sum())
    rows = json.loads((folder.path / "truth.json").read_text())["effects"]
    effects = {(row["metric"], row["population"]): row for row in rows}
    uvd = watch["appealing"] / watch["plain"] - 1
    assert effects["UVD", "assigned"]["relative"] == pytest.approx(uvd, rel=1e-5)
    avd = (1 + uvd) / (views["appealing"] / views["plain"]) - 1
    assert effects["AVD", "assigned"]["relative"] == pytest.approx(avd, rel=1e-5)
    assert uvd > 0.05  # there is something to find
    assert effects["UVD", "assigned"]["low"] < uvd < effects["UVD", "assigned"]["high"]


def test_estimates_stand_beside_their_truth(folder):
    truth = json.loads((folder.path / "truth.json").read_text())["effects"]
    rows = analyse(folder.path)["comparisons"]
    assert [row["truth"]["relative"] for row in rows] == [e["relative"] for e in truth]
    (folder.path.parent / "bad").mkdir()
    for file in folder.path.iterdir():
        (folder.path.parent / "bad" / file.name).write_bytes(file.read_bytes())
    (folder.path.parent / "bad" / "truth.json").write_text('{"effects": [{"metric": "UVD"}]}')
    with pytest.raises(InputError, match=r"truth\.json: expected the true effects"):
        analyse(folder.path.parent / "bad")


@pytest.mark.parametrize("days_done", [0, 3, 5, 8, STEPS - 1])
def test_a_run_that_was_killed_goes_on_and_writes_the_same_bytes(
    folder, world, policies, tmp_path, days_done
):
    out, again = tmp_path / "out", []

    def stop(step, requests, steps):
        if step.number + 1 == days_done:
            crash.__enter__()

    crash = armed("experiment.day")
    if not days_done:
        crash.__enter__()
    with pytest.raises(Crash):
        run_experiment(world, policies, PLAN, out, progress=stop)
    crash.__exit__(None, None, None)
    assert not (out / "experiment.yaml").exists()
    with pytest.raises(InputError, match="--resume"):
        run_experiment(world, policies, PLAN, out)
    run_experiment(world, policies, PLAN, out, resume=True, progress=lambda *s: again.append(s))
    assert len(again) == STEPS - days_done
    assert digests(out) == digests(folder.path)


def test_a_kill_while_the_plan_or_the_result_is_written_leaves_nothing(
    folder, world, policies, tmp_path
):
    out = tmp_path / "out"
    out.mkdir()
    (out / ".12-ab.part").write_text("{")  # the plan, half written: nothing was begun
    with armed("experiment.whole"), pytest.raises(Crash):
        run_experiment(world, policies, PLAN, out)
    assert (out / FOLDER).exists()
    (out / ".13-cd.part").write_text("name:")
    run_experiment(world, policies, PLAN, out, resume=True)
    assert digests(out) == digests(folder.path)


def test_a_state_is_there_only_while_a_later_day_begins_with_it(world, policies, tmp_path):
    out, most = tmp_path / "out", []
    run_experiment(
        world,
        policies,
        PLAN,
        out,
        progress=lambda *_: most.append(len(list((out / FOLDER).glob("*/state")))),
    )
    assert max(most) == 3  # the day before, the pre-period's end, and the one just written
    assert not (out / FOLDER).exists()


def test_a_whole_experiment_is_not_run_again(folder, world, policies):
    before, days = digests(folder.path), []
    run_experiment(
        world, policies, PLAN, folder.path, resume=True, progress=lambda *s: days.append(s)
    )
    assert (digests(folder.path), days) == (before, [])


def test_other_settings_are_not_mixed_in(folder, world, policies, tmp_path):
    plan = Plan(arms=PLAN.arms, salt="test", pre_days=2, days=4, groups=4)
    with pytest.raises(
        SettingsError, match=r"--resume, days: expected 3, as it was begun, found 4"
    ):
        run_experiment(world, policies, plan, folder.path, resume=True)
    with pytest.raises(InputError, match=r"plan\.json: expected an experiment that was begun"):
        run_experiment(world, policies, PLAN, tmp_path, resume=True)
    with (
        open_days(tmp_path / "out", {}, resume=False),
        pytest.raises(BusyError, match="expected no other run of it"),
        open_days(tmp_path / "out", {}, resume=True),
    ):
        pass


def test_what_cannot_be_compared_is_refused(world, policies, tmp_path):
    with pytest.raises(SettingsError, match="arms: expected two or more different ones"):
        Plan(arms=("plain", "plain"), salt="x")
    with pytest.raises(SettingsError, match="arms: expected two or more different ones"):
        Plan(arms=("a", "b", "c"), salt="x", groups=2)
    plan = Plan(arms=PLAN.arms, salt="test", groups=100)
    with pytest.raises(InputError, match=r"simulation\.users: expected at least 10 users"):
        run_experiment(world, policies, plan, tmp_path / "out")


def test_groups_are_the_set_with_the_least_distances():
    """Pair by pair 0 and 1 are the most alike, but 2 is far from both."""
    distances = {(0, 1): 1, (0, 2): 90, (0, 3): 50, (1, 2): 90, (1, 3): 60, (2, 3): 2}
    pairs = [GroupPair(a, b, float(d), 0.0) for (a, b), d in distances.items()]
    assert choose_groups(pairs, 2) == [0, 1]
    assert choose_groups(pairs, 3) == [0, 1, 3]  # 111, against 181, 142 and 152
