"""A day that a service serves: users do as in the loop, and what they do is sent in its time."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from vidtopics.errors import MachineError, SettingsError
from vidtopics.settings import SimulationSettings
from vidtopics.simulation.live_day import LiveDay, after_log, under_policy
from vidtopics.simulation.loop import run_days
from vidtopics.simulation.platform import Platform
from vidtopics.simulation.playing import Player
from vidtopics.simulation.responses import State
from vidtopics.simulation.saved_state import load_state, save_state
from vidtopics.simulation.service_calls import ServiceCalls
from vidtopics.simulation.slates import LoggedPolicy
from vidtopics.simulation.world import World

SMALL = SimulationSettings(users=60, videos=80, days=2)
DAY = 2


@pytest.fixture(scope="module")
def world():
    return World.build(SMALL, 7)


@pytest.fixture(scope="module")
def end_of_log(world):
    return after_log(world, Platform.new(world))


@pytest.fixture
def before(end_of_log):
    """Users and platform of a test's own."""
    state, platform = end_of_log
    return State(*(array.copy() for array in state)), platform.copy()


def test_users_do_with_a_slate_what_they_do_in_the_loop(world, before):
    state, platform = before
    copied, arm_of = State(*(array.copy() for array in state)), np.zeros(SMALL.users, np.int8)
    policy, days = LoggedPolicy(world), range(DAY, DAY + 1)
    batches = list(run_days(world, copied, platform.copy(), [policy], arm_of, days))
    day = LiveDay(world, state, platform, DAY)
    assert day.users.tolist() == batches[0].users.tolist()
    for batch in batches:  # a service may answer in any order
        for row in reversed(range(len(batch.users))):
            user, slate = int(batch.users[row]), batch.slates[row].tolist()
            reaction, expected = day.react(user, batch.refresh, slate), batch.responses
            assert [s.shown_us for s in reaction.shown] == expected.shown_at[row].tolist()
            clicked = [s.clicked_us is not None for s in reaction.shown]
            assert clicked == expected.clicked[row].astype(bool).tolist()
            watched = [s.watch_seconds or 0 for s in reaction.shown]
            assert watched == expected.watch_seconds[row].tolist()
            assert reaction.again == expected.again[row]
    assert all((a == b).all() for a, b in zip(state, copied, strict=True))


def test_the_day_under_a_policy_leaves_the_day_itself_as_it_was(world, before):
    state, platform = before
    copied = State(*(array.copy() for array in state))
    shown, clicks = platform.exposures.sum(), platform.clicks.sum()
    day = under_policy(world, state, platform, LoggedPolicy(world), DAY)
    assert all((a == b).all() for a, b in zip(state, copied, strict=True))
    assert (platform.exposures.sum(), platform.clicks.sum()) == (shown, clicks)
    impressions, clicked = day.until(2**62)
    assert impressions % SMALL.slate == 0
    assert 0 < clicked < impressions
    assert (np.diff(day.shown_us) >= 0).all()


def test_a_saved_state_is_the_state(before, tmp_path):
    state, platform = before
    save_state(tmp_path / "state", state, platform)
    restored, of_platform = load_state(tmp_path / "state")
    assert all((a == b).all() for a, b in zip(state, restored, strict=True))
    assert (of_platform.exposures == platform.exposures).all()


class Recommending(ThreadingHTTPServer):
    """Recommends videos in turn to each user, and keeps what it is sent with the time."""

    daemon_threads = True

    def __init__(self, videos, failures=0):
        super().__init__(("127.0.0.1", 0), Handler)
        self.videos, self.failures = videos, failures
        self.asked, self.slates, self.events = Counter(), [], []
        self.lock = threading.Lock()

    def recommend(self, body):
        with self.lock:
            first = self.asked[body["user_id"]] * body["limit"]
            self.asked[body["user_id"]] += 1
            chosen = [self.videos[(first + i) % len(self.videos)] for i in range(body["limit"])]
            self.slates.append((body["user_id"], chosen))
        topics = [{"topic_id": 3}]
        return {"videos": [{"video_id": video, "topics": topics} for video in chosen]}

    def take(self, events):
        with self.lock:
            self.events += [(time.time(), event) for event in events]
        return {"acknowledged": len(events), "refused": []}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        call = {"/recommend": self.server.recommend, "/events": self.server.take}[self.path]
        answer = json.dumps(call(body)).encode()
        if self.server.failures:  # the caller isn't told what became of it
            self.server.failures -= 1
            self.send_response(503)
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        """Nothing."""


@contextmanager
def recommending(videos, **options):
    with Recommending(videos, **options) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server, ServiceCalls(f"http://127.0.0.1:{server.server_port}", patience_s=20)
        finally:
            server.shutdown()
            thread.join()


VIDEOS = [f"v{number:07d}" for number in range(80)]


def test_all_that_users_do_is_sent_once_it_has_happened(world, before):
    day = LiveDay(world, *before, DAY)
    with recommending(VIDEOS) as (server, calls):
        player = Player(day, calls, speed=40_000, run="r1", ended=threading.Event())
        player.play(lambda played: None, every_s=0.1)
    played, sent = player.played, [event for _, event in server.events]
    impressions = [event for event in sent if event["kind"] == "impression"]
    watches = {event["event_id"]: event for event in sent if event["kind"] == "watch"}
    assert len(impressions) == len({event["event_id"] for event in impressions})
    shown = sorted(
        (e["request_id"], e["position"], e["user_id"], e["video_id"]) for e in impressions
    )
    requests = Counter()
    expected = []
    for user, slate in server.slates:  # a user's slates, in their order
        request = f"r1-{user[1:]}-{requests[user]:03d}"
        requests[user] += 1
        expected += [(request, place, user, video) for place, video in enumerate(slate, 1)]
    assert shown == sorted(expected)
    assert set(requests) == {f"u{user:07d}" for user in day.users.tolist()}
    assert (played.requests, played.impressions) == (len(server.slates), len(impressions))
    assert 0 < played.clicks == len(watches) < len(impressions)
    by_id = {event["event_id"]: event for event in impressions}
    for event_id, watch in watches.items():
        assert by_id[event_id].items() - {("kind", "impression")} <= watch.items()
        assert watch["clicked_at"] > watch["event_timestamp"]
    for at, event in server.events:  # never before its time
        own = event.get("clicked_at", event["event_timestamp"])
        assert datetime.fromisoformat(own).timestamp() <= at + 0.001
    assert played.topics == {3: len(impressions)}


def test_an_answer_that_fails_is_asked_for_again_with_the_same_events(world, before):
    day = LiveDay(world, *before, DAY)
    with recommending(VIDEOS, failures=25) as (server, calls):
        player = Player(day, calls, speed=200_000, run="r1", ended=threading.Event())
        player.play(lambda played: None, every_s=0.1)
    ids = {(event["event_id"], event["kind"]) for _, event in server.events}
    assert len(ids) == player.played.impressions + player.played.clicks


def test_a_day_ends_early_when_it_is_told_to(world, before):
    ended = threading.Event()
    day = LiveDay(world, *before, DAY)
    with recommending(VIDEOS) as (_, calls):
        player = Player(day, calls, speed=1.0, run="r1", ended=ended)  # real time: a day
        player.play(lambda played: ended.set(), every_s=0.0)
    assert player.played.requests == 0


def test_what_the_world_does_not_have_and_a_service_that_is_gone_are_said(world, before):
    day = LiveDay(world, *before, DAY)
    with recommending(["v0000080"]) as (_, calls):
        player = Player(day, calls, speed=1e6, run="r1", ended=threading.Event())
        with pytest.raises(SettingsError, match="the 80 videos of the simulated world, found"):
            player.play(lambda played: None, every_s=1.0)
    with pytest.raises(MachineError, match="expected an answer, found"):
        ServiceCalls(calls.url, patience_s=0).recommend("u0", 1)
