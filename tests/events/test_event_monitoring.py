"""What a look at streams and generations says, entries that no script applies, and the service."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from events_home import SETTINGS, SmallHome, now_us
from live_worlds import NOW_US, Shown, applier, new_store, user_state, video_counts

from benchmarks.redis_nodes import Node, node, valkey_server
from vidtopics.cli import homes
from vidtopics.cli.common import run
from vidtopics.events import applying, figures
from vidtopics.events.applying import Applier
from vidtopics.events.generations import (
    Generation,
    counters,
    lags,
    open_generation,
    parts_of,
)
from vidtopics.events.metrics import EventMetrics
from vidtopics.events.trimming import LANDED
from vidtopics.layout import place
from vidtopics.layout.live import LiveKeys
from vidtopics.online import event_rules
from vidtopics.online.connections import connect
from vidtopics.online.events import EventClient

LIVE = Generation(7, NOW_US - 100_000_000)
HOUR_MS = 3_600_000
ROOT = Path(__file__).parents[2]


@pytest.fixture
def keys(store: redis.Redis) -> LiveKeys:
    keys = new_store(store)
    assert open_generation(store, keys, LIVE)
    return keys


def add(store: Any, keys: LiveKeys, bucket: int, *ages_ms: int) -> None:
    """Entries of a user's stream that came so long ago, by the clock of Redis."""
    seconds, micros = store.time()
    now_ms = seconds * 1000 + micros // 1000
    for age_ms in ages_ms:
        store.xadd(keys.stream("user", bucket), {"k": "i"}, id=f"{now_ms - age_ms}-0")


def test_a_lag_is_how_long_the_first_entry_that_is_not_applied_has_waited(
    store: redis.Redis, keys: LiveKeys
) -> None:
    add(store, keys, 0, 2 * HOUR_MS, HOUR_MS, 5)
    assert lags(store, keys, 7)["video"] == [0, 0]
    first, idle = lags(store, keys, 7)["user"]
    assert 2 * HOUR_MS <= first < 2 * HOUR_MS + 60_000
    assert idle == 0
    applied = store.xrange(keys.stream("user", 0), count=1)[0][0]
    store.hset(keys.state(7, "user", "at", 0), "cursor", applied)
    assert HOUR_MS <= lags(store, keys, 7)["user"][0] < HOUR_MS + 60_000
    consumer = applier(store, keys)
    assert consumer.apply(LIVE) == 2
    assert lags(store, keys, 7)["user"] == [0, 0]


def test_a_look_counts_what_waits_and_what_became_of_the_others(
    store: redis.Redis, keys: LiveKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = [Shown(f"e{i}", "u1", "v1", NOW_US, 1) for i in range(3)]
    EventClient(store).send([one.impression() for one in [*shown, shown[0]]] + [{"kind": "view"}])
    applier(store, keys).apply(LIVE)
    for number in range(5):
        store.xadd(keys.stream("video", 1), {"x": str(number)})
    monkeypatch.setattr(figures, "COUNTED", 4)
    seen = figures.look(store, keys, [7])
    assert seen.streams == {"video": 4 + 5, "user": 4}
    assert seen.waiting == {(7, "video"): 4, (7, "user"): 0}  # of five, as four are counted
    assert seen.lag_s[7, "user"] == 0 < seen.lag_s[7, "video"]
    assert seen.worst_lag_s() == seen.lag_s[7, "video"]
    of_users = {(7, "user", "applied"): 3, (7, "user", "duplicate"): 1}
    assert of_users.items() <= seen.outcomes.items()
    assert (seen.dead, seen.generations) == (1, 1)
    assert 0 < seen.landing_age_s < 3_600
    assert seen.nodes["redis"].used > 1_000_000
    assert seen.nodes["redis"].log_written

    metrics = EventMetrics()
    metrics.observe(seen)
    value = metrics.registry.get_sample_value
    assert value("vidtopics_events_waiting_entries", {"release": "7", "part": "video"}) == 4
    outcome = {"release": "7", "part": "user", "outcome": "duplicate"}
    assert value("vidtopics_events_outcomes_total", outcome) == 1
    # Else the alert's `increase` doesn't see the first entries that are set aside.
    for part in ("video", "user"):
        never = {"release": "7", "part": part, "outcome": "failed"}
        assert value("vidtopics_events_outcomes_total", never) == 0
    metrics.observe(None)
    assert value("vidtopics_events_lag_seconds", {"release": "7", "part": "user"}) is None
    dead = value("vidtopics_events_dead_letters")
    assert dead is not None
    assert dead != dead  # NaN


def test_a_reason_is_counted_from_0_so_that_its_first_refusals_show_as_an_increase() -> None:
    value = EventMetrics().registry.get_sample_value
    source = Path(event_rules.__file__).read_text(encoding="utf-8")
    raised = re.findall(r'RefusedError\(\s*"(\w+)"', source)
    assert len(raised) > 12
    page = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    page = page.partition("## Refused rows")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|.*\|([^|]*)\|$", page, re.MULTILINE)
    rows = [reason for reason, of in rows if re.search("all four|impressions|clicks", of)]
    assert "unknown_video" in rows
    of_files = {"bad_clicked", "created_before_event"}  # what a landing never delivers
    for reason in {*raised, *rows, "not_finite", "malformed"} - of_files:
        assert value("vidtopics_events_refused_total", {"reason": reason}) == 0, reason


def test_what_has_landed_has_no_age(store: redis.Redis, keys: LiveKeys) -> None:
    add(store, keys, 1, HOUR_MS)
    assert HOUR_MS <= figures.landing_age_ms(store, keys) < HOUR_MS + 60_000
    [(number, _)] = store.xrange(keys.stream("user", 1))
    store.hset(place("vt", LANDED), "user:1", number)
    assert figures.landing_age_ms(store, keys) == 0


@pytest.mark.parametrize("at_once", [1, 400])
def test_an_entry_that_no_script_applies_is_set_aside_and_the_others_go_on(
    store: redis.Redis, keys: LiveKeys, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """The damaged value of a user keeps neither others of its bucket nor other buckets back."""
    monkeypatch.setattr(applying, "ENTRIES", at_once)
    names = [f"u{i}" for i in range(12)]
    state = keys.state(7, "user", "state", keys.bucket(b"u5"))
    store.hset(state, "u5", b"short")
    shown = [Shown(f"{n}-{i}", n, "v1", NOW_US + i, 1) for i in range(3) for n in names]
    EventClient(store).send([one.impression() for one in shown])
    lines: list[str] = []
    for consumer in (applier(store, keys), applier(store, keys)):
        consumer.warn = lines.append
        consumer.apply(LIVE)
    assert video_counts(store, keys, 7, "v1") == (36, 0)
    for name in names:
        if name != "u5":
            assert user_state(store, keys, 7, name).exposures == 3, name
    assert store.hget(state, "u5") == b"short"
    assert counters(store, keys, 7)["user"] == {"applied": 33, "failed": 3}
    assert len(lines) == 3
    assert all(keys.stream("user", keys.bucket(b"u5")) in line for line in lines)


def test_a_stream_that_is_none_holds_up_no_other(
    store: redis.Redis, keys: LiveKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can't be gone on from: the round fails once the others are at their end."""
    monkeypatch.setattr(applying, "ENTRIES", 2)
    store.set(keys.stream("user", 0), "no stream")
    user = next(f"u{i}" for i in range(9) if keys.bucket(f"u{i}".encode()))
    shown = [Shown(f"e{i}", user, "v1", NOW_US + i, 1) for i in range(7)]
    EventClient(store).send([one.impression() for one in shown])
    monkeypatch.setattr(Applier, "_waiting", lambda *_: dict.fromkeys(parts_of(keys), 9))
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        applier(store, keys).apply(LIVE)
    assert user_state(store, keys, 7, user).exposures == 7


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(port: int, page: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def wait_for(condition: Any, what: str) -> None:
    until = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.05)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("monitored")
    with node(folder, binary=valkey_server(), maxmemory_policy="noeviction") as started:
        yield started


@pytest.mark.slow  # 25 s of waiting for rounds of a process
def test_the_service_answers_what_it_did_and_why_it_is_not_ready(
    server: Node, tmp_path: Path
) -> None:
    small = SmallHome(tmp_path)
    small.deliver([Shown("d1", "u1", "v1", now_us() - 9_000_000, 1)])
    small.release()
    home, port = small.tables.home, free_port()
    homes.keep(home, SETTINGS)
    options = ["--home", str(home), "--land-every", "1s", "--metrics-port", str(port)]
    command = [sys.executable, "-m", "vidtopics", "events", "apply", *options]
    with connect(server.url, timeout_s=60) as connection:
        small.load(connection)
        service = subprocess.Popen(
            command, stderr=subprocess.DEVNULL, env=os.environ | {"REDIS_URL": server.url}
        )
        try:
            wait_for(lambda: get(port, "/ready")[0] == 200, "the service is never ready")
            shown = Shown("m1", "u3", "v5", now_us(), 1, now_us())
            EventClient(connection).send([shown.impression(), shown.click(), {"kind": "view"}])
            lines = {
                "vidtopics_events_applied_entries_total 4.0",
                'vidtopics_events_landed_rows_total{table="clicks"} 1.0',
                'vidtopics_events_refused_total{reason="bad_kind"} 1.0',
                'vidtopics_events_outcomes_total{outcome="applied",part="user",release="1"} 2.0',
                'vidtopics_events_stream_entries{part="user"} 2.0',
                'vidtopics_events_lag_seconds{part="user",release="1"} 0.0',
                "vidtopics_events_landing_age_seconds 0.0",
            }
            wait_for(lambda: lines <= set(get(port, "/metrics")[1].splitlines()), "no figures")
            with server.hanging():
                wait_for(lambda: get(port, "/ready")[0] == 503, "ready though Redis hangs")
                [reason] = json.loads(get(port, "/ready")[1])["reasons"]
                assert "expected a server that answers" in reason
                assert get(port, "/live")[0] == 200
            wait_for(lambda: get(port, "/ready")[0] == 200, "not ready again")
            service.send_signal(signal.SIGTERM)
            assert service.wait(100) == 0
        finally:
            service.kill()
            service.wait()


def test_metrics_are_of_the_service_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tables").mkdir()
    words = ["events", "apply", "--once", "--metrics-port", "9109", "--home", str(tmp_path)]
    assert run(words) == 2
    assert "--metrics-port goes without --once" in capsys.readouterr().err
