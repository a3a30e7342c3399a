"""Nothing that came later reaches a row: the future is poisoned, and no byte may change.

Each leak that is put in on purpose has to change some: so these tests can fail.
"""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from frame_worlds import NEVER, WINDOW, World, inputs, world
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from consumers.encoding.numbers import NAMES, TOPIC_NAMES
from consumers.encoding.topics import Centres
from consumers.encoding.vocabulary import Vocabulary
from consumers.ranking.inputs import encode
from consumers.training import frame, log
from consumers.training import inputs as training_inputs
from consumers.training.frame import build_frame
from vidtopics.rates import Prior
from vidtopics.settings import RankingSettings, Settings, UserSettings

PLACES = 4
SETTINGS = Settings(
    ranking=RankingSettings(label_window=timedelta(microseconds=WINDOW), history=PLACES),
    users=UserSettings(half_life=timedelta(microseconds=6)),
)
IDS = np.arange(1_000)
KNOWN = Vocabulary(
    pa.array(["u1", "u2"]),
    pa.array([f"v{i}" for i in range(6)]),
    Centres.of(IDS, np.eye(len(IDS), 8, dtype=np.float32) + 0.1, np.array([0]), 1),
    Prior(0.3, 10.0),
    0.5,
    0.5,
)
"""One for all worlds: a model's own knowledge is of its training rows alone."""


@pytest.fixture(autouse=True)
def short_days(monkeypatch):
    monkeypatch.setattr(log, "DAY_US", 7)


def read(w, requests=None):
    """The world's inputs; `requests`: event id -> request id."""
    plain = inputs(w)
    if requests is None:
        return plain
    ids = pa.array([requests[row[0]] for row in w.impressions], pa.string())
    at = plain.impressions.column_names.index("request_id")
    return replace(plain, impressions=plain.impressions.set_column(at, "request_id", ids))


def features(plain):
    """Event id -> (label, bytes of all that a model reads beside it)."""
    rows = build_frame(plain, SETTINGS, as_of_us=NEVER)
    examples = encode(rows, KNOWN, places=PLACES)
    batch = examples.batch(np.arange(len(rows)))
    parts = [t.numpy() for name, t in vars(batch).items() if name != "clicked"]
    ids = rows.impressions["event_id"].to_pylist()
    return {
        i: (bool(rows.clicked[n]), b"".join(part[n].tobytes() for part in parts))
        for n, i in enumerate(ids)
    }


def poisoned(w, row, start):
    """The world with all that wasn't known strictly before `start` replaced, but the row itself.

    Clicks turn into none and none into clicks, other videos are shown, topics are others.
    """
    i = row[0]
    impressions, clicks = [], []
    clicked = {click[0]: click for click in w.clicks}
    for other in w.impressions:
        e, user, video, t, created = other
        future = e != i and (t >= start or created > start)
        turned = (e, user, "v0" if video != "v0" else "v1", t, created)
        impressions.append(turned if future else other)
        at, known = clicked.get(e, (e, None, None))[1:]
        if at is not None and at < start and known <= start and not future:
            clicks.append(clicked[e])
        elif at is None:
            clicks.append((e, max(t, start), max(created, start)))
    versions = [
        version
        if max(version[1:3]) <= start
        else (*version[:3], 500 if version[3] is None else version[3] + 100)
        for version in w.topics
    ]
    return World(impressions, clicks, versions, w.statistics)


def changed(w, requests=None):
    """Event ids whose features change with their future."""
    before = features(read(w, requests))
    starts = {
        row[0]: min(
            other[3]
            for other in w.impressions
            if other[0] == row[0]
            or (requests and requests[other[0]] == requests[row[0]] and other[1] == row[1])
        )
        for row in w.impressions
    }
    return [
        row[0]
        for row in w.impressions
        if features(read(poisoned(w, row, starts[row[0]]), requests))[row[0]][1]
        != before[row[0]][1]
    ]


def small(seed):
    return world(seed, impressions=30, span=20)


def in_requests(w):
    """Two impressions that follow each other are of one request, where they are of one user."""
    return {row[0]: f"r{n // 2}" for n, row in enumerate(w.impressions)}


@pytest.mark.parametrize("seed", range(3))
def test_a_poisoned_future_changes_no_byte(seed):
    assert changed(small(seed)) == []


@pytest.mark.parametrize("seed", range(3))
def test_the_rest_of_a_request_changes_no_byte(seed):
    w = small(seed)
    assert changed(w, in_requests(w)) == []


def test_the_poison_changes_other_rows():
    """It does reach later rows, and turns labels, so it is no water."""
    w = small(0)
    row = w.impressions[5]
    before, after = features(read(w)), features(read(poisoned(w, row, row[3])))
    assert before[row[0]][0] != after[row[0]][0]
    assert sum(before[i][1] != after[i][1] for i in before) > 10


def known_at_its_own_time(monkeypatch):
    """Rows of one microsecond see each other, and themselves."""
    monkeypatch.setattr(log, "_known", np.maximum)


def windows_that_include_now(monkeypatch):
    windows = log.windows

    def leaking(entries, user, times_us, *, limit):
        return windows(entries, user, times_us + 1, limit=limit)._replace(seen_us=times_us)

    monkeypatch.setattr(frame, "windows", leaking)
    monkeypatch.setattr(log, "_known", np.maximum)


def topics_whenever_created(monkeypatch):
    def known(rows, keys, times):
        return training_inputs.matches(keys, times, rows.keys, rows.event_us, rows.created_us)

    monkeypatch.setattr(training_inputs.ViewRows, "known", known)


def expected_clicks_of_the_whole_day(monkeypatch):
    expected = log.expected_clicks

    def leaking(entries, *, prior_exposures):
        later = replace(entries, shown_us=entries.shown_us + log.DAY_US)
        return expected(later, prior_exposures=prior_exposures)

    monkeypatch.setattr(frame, "expected_clicks", leaking)


def clicks_before_they_were_known(monkeypatch):
    build = log.build_log

    def leaking(impressions, clicks, videos, users):
        at = clicks.column_names.index("created_us")
        early = clicks.set_column(at, "created_us", clicks["event_us"])
        return build(impressions, early, videos, users)

    monkeypatch.setattr(frame, "build_log", leaking)


def requests_that_see_themselves(monkeypatch):
    monkeypatch.setattr(frame, "request_starts", lambda rows: rows["event_us"].to_numpy())


LEAKS = [
    known_at_its_own_time,
    windows_that_include_now,
    topics_whenever_created,
    expected_clicks_of_the_whole_day,
    clicks_before_they_were_known,
    requests_that_see_themselves,
]


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.__name__)
def test_a_leak_on_purpose_is_noticed(leak, monkeypatch):
    leak(monkeypatch)
    worlds = [small(seed) for seed in range(3)]
    assert any(changed(w, in_requests(w)) for w in worlds)


def test_a_row_moved_to_the_microsecond_of_the_one_before_loses_that_one():
    """u sees v0 at 1 and v1 at 5, clicks v1 at 5; v2 at 6 sees both, v2 at 5 sees the first."""

    def third(t):
        shown = [("a", "u1", "v0", 1, 1), ("b", "u1", "v1", 5, 5), ("c", "u1", "v2", t, t)]
        w = World(shown, [("b", 5, 5)], [], [])
        rows = build_frame(inputs(w), SETTINGS, as_of_us=NEVER)
        return rows.state.statistics[2, :2].tolist(), np.diff(rows.windows[:2], axis=0)[0, 2]

    assert third(6) == ([2, 1], 2)
    assert third(5) == ([1, 0], 1)


def test_running_counts_at_equal_times_see_nothing_of_each_other():
    shown = [(i, "u1", "v0", 5, 5) for i in ("a", "b", "c")] + [("d", "u1", "v0", 6, 6)]
    w = World(shown, [(i, 5, 5) for i in ("a", "b")], [], [])
    rows = build_frame(inputs(w), SETTINGS, as_of_us=NEVER)
    assert rows.state.statistics[:, :2].tolist() == [[0, 0], [0, 0], [0, 0], [3, 2]]
    assert np.nan_to_num(rows.counts).tolist() == [[0, 0], [0, 0], [0, 0], [3, 2]]


def test_a_click_that_comes_late_counts_from_when_it_is_known():
    shown = [("a", "u1", "v0", 1, 1), *((f"b{t}", "u1", "v1", t, t) for t in (3, 8, 9, 10))]
    w = World(shown, [("a", 2, 9)], [], [])
    rows = build_frame(inputs(w), SETTINGS, as_of_us=NEVER)
    assert rows.state.statistics[:, 1].tolist() == [0, 0, 0, 1, 1]
    assert [bool(rows.log.clicked_us[0] <= seen) for seen in rows.windows.seen_us] == [
        False,
        False,
        False,
        True,
        True,
    ]


def shuffled(seed, rows=3_000):
    """A log whose clicks have nothing to do with anything, at the impressions' own times."""
    r = np.random.default_rng(seed)
    t = np.sort(r.integers(0, rows // 2, rows))  # many share a microsecond
    shown = [
        (f"i{n:05}", f"u{r.integers(3)}", f"v{r.integers(6)}", int(t[n]), int(t[n]))
        for n in range(rows)
    ]
    clicks = [(row[0], row[3], row[3]) for row in shown if r.random() < 0.4]
    topics = [(f"v{i}", 0, 0, i) for i in range(6)]
    return inputs(World(shown, clicks, topics, []))


def auc_by_time(plain):
    rows = build_frame(plain, SETTINGS, as_of_us=NEVER)
    examples = encode(rows, KNOWN, places=PLACES)
    x = np.concatenate([examples.numbers, examples.topic_numbers], axis=1)
    cut = int(0.6 * len(x))
    x = (x - x[:cut].mean(0)) / (x[:cut].std(0) + 1e-6)
    model = LogisticRegression(C=0.1, max_iter=200).fit(x[:cut], rows.clicked[:cut])
    return roc_auc_score(rows.clicked[cut:], model.decision_function(x[cut:]))


def test_shuffled_labels_give_half():
    """1,200 test rows: the standard deviation of AUC is .017."""
    aucs = [auc_by_time(shuffled(seed)) for seed in range(3)]
    assert np.mean(aucs) == pytest.approx(0.5, abs=3 * 0.017 / 3**0.5)


def test_shuffled_labels_show_a_leak(monkeypatch):
    known_at_its_own_time(monkeypatch)
    assert auc_by_time(shuffled(0)) > 0.55


def test_every_column_is_named_once():
    assert len(set(NAMES + TOPIC_NAMES)) == len(NAMES) + len(TOPIC_NAMES)
