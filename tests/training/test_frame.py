"""The training frame against plain Python, and what must never leak into it."""

from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pytest
from frame_worlds import LIMIT, NEVER, WINDOW, World, history_at, inputs, oracle, plain, world

from consumers.training import frames
from vidtopics.settings import RankingSettings, RecallSettings, Settings

SETTINGS = Settings(
    ranking=RankingSettings(label_window=timedelta(microseconds=WINDOW)),
    recall=RecallSettings(recent_clicks=LIMIT),
)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("as_of", "chunk"), [(NEVER, 1_000), (30, 7)])
def test_equals_the_oracle(seed, as_of, chunk):
    w = world(seed)
    assert plain(frames(inputs(w), SETTINGS, as_of_us=as_of, chunk_rows=chunk)) == oracle(w, as_of)


@pytest.mark.parametrize("seed", range(4))
def test_static_topics_are_those_of_the_last_release_and_nothing_else_changes(seed):
    w = world(seed)
    assert plain(frames(inputs(w), SETTINGS, as_of_us=NEVER, topics="all tags")) == oracle(
        w, NEVER, static=True
    )


def test_worlds_hold_the_cases_that_matter():
    rows = [row for seed in range(12) for row in oracle(world(seed), NEVER)]
    histories = [row[4] for row in rows]
    assert {len(h) for h in histories} == {0, 1, 2, 3}
    assert any(topic is None for row in rows for topic in row[5])
    assert any(topic is not None for row in rows for topic in row[5])
    w = world(0)
    assert any(created > at for _, at, created in w.clicks)
    assert len({(user, t) for _, user, _, t, _ in w.impressions}) < len(w.impressions)


def test_rows_keep_the_order_of_the_log_whatever_it_is():
    w = world(3)
    turned = replace(w, impressions=w.impressions[::-1])
    ids = [row[0] for row in plain(frames(inputs(turned), SETTINGS, as_of_us=NEVER, chunk_rows=11))]
    assert ids == [row[0] for row in w.impressions][::-1]


def statistics(w, runs, delay):
    """Exposures and clicks before each run's as-of time, as the job counts them.

    They become known `delay` later.
    """
    clicks = {i: (at, created) for i, at, created in w.clicks}
    rows = []
    for run in runs:
        for video in sorted({row[2] for row in w.impressions}):
            shown = [
                i for i, _, v, t, known in w.impressions if v == video and t < run and known <= run
            ]
            clicked = [
                i for i in shown if clicks.get(i, (NEVER, 0))[0] < run and clicks[i][1] <= run
            ]
            rows.append((video, run, run + delay, 1_000 * len(clicked) + len(shown)))
    return rows


@pytest.mark.parametrize("seed", range(2))
def test_an_impressions_label_never_reaches_its_own_features(seed):
    """Clicks at the impression's own time, as ratings; impressions share user and second."""
    w = world(seed, impressions=14, span=5)
    w.clicks = [(i, t, t) for i, _, _, t, _ in w.impressions if int(i[1:]) % 2]
    runs, changed = (2, 4), 0

    def features(clicks):
        flipped = World(w.impressions, clicks, w.topics, [])
        flipped.statistics = statistics(flipped, runs, delay=0)
        return {row[0]: row for row in plain(frames(inputs(flipped), SETTINGS, as_of_us=NEVER))}

    before = features(w.clicks)
    for i, _, _, t, _ in w.impressions:
        without = [click for click in w.clicks if click[0] != i]
        after = features(without if len(without) < len(w.clicks) else [*w.clicks, (i, t, t)])
        assert after[i][1] != before[i][1]  # the label
        assert after[i][2:] == before[i][2:]
        changed += any(after[j][2:] != before[j][2:] for j in before)
    assert (
        changed > len(w.impressions) / 4
    )  # it does reach the features of others, so this test can fail


def test_a_click_at_the_impressions_own_time_is_no_history():
    shown = [("a", "u", "v0", 5, 5), ("b", "u", "v1", 5, 5), ("c", "u", "v2", 6, 6)]
    w = World(shown, [("a", 5, 5), ("b", 5, 5)], [], [])
    assert [row[4] for row in plain(frames(inputs(w), SETTINGS, as_of_us=NEVER))] == [
        [],
        [],
        ["v1", "v0"],
    ]


def test_a_late_click_takes_its_place_in_the_history_when_it_is_known():
    shown = [
        ("a", "u", "v0", 1, 1),
        ("b", "u", "v1", 2, 2),
        ("c", "u", "v2", 5, 5),
        ("d", "u", "v2", 9, 9),
    ]
    w = World(shown, [("a", 1, 9), ("b", 2, 2)], [], [])
    rows = plain(frames(inputs(w), SETTINGS, as_of_us=NEVER))
    assert [row[4] for row in rows] == [[], [], ["v1"], ["v1", "v0"]]
    assert history_at(w, "u", 9) == ["v1", "v0"]


def test_histories_longer_than_the_limit_keep_the_latest_and_short_ones_stay_whole():
    shown = [(f"{i:02}", "u", f"v{i % 5}", i, i) for i in range(9)]
    w = World(shown, [(i, t, t) for i, _, _, t, _ in shown], [], [])
    wide = SETTINGS.model_copy(update={"recall": RecallSettings(recent_clicks=128)})
    assert plain(frames(inputs(w), SETTINGS, as_of_us=NEVER))[-1][4] == ["v2", "v1", "v0"]
    assert plain(frames(inputs(w), wide, as_of_us=NEVER))[-1][4] == ["v2", "v1", "v0", "v4", "v3"]


def test_empty_worlds():
    assert list(frames(inputs(World([], [], [], [])), SETTINGS, as_of_us=NEVER)) == []
    (frame,) = frames(inputs(World([("a", "u", "v", 1, 1)], [], [], [])), SETTINGS, as_of_us=NEVER)
    assert frame.features.to_pylist() == [dict.fromkeys(frame.features.column_names)]
    assert (frame.recent(0), len(frame), frame.clicked.tolist()) == ([], 1, [False])


def test_clicks_of_unknown_impressions_are_left_out():
    w = World([("a", "u", "v", 1, 1)], [("zz", 0, 0)], [], [])
    assert plain(frames(inputs(w), SETTINGS, as_of_us=NEVER)) == oracle(w, NEVER)


def test_the_same_frame_twice_is_the_same_bytes():
    def written():
        sink = pa.BufferOutputStream()
        for frame in frames(inputs(world(5)), SETTINGS, as_of_us=NEVER, chunk_rows=13):
            with pa.ipc.new_stream(sink, frame.features.schema) as stream:
                stream.write_table(frame.features)
            sink.write(
                frame.history_videos.tobytes()
                + frame.history_topics.tobytes()
                + frame.history.tobytes()
            )
        return sink.getvalue().to_pybytes()

    assert written() == written()


def test_an_impression_that_is_not_known_yet_is_no_row():
    w = World([("a", "u", "v", 1, 99), ("b", "u", "v", 1, 1)], [], [], [])
    assert [row[0] for row in plain(frames(inputs(w), SETTINGS, as_of_us=50))] == ["b"]
    assert [row[0] for row in plain(frames(inputs(w), SETTINGS, as_of_us=99))] == ["a", "b"]
