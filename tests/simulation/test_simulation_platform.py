"""The platform's counts: those of the daily jobs, for blocks of any size, saved whole."""

from collections import defaultdict
from datetime import timedelta
from types import SimpleNamespace

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from spark_jobs.user_statistics import SUMS as USER_SUMS
from spark_jobs.video_counts import SUMS
from vidtopics.errors import TableError
from vidtopics.jobs.decayed_sums import sum_events
from vidtopics.jobs.sql import DuckEngine
from vidtopics.settings import Settings, SimulationSettings, StatisticsSettings
from vidtopics.simulation import World
from vidtopics.simulation.counts import RING
from vidtopics.simulation.items import DAY, start_of
from vidtopics.simulation.loop import simulate
from vidtopics.simulation.platform import Platform
from vidtopics.simulation.responses import empty_responses

HOUR = DAY // 24
WORLD = World.build(SimulationSettings(users=60, videos=40, days=4), seed=7)
START = start_of(WORLD.settings)


def batch(users, slates, shown_at, clicked_at):
    """A block in which a click has the time given, and 0 stands for none."""
    slates, clicked_at = np.array(slates, np.int32), np.array(clicked_at)
    answers = empty_responses(*slates.shape)
    answers.shown_at[:], answers.clicked_at[:] = shown_at, clicked_at
    answers.clicked[:] = clicked_at > 0
    return SimpleNamespace(users=np.array(users), slates=slates, responses=answers)


def played(block):
    """The platform after the world's log."""
    platform, at = Platform.new(WORLD), None
    for part in simulate(WORLD, block=block):
        if at != (part.day, part.refresh):
            platform.commit()
        if at is None or at[0] != part.day:
            platform.open_day(START + part.day * DAY)
        at = part.day, part.refresh
        platform.record(part)
    platform.commit()
    platform.open_day(START + WORLD.settings.days * DAY)
    return platform


def events_of_log():
    """user, video, time, shown, clicked of every event."""
    for part in simulate(WORLD):
        answers = part.responses
        for i, user in enumerate(part.users.tolist()):
            for k, video in enumerate(part.slates[i].tolist()):
                yield user, video, int(answers.shown_at[i, k]), 1, 0
                if answers.clicked[i, k]:
                    yield user, video, int(answers.clicked_at[i, k]), 0, 1


def of_jobs(key, events, base, sums):
    """Rows of the jobs' own SQL, by key."""
    engine = DuckEngine(None, duckdb.connect())
    engine.arrow("events", events)
    engine.arrow("base", base)
    names = [name for s in sums for name in (s.total, s.decayed)]
    at = names[0].split("_")[0] + "_decayed_at"
    rows = engine.rows(sum_events(engine, key, at, sums, timedelta(days=7)))
    return rows, {row.pop(key): row for row in rows.to_pylist()}


def test_counts_of_videos_change_at_midnight_and_decay_by_hand():
    platform = Platform.new(WORLD)
    platform.open_day(START)
    noon, late = START + 12 * HOUR, START + 25 * HOUR
    platform.record(batch([3], [[5, 6]], [[noon, noon + 9]], [[noon + 4, 0]]))
    platform.commit()
    platform.record(batch([3, 4], [[5], [5]], [[noon + HOUR], [late]], [[0], [late + 1]]))
    assert platform.exposures[5] == 1  # the second round isn't over
    platform.commit()
    assert platform.exposures[5] == 3
    assert platform.clicks[5] == 2
    assert platform.known.exposures[5] == 0
    platform.open_day(START + DAY)
    known = platform.known
    assert (known.exposures[5], known.clicks[5], known.decayed_at[5]) == (2, 1, noon + HOUR)
    assert known.decayed_exposures[5] == pytest.approx(1 + 0.5 ** (1 / 24 / 7), rel=1e-8)
    assert known.decayed_clicks[5] == pytest.approx(0.5 ** ((HOUR - 4) / DAY / 7), rel=1e-8)
    # 3 impressions and 1 click in all, 10 imagined ones: (1 + 10 / 3) / (2 + 10)
    assert platform.rate[5] == pytest.approx((1 + 10 / 3) / 12)
    platform.open_day(START + 2 * DAY)
    known = platform.known
    assert (known.exposures[5], known.clicks[5], known.decayed_at[5]) == (3, 2, late + 1)
    share = 0.5 ** ((late + 1 - noon - HOUR) / DAY / 7)
    before = 1 + 0.5 ** (1 / 24 / 7)
    assert known.decayed_exposures[5] == pytest.approx(1 + before * share, rel=1e-8)


def test_counts_of_videos_are_those_of_the_jobs():
    platform = played(block=65_536)
    rows = defaultdict(list)
    for _, video, us, shown, clicked in events_of_log():
        day = (us - START) // DAY
        if day < WORLD.settings.days:
            rows[day].append({"video_id": video, "us": us, "shown": shown, "clicked": clicked})
    base, expected = (
        pa.schema(
            [("video_id", pa.int64()), ("video_decayed_at", pa.int64())]
            + [(name, pa.float32()) for s in SUMS for name in (s.total, s.decayed)]
        ).empty_table(),
        {},
    )
    for day in range(WORLD.settings.days):
        _, by_video = of_jobs("video_id", pa.Table.from_pylist(rows[day]), base, SUMS)
        expected |= by_video
        base = pa.Table.from_pylist([{"video_id": v, **row} for v, row in expected.items()])
    assert len(expected) == 40
    for video, row in expected.items():
        assert platform.known.exposures[video] == row["video_exposures"]
        assert platform.known.clicks[video] == row["video_clicks"]
        assert platform.known.decayed_at[video] == row["video_decayed_at"]
        for name in ("decayed_exposures", "decayed_clicks"):
            ours = getattr(platform.known, name)[video]
            assert ours == pytest.approx(row[f"video_{name}"], rel=1e-6)


def test_counts_of_users_are_those_of_the_jobs():
    platform = played(block=65_536)
    rates = {day: dict.fromkeys(range(40), 0.0) for day in range(WORLD.settings.days + 1)}
    log = list(events_of_log())
    for day in range(1, WORLD.settings.days + 1):  # the smoothed rate of the log until midnight
        known = [e for e in log if e[2] < START + day * DAY]
        shown, clicked = (sum(e[i] for e in known) for i in (3, 4))
        for video in rates[day]:
            own = [e for e in known if e[1] == video]
            clicks, exposures = sum(e[4] for e in own), sum(e[3] for e in own)
            rates[day][video] = (clicks + 10 * clicked / shown) / (exposures + 10)
    session = {}
    for part in simulate(WORLD):  # an impression after midnight has the rate of its session's day
        session |= {
            (u, t): part.day
            for u, row in zip(part.users.tolist(), part.responses.shown_at.tolist(), strict=True)
            for t in row
        }
    events = [
        {
            "user_id": u,
            "us": t,
            "shown": s,
            "clicked": c,
            "expected": rates[session[u, t]][v] if s else 0.0,
        }
        for u, v, t, s, c in log
    ]
    base = pa.schema(
        [("user_id", pa.int64()), ("user_decayed_at", pa.int64())]
        + [(name, pa.float32()) for s in USER_SUMS for name in (s.total, s.decayed)]
    ).empty_table()
    _, by_user = of_jobs("user_id", pa.Table.from_pylist(events), base, USER_SUMS)
    users = platform.users
    assert len(by_user) > 40
    for user, row in by_user.items():
        assert (users.shown[user], users.clicks[user], users.decayed_at[user]) == (
            row["user_exposures"],
            row["user_clicks"],
            row["user_decayed_at"],
        )
        assert users.expected_clicks[user] == pytest.approx(row["user_expected_clicks"], rel=1e-5)
        names = ("user_decayed_exposures", "user_decayed_clicks", "user_decayed_expected")
        assert users.decayed[user].tolist() == pytest.approx([row[n] for n in names], rel=1e-5)


def test_rings_hold_the_last_impressions_and_clicks_at_their_own_time():
    platform = Platform.new(WORLD)
    platform.open_day(START)
    for i in range(RING + 2):
        at = START + 1_000 * i
        platform.record(batch([9], [[i % 40]], [[at]], [[at + 7 if i % 3 == 0 else 0]]))
    users = platform.users
    assert users.shown[9] == RING + 2
    assert users.video[9, 2] == 2  # places 0 and 1 have the newest two
    assert users.video[9, :2].tolist() == [RING % 40, (RING + 1) % 40]
    assert users.at[9, 3] == START + 3_000 + 7
    assert users.clicked[9, 3:6].tolist() == [1, 0, 0]
    assert (users.video[8] == -1).all()


def test_blocks_of_any_size_give_the_same_bytes():
    first, second = (played(block)._arrays() for block in (65_536, 7))
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)


def test_live_videos_are_those_published_before_midnight():
    platform = Platform.new(WORLD)
    platform.open_day(START + DAY)
    assert set(platform.live.tolist()) == {
        v for v, us in enumerate(WORLD.items.published.tolist()) if us < START + DAY
    }


def test_saved_platform_and_copy_go_on_as_the_first(tmp_path):
    platform = played(block=65_536)
    platform.save(tmp_path / "day")
    platform.save(tmp_path / "day")
    assert [f.name for f in (tmp_path / "day").iterdir()] == ["platform.npz"]
    others = [Platform.load(tmp_path / "day"), platform.copy()]
    shown = batch([3], [[5]], [[START + 5 * DAY]], [[START + 5 * DAY + 3]])
    states = []
    for each in (*others, platform):
        each.record(shown)
        each.commit()
        each.open_day(START + 6 * DAY)
        states.append({name: array.tobytes() for name, array in each._arrays().items()})
    assert states[0] == states[1] == states[2]
    assert others[1].users.video is not platform.users.video


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 half"])
def test_no_or_half_a_file_is_one_message(tmp_path, content):
    if content is not None:
        (tmp_path / "platform.npz").write_bytes(content)
    with pytest.raises(TableError, match=r"expected a saved platform.*Mend: start the experiment"):
        Platform.load(tmp_path)


def test_half_lives_and_prior_are_the_settings():
    settings = Settings(
        statistics=StatisticsSettings(prior_exposures=20.0, half_life=timedelta(days=1))
    )
    assert Platform.new(WORLD, settings).rules == (DAY, 7 * DAY, 20.0)
