"""From an event through the real path to the next recommendation, its replay and the training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import redis
from events_home import SmallHome, now_us
from live_worlds import Shown, sent
from topic_home import (
    BARE,
    DAY_US,
    MODULES,
    PARENTS,
    SETTINGS,
    VIDEOS,
    make_home,
    topic_of,
    topics_of,
)

from consumers.live import LivePart, LiveRules, LiveStore, ReleaseAlone
from consumers.live.topics import COUNTS
from consumers.parity.live_log import DAMAGED
from consumers.parity.request_log import LiveReleases, append, replay_file
from consumers.parity.requests import Logged
from consumers.ranking.codes import centres_at
from consumers.recommendation import Answer, answer, best_of, gather
from consumers.retrieval import Recall
from consumers.training.frame import build_frame
from consumers.training.inputs import Inputs, read
from consumers.training.served import DECAYED_AT, STATISTICS, decayed_statistics
from consumers.training.tallies import Served, Slots, TopicRows
from vidtopics.cli.stores import load_ordering
from vidtopics.contracts import VIDEO_TOPICS
from vidtopics.errors import InputError
from vidtopics.events.applying import Applier
from vidtopics.ingest.landing import land
from vidtopics.materialization import live
from vidtopics.materialization.live_queues import QueueRefresher
from vidtopics.online import AsyncOnlineClient, OnlineClient
from vidtopics.online.connections import connect, connect_async
from vidtopics.online.events import EventClient
from vidtopics.tables import FOREVER

RULES = LiveRules.of(SETTINGS)
USERS = [f"u{i}" for i in range(4)]
MORNING_US = now_us() // DAY_US * DAY_US
"""The releases' T: the day began and the release is as of then, so that both expect alike."""


def earlier_log() -> list[Shown]:
    """Two days old; u3 is not in it."""
    us = MORNING_US - 2 * DAY_US
    return [
        Shown(
            f"d{i}",
            USERS[i % 3],
            VIDEOS[i * 5 % 12],
            us + i * 1_000,
            i % 5 + 1,
            us + i * 1_000 + 100 if i % 4 == 0 else None,
        )
        for i in range(50)
    ]


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a release as of the morning. Not to be written to."""
    home = make_home(tmp_path_factory.mktemp("released"), earlier_log())
    home.release(MORNING_US)
    return home.root


class World:
    """A home in a store, whose events are applied when they are sent."""

    def __init__(self, home: SmallHome, store: Any) -> None:
        self.home, self.store, self.client = home, store, OnlineClient(store)
        home.load(store)
        self.recall = Recall(LiveStore(self.client, RULES), SETTINGS.recall)
        self.applier: Applier | None = None

    def begin(self) -> None:
        self.applier = live.begin(self.store, SETTINGS)
        self.apply()

    def apply(self) -> None:
        assert self.applier
        for generation in live.synchronise(self.home.tables, self.applier):
            self.applier.apply(generation)

    def send(self, events: list[Any]) -> None:
        EventClient(self.store).send(events)
        self.apply()

    def land(self) -> None:
        assert self.applier
        keys, ahead = self.applier.keys, SETTINGS.online.max_ahead
        land(self.home.tables, self.store, keys, SETTINGS.ingest, ahead)

    def ask(self, user: str, *, seed: int = 1) -> Answer:
        return answer(self.recall, ByExposures(), user, seed=seed, at_us=now_us())


class ByExposures:
    """Scores by what is live in each of the views that a ranker reads."""

    def score(self, candidates: Any, features: Any) -> Any:
        shown = features["video_statistics"]["video_exposures"]
        own = float(features["user_statistics"]["user_exposures"][0])
        lists = features["user_topics"]["user_topic_clicks"][0]
        topics = 0.0 if lists is None else float(np.sum(lists))
        return (shown / 100 + own / 1_000 + topics / 10_000).astype(np.float32)


@pytest.fixture
def world(released: Path, tmp_path: Path, store: redis.Redis) -> World:
    shutil.copytree(released, tmp_path / "copy")
    return World(SmallHome(tmp_path / "copy", VIDEOS, SETTINGS, MODULES), store)


def shown(name: str, user: str, video: str, *, clicked: bool = False) -> Shown:
    us = now_us()
    return Shown(name, user, video, us, 1, us + 1 if clicked else None)


def test_the_next_recommendation_knows_a_click_and_an_impression(world: World) -> None:
    world.begin()
    before = world.ask("u1")
    video, skipped, *_ = before.candidates.video_ids
    none = {"since_us": MORNING_US, "exposures": 0, "clicks": 0, "damaged": False}
    assert best_of(before, before.scores, top=3).live == none
    impression = shown("n1", "u1", video)
    world.send(sent([impression, shown("n2", "u1", skipped)]))
    seen = world.ask("u1")
    assert not {video, skipped} & {*seen.candidates.video_ids}
    assert seen.candidates.skips[:2] == [skipped, video]
    assert (seen.candidates.clicks, seen.live.report()["exposures"]) == (
        before.candidates.clicks,
        2,
    )

    world.send([replace(impression, clicked_us=now_us()).click()])
    clicked = world.ask("u1")
    assert video not in clicked.candidates.video_ids
    assert clicked.candidates.clicks == [video, *before.candidates.clicks]
    assert video not in clicked.candidates.skips
    assert skipped in clicked.candidates.skips
    weights = [_topic_clicks(a, topic_of(video)) for a in (before, seen, clicked)]
    assert weights[1] == weights[0]
    assert weights[2] == pytest.approx(weights[0] + 0.75)
    assert _counts(clicked, "u1") == (_counts(before, "u1")[0] + 2, _counts(before, "u1")[1] + 1)
    report = best_of(clicked, clicked.scores, top=3).live
    assert report == none | {"exposures": 2, "clicks": 1}


def _topic_clicks(given: Answer, topic: int) -> float:
    row = given.features["user_topics"]
    ids: Any = row["user_topic_ids"][0]
    clicks: Any = row["user_topic_clicks"][0]
    return float(dict(zip(ids.tolist(), clicks.tolist(), strict=True)).get(topic, 0.0))


def _counts(given: Answer, user: str) -> tuple[int, int]:
    row = given.features["user_statistics"]
    return int(row["user_exposures"][0]), int(row["user_clicks"][0])


def test_a_new_user_is_known_by_the_first_click(world: World) -> None:
    world.begin()
    before = world.ask("u3")
    assert before.candidates.popular == "new user"
    video = next(v for v in before.candidates.video_ids if v != BARE)
    world.send(sent([shown("n1", "u3", video, clicked=True)]))
    after = world.ask("u3")
    assert (after.candidates.popular, after.candidates.clicks) == ("", [video])
    assert {r.topic_id for r in after.candidates.reasons.values() if r.level == "topic"} <= {
        *topics_of(video)
    }
    row = after.features["user_topics"]
    assert row.event_us.tolist() == row.created_us.tolist() == [MORNING_US]
    assert {*row["user_parent_ids"][0].tolist()} == {PARENTS[t] for t in topics_of(video)}


def test_candidates_have_live_counts_and_the_serving_log_the_release_s(world: World) -> None:
    logged: list[Any] = []

    class Log:
        def offer(self, directory: Any, parts: Any, features: Any) -> None:
            logged.extend(zip((view for view, _ in parts), features, strict=True))

    world.begin()
    world.client.log = Log()
    before = world.ask("u1")
    video = before.candidates.video_ids[0]
    logged.clear()
    world.send(sent([shown(f"n{i}", "u2", video, clicked=True) for i in range(3)]))
    after = world.ask("u1")
    place = after.candidates.video_ids.index(video)
    rows = [a.features["video_statistics"] for a in (before, after)]
    assert rows[1]["video_exposures"][place] == rows[0]["video_exposures"][0] + 3
    assert rows[1]["video_clicks"][place] == rows[0]["video_clicks"][0] + 3
    assert rows[1].event_us[place] == rows[0].event_us[0]
    served = world.client.snapshot().read("video_statistics", after.candidates.video_ids)
    offered = next(f for view, f in logged if view == "video_statistics" and len(f) == len(served))
    assert offered["video_exposures"].tolist() == served["video_exposures"].tolist()
    assert offered["video_exposures"][place] == rows[0]["video_exposures"][0]


def test_where_nobody_applies_events_or_the_setting_is_off_the_release_answers(
    world: World,
) -> None:
    first = world.ask("u1")
    assert first.live is None
    assert best_of(first, first.scores, top=3).live is None
    world.begin()
    world.send(sent([shown("n1", "u1", first.candidates.video_ids[0], clicked=True)]))
    plain = gather(Recall(world.client, SETTINGS.recall), world.client.snapshot(), "u1", seed=1)
    assert plain.live is None
    assert plain.candidates.video_ids == first.candidates.video_ids
    assert world.ask("u1").live is not None


def test_where_the_setting_is_off_queues_are_the_release_s_too(
    world: World, tmp_path: Path
) -> None:
    """Else a request that says `live: null` has an order that no replay of its release gives."""
    alone = Recall(ReleaseAlone(world.client), SETTINGS.recall)
    first = answer(alone, ByExposures(), "u3", seed=1)
    world.begin()
    refresher = QueueRefresher(world.store, "vt", world.home.tables, load_ordering(SETTINGS))
    refresher.refresh()
    last = first.candidates.video_ids[-1]
    world.send(sent([shown(f"m{i}", "u2", last, clicked=True) for i in range(40)]))
    refresher.refresh()
    assert world.client.queues(["all"], epoch=1, limit=1) == [[last]]
    then = answer(alone, ByExposures(), "u3", seed=1)
    assert then.candidates.video_ids == first.candidates.video_ids
    assert then.live is None
    file = tmp_path / "requests.jsonl"
    append(file, Logged.of(then, now_us()))
    assert _replayed(world, file).differing == {}
    assert world.ask("u3").candidates.video_ids != first.candidates.video_ids


def test_a_damaged_count_of_one_video_fails_no_request(world: World) -> None:
    """As documented it lacks what came since; the videos beside it don't."""
    world.begin()
    before = world.ask("u1")
    video, other, *_ = before.candidates.video_ids
    world.send(sent([shown(f"n{v}", "u2", v, clicked=True) for v in (video, other)]))
    assert world.applier
    keys = world.applier.keys
    world.store.hset(keys.state(1, "video", "state", keys.bucket(video.encode())), video, b"short")
    after = world.ask("u1")
    assert after.live
    assert after.live.counts == {other: (1, 1)}
    counts = world.client.live_statistics([video, other])
    assert counts.live_exposures.tolist() == [0, 1]


def test_a_request_of_a_damaged_user_is_answered_again_as_it_was(
    world: World, tmp_path: Path
) -> None:
    """The replay gives the same answer; what the log has beyond it is said in one line."""
    world.begin()
    before = world.ask("u1")
    world.send(sent([shown("n1", "u1", before.candidates.video_ids[0], clicked=True)]))
    assert world.ask("u1").candidates.video_ids != before.candidates.video_ids
    assert world.applier
    keys = world.applier.keys
    name = keys.state(1, "user", "state", keys.bucket(b"u1"))
    value: Any = world.store.hget(name, "u1")
    world.store.hset(name, "u1", value[:-1])
    damaged = world.ask("u1")
    assert damaged.candidates.video_ids == before.candidates.video_ids
    for view in ("user_statistics", "user_topics"):
        served = world.client.snapshot().read(view, ["u1"])
        assert [str(served[n]) for n in served.names] == [
            str(damaged.features[view][n]) for n in served.names
        ]
    assert damaged.live
    assert damaged.live.counts == {before.candidates.video_ids[0]: (1, 1)}
    file = tmp_path / "requests.jsonl"
    append(file, Logged.of(damaged, now_us()))
    world.land()
    assert _replayed(world, file).differing == {1: ["user u1", DAMAGED]}


def test_a_live_request_takes_as_many_round_trips_as_another(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.begin()
    world.send(sent([shown("n1", "u1", VIDEOS[3], clicked=True)]))
    world.client.directory()
    trips, queues = list[int](), list[int]()
    monkeypatch.setattr(OnlineClient, "_run", _counting(OnlineClient._run, trips))
    read_queues = OnlineClient.queues
    monkeypatch.setattr(
        OnlineClient, "queues", lambda *a, **o: queues.append(len(a)) or read_queues(*a, **o)
    )
    for store in (world.client, LiveStore(world.client, RULES)):
        for user in ("u1", "u2", "u3"):
            gather(Recall(store, SETTINGS.recall), store.snapshot(), user, seed=1)
            # Lists of the user, their topics, each level of queues, and all features.
            assert len(trips) == 3 + len(queues)
            trips.clear()
            queues.clear()


def test_a_request_sees_one_state_of_its_user_whatever_comes_meanwhile(world: World) -> None:
    world.begin()
    request = LiveStore(world.client, RULES).snapshot()
    lists = ["user_recent_clicks", "user_recent_skips"]
    first = request.read_entities(lists, {"user": ["u1"]})
    world.send(sent([shown("n1", "u1", VIDEOS[3], clicked=True)]))
    views = [*lists, "user_statistics", "video_statistics"]
    rows = request.read_entities(views, {"user": ["u1"], "video": VIDEOS})
    assert {view: rows[view] for view in lists} == first
    assert request.part
    assert request.part.states == {}
    batch = world.client.read("user_statistics", ["u1"])
    assert rows["user_statistics"]["user_exposures"] == batch["user_exposures"]
    assert request.part.counts == {VIDEOS[3]: (1, 1)}  # counts of videos come with their rows
    with pytest.raises(InputError, match="the request's user, 'u1', found 'u2'"):
        request.read_entities(lists, {"user": ["u2"]})


def _counting(run: Any, trips: list[int]) -> Any:
    def counted(self: OnlineClient, read: Any) -> Any:
        def passed() -> Iterator[Any]:
            answer = None
            while True:
                try:
                    commands = read.send(answer)
                except StopIteration as end:
                    return end.value
                trips.append(len(commands))
                answer = yield commands

        return run(self, passed())

    return counted


@pytest.fixture
def logged(world: World, tmp_path: Path) -> Path:
    """Requests with events beside the release, and one without; all events have landed."""
    file = tmp_path / "requests.jsonl"
    world.begin()
    plain = gather(Recall(world.client, SETTINGS.recall), world.client.snapshot(), "u1", seed=3)
    plain_answer = Answer(plain.candidates, plain.features, plain.score(ByExposures()))
    append(file, Logged.of(plain_answer, now_us()))
    for number in range(3):
        for user in USERS:
            given = world.ask(user, seed=number)
            append(file, Logged.of(given, now_us()))
            new = [
                shown(f"{user}-{number}-{place}", user, video, clicked=place == 1)
                for place, video in enumerate(given.candidates.video_ids[:2])
            ]
            world.send(sent(new))
    world.send([replace(earlier_log()[1], clicked_us=now_us()).click()])
    append(file, Logged.of(world.ask("u1"), now_us()))
    world.land()
    return file


def _replayed(world: World, file: Path) -> Any:
    releases, load = LiveReleases(world.home.tables), load_ordering(SETTINGS)
    return replay_file(file, releases, ByExposures(), SETTINGS, load)


def test_logged_requests_are_answered_again_with_what_they_saw(world: World, logged: Path) -> None:
    report = _replayed(world, logged)
    assert (report.requests, report.live, report.differing) == (14, 13, {})


def _changed(line: str, **live: Any) -> str:
    plain = json.loads(line)
    return json.dumps(plain | {"live": plain["live"] | live})


def test_what_is_logged_otherwise_than_it_was_served_shows(world: World, logged: Path) -> None:
    lines = logged.read_text().splitlines()
    final = json.loads(lines[-1])
    parts = [json.loads(line)["live"] for line in lines]
    last = next(
        line
        for line, part in zip(lines, parts, strict=True)
        if part and part["states"] and part["counts"]
    )
    counts = json.loads(last)["live"]["counts"]
    video = next(iter(counts))
    more = counts | {video: [counts[video][0] + 50, counts[video][1]]}
    less = {name: pair for name, pair in counts.items() if name != video}
    faults = {
        "a count more": _changed(last, counts=more),
        "a count less": _changed(last, counts=less),
        "no user": _changed(last, states={}),
        "no events": json.dumps(json.loads(last) | {"live": None}),
        "late": json.dumps(final | {"logged_us": final["logged_us"] + 61_000_000}),
    }
    logged.write_text("\n".join(faults.values()) + "\n")
    found = _replayed(world, logged).differing
    words = {name: " ".join(found.get(n, [])) for n, name in enumerate(faults, 1)}
    log = "live: 1 counts of candidates, " + video
    exposures, _ = counts[video]
    assert "features: video_statistics" in words["a count more"]
    assert f"{log}: {exposures + 50}, the log has 0 to " in words["a count more"]
    assert "features: video_statistics" in words["a count less"]
    assert "candidates" in words["no user"]
    assert "features" in words["no events"] or "candidates" in words["no events"]
    assert "clock" in words["late"]  # all had been taken long before: nothing else is wrong
    assert "live" not in words["late"]


def test_events_that_never_landed_and_those_that_were_not_seen_show(
    world: World, logged: Path
) -> None:
    last = logged.read_text().splitlines()[-1]
    world.send(sent([shown("n9", "u1", VIDEOS[0], clicked=True)]))
    append(logged, Logged.of(world.ask("u1"), now_us()))  # what it saw isn't in the log yet
    plain = json.loads(last)
    # A minute later the last event of u1 must have been seen.
    early = plain | {"logged_us": plain["logged_us"] + 60_000_000}
    with logged.open("a") as file:
        file.write(json.dumps(early) + "\n")
    world_report = _replayed(world, logged).differing
    assert [line.split(":")[0] for line in world_report[15][1:]] == ["live"] * len(
        world_report[15][1:]
    )
    assert any("the log has" in line for line in world_report[15])
    assert any("2 events of the user that didn't land, n9" in line for line in world_report[15])
    world.land()
    again = _replayed(world, logged).differing
    assert 15 not in again
    assert any("impressions of the user, the log has" in line for line in again[16])


def test_a_live_row_is_what_training_knew_of_the_same_request(world: World) -> None:
    """Nothing is late: each event was known at its own time."""
    world.begin()
    events = [
        Shown(
            f"n{i}",
            USERS[i % 4],
            VIDEOS[i * 7 % 12],
            MORNING_US + i * 1_000_000,
            i % 5 + 1,
            MORNING_US + i * 1_000_000 + 500_000 if i % 3 == 0 else None,
        )
        for i in range(24)
    ]
    old = earlier_log()[1]
    late_click = replace(old, clicked_us=MORNING_US + 5_000_000)
    world.send([*sent(events), late_click.click()])
    at_us = max(now_us(), MORNING_US + 30_000_000)
    answers = {user: answer(world.recall, ByExposures(), user, at_us=at_us) for user in USERS}
    requests = [
        Shown(f"r-{user}-{video}", user, video, at_us, place)
        for user, given in answers.items()
        for place, video in enumerate(given.candidates.video_ids, 1)
    ]
    world.send(sent(requests))
    assert world.applier
    world.land()
    inputs = _known_at_once(read(world.home.tables, {}))
    frame = build_frame(inputs, SETTINGS, as_of_us=FOREVER)
    centres = centres_at(inputs.topics, FOREVER, 1)
    topics = TopicRows.of(inputs.views[VIDEO_TOPICS.name].values, centres)
    known_sums = frame.state.topic_sums(frame.topic_row, topics, centres)
    places = {event: n for n, event in enumerate(frame.impressions["event_id"].to_pylist())}
    for user, given in answers.items():
        videos = given.candidates.video_ids
        rows = np.array([places[f"r-{user}-{video}"] for video in videos])
        state = _served(given.features, len(rows), at_us)
        sums = state.topic_sums(frame.topic_row[rows], topics, centres)
        known = frame.state.statistics[rows]
        np.testing.assert_array_equal(state.statistics[:, :2], known[:, :2])
        np.testing.assert_allclose(state.statistics, known, rtol=1e-5)
        for name in sums._fields:
            live_sums, known_rows = getattr(sums, name), getattr(known_sums, name)[rows]
            np.testing.assert_allclose(live_sums, known_rows, rtol=1e-4, atol=1e-5, err_msg=name)
        assert known[:, 0].min() > 0
        counts = given.features["video_statistics"]
        pairs = np.stack([counts["video_exposures"], counts["video_clicks"]], axis=1)
        np.testing.assert_array_equal(pairs, np.nan_to_num(frame.counts[rows]))


def _served(features: Any, n: int, at_us: int) -> Served:
    """The user's rows of one request, for each of n candidates, as training has served ones."""
    row, lists = features["user_statistics"], features["user_topics"]
    counts = np.array([[float(row[name][0]) for name in STATISTICS]])
    since_us = np.array([row[DECAYED_AT][0]])
    own = decayed_statistics(counts, since_us, np.array([at_us]), SETTINGS.users.half_life)
    levels = []
    for prefix in ("user_topic", "user_parent"):
        ids = np.array(lists[f"{prefix}_ids"][0], np.int64)
        met = [np.array(lists[f"{prefix}_{name}"][0], np.float64) for name in COUNTS]
        levels.append(Slots(np.array([0, len(ids)]), ids, np.stack(met, axis=1)))
    epochs = np.array([lists["user_topic_epoch"][0]])
    return Served(np.repeat(own, n, axis=0), np.zeros(n, np.int64), (levels[0], levels[1]), epochs)


def _known_at_once(inputs: Inputs) -> Inputs:
    tables = {}
    for name in ("impressions", "clicks"):
        table: pa.Table = getattr(inputs, name)
        at = table.schema.get_field_index("created_us")
        tables[name] = table.set_column(at, "created_us", table["event_us"])
    return replace(inputs, **tables)


def test_a_cluster_and_asyncio_give_what_a_server_gives(
    released: Path, tmp_path: Path, store: redis.Redis, cluster_store: redis.RedisCluster
) -> None:
    given = []
    for number, connection in enumerate((store, cluster_store)):
        shutil.copytree(released, tmp_path / str(number))
        home = SmallHome(tmp_path / str(number), VIDEOS, SETTINGS, MODULES)
        world = World(home, connection)
        world.begin()
        events = [
            Shown(f"n{i}", "u1", VIDEOS[i], MORNING_US + i, 1, MORNING_US + i + i % 2 * 10)
            for i in range(6)
        ]
        world.send(sent(events))
        answered = world.ask("u1")
        assert answered.live
        given.append((answered.live, answered.candidates.video_ids, answered.scores.tolist()))
    assert given[0] == given[1]


async def _read_async(url: str) -> Any:
    client = AsyncOnlineClient(connect_async(url))
    parts = [("user_topics", ["u1"]), ("video_statistics", VIDEOS)]
    try:
        return await client.read_live(parts, user_id="u1", video_ids=VIDEOS)
    finally:
        await client.aclose()


def test_the_async_client_reads_the_same(world: World, valkey: str) -> None:
    import asyncio

    world.begin()
    world.send(sent([shown("n1", "u1", VIDEOS[3], clicked=True)]))
    parts = [("user_topics", ["u1"]), ("video_statistics", VIDEOS)]
    with connect(valkey) as connection:
        plain = OnlineClient(connection).read_live(parts, user_id="u1", video_ids=VIDEOS)
    other = asyncio.run(_read_async(valkey))
    assert (other.states, other.since_us, other.releases) == (
        plain.states,
        plain.since_us,
        plain.releases,
    )
    assert other.counts.tolist() == plain.counts.tolist()
    assert plain.counts[3].tolist() == [1, 1]
    assert LivePart(other.releases, other.since_us, other.states).state("user_topics").clicks == 1


def test_queues_that_events_have_moved_are_logged_and_held_to_the_log(
    world: World, tmp_path: Path
) -> None:
    world.begin()
    refresher = QueueRefresher(world.store, "vt", world.home.tables, load_ordering(SETTINGS))
    refresher.refresh()
    queue = str(topic_of("w06"))
    before = world.client.queues([queue], epoch=1, limit=12)
    world.send(sent([shown(f"m{i}", "u3", "w06", clicked=True) for i in range(40)]))
    refresher.refresh()
    moved = world.client.queues([queue], epoch=1, limit=12)
    assert moved[0][0] == "w06" != before[0][0]
    assert world.client.queues([queue], epoch=1, limit=12, live=False) == before
    file = tmp_path / "requests.jsonl"
    append(file, Logged.of(world.ask("u3"), now_us()))
    world.land()
    [line] = file.read_text().splitlines()
    plain = json.loads(line)
    # All that Redis took is older than what may still be on its way.
    later = plain | {"logged_us": plain["logged_us"] + 40_000_000}
    name, videos = next((n, v) for n, v in later["live"]["queues"].items() if len(v) > 1)
    turned = later["live"] | {"queues": later["live"]["queues"] | {name: videos[::-1]}}
    stranger = later["live"] | {"queues": later["live"]["queues"] | {name: ["w99", *videos[1:]]}}
    lines = [plain, later, later | {"live": turned}, plain | {"live": stranger}]
    file.write_text("".join(f"{json.dumps(each)}\n" for each in lines))
    differing = _replayed(world, file).differing
    assert differing.keys() == {3, 4}
    place = f"{name}: {videos[-1]!r} at place 1, the log has {videos[0]!r}"
    assert f"live: 1 queues, {place}" in differing[3]
    assert any("'w99'" in fault for fault in differing[4])
