import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vidtopics.errors import InputError
from vidtopics.experiments.off_policy import PolicyLog, effective_size, estimate_policy
from vidtopics.experiments.off_policy_log import evaluate_file
from vidtopics.settings import SimulationSettings
from vidtopics.simulation import write_world

# two contexts, three actions: click probabilities, the logging and the new policy
CLICK = np.array([[0.1, 0.3, 0.5], [0.6, 0.2, 0.1]])
LOGGING = np.array([[0.6, 0.3, 0.1], [0.2, 0.4, 0.4]])
NEW = np.array([[0.1, 0.2, 0.7], [0.7, 0.2, 0.1]])
TRUTH = float((NEW * CLICK).sum(axis=1).mean())  # contexts are equally frequent


def draw_log(rows: int, seed: int, model: np.ndarray | None = None) -> PolicyLog:
    rng = np.random.default_rng(seed)
    context = rng.integers(0, 2, rows)
    action = (rng.random((rows, 1)) > LOGGING[context].cumsum(axis=1)).sum(axis=1)
    reward = (rng.random(rows) < CLICK[context, action]).astype(float)
    return PolicyLog(
        reward=reward,
        propensity=LOGGING[context, action],
        target=NEW[context, action],
        cluster=np.arange(rows),
        predicted=None if model is None else model[context, action],
        expected=None if model is None else (NEW * model).sum(axis=1)[context],
    )


def test_estimates_are_unbiased_and_their_intervals_cover_the_enumerated_value():
    wrong_model = np.full((2, 3), 0.3)
    logs = [draw_log(2000, seed, wrong_model) for seed in range(200)]
    for name in ("IPS", "SNIPS", "DR"):
        values = [estimate_policy(log)[name] for log in logs]
        means = np.array([value.value for value in values])
        assert abs(means.mean() - TRUTH) < 4 * means.std() / np.sqrt(len(means)), name
        covered = np.mean([value.low <= TRUTH <= value.high for value in values])
        assert 0.9 <= covered <= 0.99, name


def test_a_good_reward_model_narrows_the_doubly_robust_interval():
    values = estimate_policy(draw_log(5000, 1, CLICK))
    width = {name: value.high - value.low for name, value in values.items()}
    assert width["DR"] < 0.8 * width["IPS"]


def test_estimates_by_hand():
    """Two rows of weight 2 and 1/2: IPS (2 * 1 + 0) / 2, SNIPS 2 / 2.5, DR (.5 + 2 * .4 + .25)."""
    log = PolicyLog(
        reward=np.tile([1.0, 0.0], 100),
        propensity=np.tile([0.4, 0.4], 100),
        target=np.tile([0.8, 0.2], 100),
        cluster=np.arange(200),
        predicted=np.tile([0.6, 0.5], 100),
        expected=np.tile([0.5, 0.5], 100),
    )
    values = estimate_policy(log)
    assert values["IPS"].value == pytest.approx(1.0)
    assert values["SNIPS"].value == pytest.approx(0.8)
    assert values["DR"].value == pytest.approx((0.5 + 2 * 0.4 + 0.5 + 0.5 * -0.5) / 2)
    assert effective_size(log.target / log.propensity) == pytest.approx(250**2 / (100 * 4.25))


def test_rows_of_a_user_widen_the_interval():
    log = draw_log(2000, 3)
    alone = estimate_policy(log)["IPS"]
    repeated = {
        name: np.repeat(getattr(log, name), 4) for name in ("reward", "propensity", "target")
    }
    together = estimate_policy(PolicyLog(**repeated, cluster=np.repeat(log.cluster, 4)))["IPS"]
    assert together.high - together.low == pytest.approx(alone.high - alone.low, rel=1e-9)


def test_a_log_of_another_policy_is_refused():
    rng = np.random.default_rng(0)
    target = np.where(rng.random(5000) < 0.01, 1.0, 0.0)
    log = PolicyLog(np.ones(5000), np.full(5000, 0.01), target, np.arange(5000))
    with pytest.raises(
        InputError, match=r"expected an effective sample size of 100 or more, found"
    ):
        estimate_policy(log)


@pytest.mark.parametrize(
    ("name", "value"), [("propensity", 0.0), ("propensity", 1.5), ("target", -0.1)]
)
def test_what_is_no_probability_is_refused(name, value):
    log = draw_log(300, 1)
    getattr(log, name)[7] = value
    with pytest.raises(InputError, match=f"{name}, row 8: expected a probability"):
        estimate_policy(log)


def test_a_file_gives_the_estimates_of_its_arrays(tmp_path):
    log = draw_log(500, 4, CLICK)
    lines = ["user_id,reward,propensity,target_probability,predicted,expected"]
    columns = (log.reward, log.propensity, log.target, log.predicted, log.expected)
    lines += [
        f"u{place},{','.join(map(repr, map(float, row)))}"
        for place, row in enumerate(zip(*columns, strict=True))
    ]
    (tmp_path / "log.csv").write_text("\n".join(lines))
    report = evaluate_file(tmp_path / "log.csv")
    for name, value in estimate_policy(log).items():
        assert report["values"][name]["value"] == pytest.approx(value.value)
    assert report["values"]["logged policy"]["value"] == pytest.approx(log.reward.mean())
    assert (report["rows"], report["clusters"], report["unit"]) == (500, 500, "users")


def test_half_a_model_is_refused(tmp_path):
    (tmp_path / "log.csv").write_text("reward,propensity,target_probability,predicted\n1,.5,.5,1\n")
    with pytest.raises(
        InputError, match="expected predicted and expected, found 'predicted' alone"
    ):
        evaluate_file(tmp_path / "log.csv")


def test_estimates_are_those_of_open_bandit_pipeline():
    """In an environment that has `obp` 0.5.7 (Python below 3.11)."""
    estimators = pytest.importorskip("obp.ope.estimators")
    log = draw_log(1000, 6, CLICK)
    # two actions: the one that was taken and another, which has the rest of the probability
    policy = np.stack([log.target, 1 - log.target], axis=1)[:, :, None]
    other = (log.expected - log.target * log.predicted) / (1 - log.target)
    common = {
        "reward": log.reward,
        "action": np.zeros(1000, int),
        "action_dist": policy,
        "pscore": log.propensity,
        "position": np.zeros(1000, int),
        "estimated_rewards_by_reg_model": np.stack([log.predicted, other], axis=1)[:, :, None],
    }
    ours = estimate_policy(log)
    for name, estimator in (
        ("IPS", estimators.InverseProbabilityWeighting()),
        ("SNIPS", estimators.SelfNormalizedInverseProbabilityWeighting()),
        ("DR", estimators.DoublyRobust()),
    ):
        assert ours[name].value == pytest.approx(estimator.estimate_policy_value(**common)), name


def test_the_log_of_a_simulated_world_needs_a_target_alone(tmp_path):
    """An even draw earns less than the log's policy, which is what was clicked on average."""
    settings = SimulationSettings(users=400, videos=100, days=2, topics=40, covers=False)
    write_world(settings, tmp_path / "world", seed=7)
    log = pq.read_table(tmp_path / "world" / "impressions.parquet")
    published = pq.read_table(tmp_path / "world" / "videos.parquet")["published_at"].to_numpy()
    day = np.array([int(text.split("-")[1]) for text in log["request_id"].to_pylist()])
    midnights = np.datetime64("2026-01-01") + day.astype("timedelta64[D]")
    live = (published[None, :] < midnights[:, None]).sum(axis=1)
    target = 1 / (live - log["position"].to_numpy() + 1)
    pq.write_table(
        log.append_column("target_probability", pa.array(target)), tmp_path / "log.parquet"
    )
    report = evaluate_file(tmp_path / "log.parquet")
    clicked = log["clicked"].to_numpy().mean()
    assert report["values"]["logged policy"]["value"] == pytest.approx(clicked)
    assert report["values"]["SNIPS"]["high"] < clicked
    assert report["unit"] == "users"
