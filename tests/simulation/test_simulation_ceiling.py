"""The ceiling of a simulated world: its features by plain loops, its figures, its refusals."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from vidtopics.errors import InputError
from vidtopics.evaluate.ceiling.consumer import Consumer
from vidtopics.evaluate.ceiling.gains import weighted_auc
from vidtopics.evaluate.ceiling.log import earlier, kernel_sums, read_log
from vidtopics.evaluate.ceiling.worlds import home_world, written_world
from vidtopics.settings import SimulationSettings
from vidtopics.simulation import World, write_world
from vidtopics.simulation.items import DAY
from vidtopics.simulation.loop import simulate

TINY = SimulationSettings(users=60, videos=80, days=4, topics=40, tags=100, covers=False)


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
    log = read_log(simulate(world))
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
    log = read_log(simulate(world))
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


def same_log(log, other):
    return all((getattr(log, name) == column).all() for name, column in vars(other).items())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("ceiling") / "world"
    write_world(TINY, path, seed=7)
    return path


def test_the_log_in_memory_is_the_written_one(folder):
    world, log = written_world(folder)
    assert (world.seed, world.settings) == (7, TINY)
    assert same_log(log, read_log(simulate(World.build(TINY, 7))))


def change_truth(path, change):
    known = path / "truth" / "settings.json"
    tree = json.loads(known.read_text())
    change(tree)
    known.write_text(json.dumps(tree))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: tree.update(seed=8), "expected a log that this version of the simulation"),
        (lambda tree: tree.pop("settings"), "expected settings of a simulated world as this"),
        (lambda tree: tree["settings"].update(gravity=9.81), "expected settings of a simulated"),
    ],
)
def test_another_world_than_this_code_simulates_is_refused(folder, tmp_path, change, message):
    shutil.copytree(folder, tmp_path / "world")
    change_truth(tmp_path / "world", change)
    with pytest.raises(InputError, match=message):
        written_world(tmp_path / "world")


def test_a_log_that_cannot_be_read_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "world")
    (tmp_path / "world" / "impressions.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"impressions\.parquet: expected the log of a simulated"):
        written_world(tmp_path / "world")
    (tmp_path / "world" / "impressions.parquet").unlink()
    with pytest.raises(InputError, match=r"impressions\.parquet: expected the log of a simulated"):
        written_world(tmp_path / "world")


def test_a_home_is_of_one_world(folder, tmp_path):
    assert home_world(tmp_path) is None
    (tmp_path / "simulated" / "0-later-14").mkdir(parents=True)  # a delivery without truth
    assert home_world(tmp_path) is None
    shutil.copytree(folder, tmp_path / "simulated" / "1")
    shutil.copytree(folder, tmp_path / "simulated" / "2")  # the same under an older name
    assert home_world(tmp_path) == tmp_path / "simulated" / "2"
    change_truth(tmp_path / "simulated" / "1", lambda tree: tree.update(seed=8))
    with pytest.raises(InputError, match="expected one simulated world, found 2"):
        home_world(tmp_path)
