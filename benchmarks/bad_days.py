"""Five bad days of the events' path, each brought about, and what `/ready` and metrics say.

`python -m benchmarks.bad_days --home HOME [--events 20000] [poison flood hot full disk behind]`

HOME is one that `vidtopics demo` has made; it is copied. `vidtopics events apply` and
`vidtopics serve` run as processes over a Redis server with an append-only log. Each day ends with a
check that nothing acknowledged is missing (status 1 where it is). Latencies are ratios to the same
measurement on the quiet service just before. `disk` mounts a small file system and so needs root.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import typer

from benchmarks.event_service import EventService, ask, event_service, metrics, wait
from benchmarks.homes import folder
from benchmarks.redis_nodes import node, valkey_server
from vidtopics.events.faults import OUTCOME as FAILED
from vidtopics.events.figures import look
from vidtopics.events.generations import keys_of
from vidtopics.layout import Layout, place
from vidtopics.online.event_rules import check
from vidtopics.online.events import EventClient, NotAcknowledgedError

PROBES = 60
HOUR_MS = 3_600_000
say = typer.echo


class LostError(Exception):
    """Something that was acknowledged isn't counted, or more is."""


def poison(service: EventService, count: int) -> None:
    """Entries that are no events, and a user whose live value is damaged."""
    with service.consumer("--land-every", "2s") as port:
        _ready(port)
        keys, release = service.keys, service.generation.release
        bucket = keys.bucket(b"poisoned")
        service.connection.hset(
            keys.state(release, "user", "state", bucket), "poisoned", cast("Any", b"short")
        )
        for part in ("user", "video"):
            service.connection.xadd(keys.stream(part, bucket), {"no": "event"})
        events = [*service.impressions(count), *service.impressions(3, user="poisoned")]
        _sends(service, events, "the pills", service.drained)
        outcomes, refused = "vidtopics_events_outcomes_total", "vidtopics_events_refused_total"
        # Outcomes are counted at the next look at Redis, and what a landing refuses after it.
        wait(lambda: f'outcome="{FAILED}"' in str(metrics(port, outcomes)), "a look at Redis")
        wait(lambda: "malformed" in str(metrics(port, refused)), "a landing")
        _pages("the consumer", port, outcomes, refused)


def flood(service: EventService, count: int) -> None:
    """One user sends all that can be sent."""
    with service.consumer() as port:
        _ready(port)
        quiet = service.visible_ms(PROBES)
        events = service.impressions(count, user="flooder")
        with _beside(lambda: service.events.send(events)):
            busy = service.visible_ms(PROBES)
        service.drained()
        keys, release = service.keys, service.generation.release
        name = keys.state(release, "user", "state", keys.bucket(b"flooder"))
        size = service.connection.hstrlen(name, "flooder")
        exposures = service.reader.live_user("flooder").exposures
        if exposures != count:
            raise LostError(f"{exposures} of {count} exposures of the flooder")
        say(f"{count:,} events of one user: its value has {size:,} bytes, all are counted")
        _ratio("another user's event, acknowledged to visible", busy, quiet)
        _pages("the consumer", port, "vidtopics_events_lag_seconds")


def hot(service: EventService, count: int) -> None:
    """A video with 30% of all events, beside as many that are spread evenly."""
    with service.consumer() as port:
        _ready(port)
        seconds = {}
        for name, share in (("even", 0.0), ("hot", 0.3)):
            events = service.impressions(count)
            hits = int(share * count)
            events[:hits] = service.impressions(hits, video=service.videos[0])
            order = np.random.default_rng(7).permutation(len(events))
            began = time.perf_counter()
            _sends(service, [events[i] for i in order], name, service.drained)
            seconds[name] = time.perf_counter() - began
            with _beside(lambda: service.events.send(service.impressions(count))):
                waits = service.visible_ms(PROBES)
            service.drained()
            say(f"{name}: p99 of acknowledged to visible {np.quantile(waits, 0.99):.0f} ms")
        say(
            f"with a hot video sent and applied in"
            f" {seconds['hot'] / seconds['even']:.2f} of the time"
        )
        _pages("the consumer", port, "vidtopics_events_lag_seconds")


def full(service: EventService, count: int) -> None:
    """Redis at its `maxmemory`, which evicts nothing."""
    with service.consumer("--land-every", "2s") as port, service.http() as http:
        _ready(port)
        before = service.exposures()
        used = int(cast("Any", service.connection.info("memory"))["used_memory"])
        service.connection.config_set("maxmemory", used + 1_000_000)
        acknowledged, events = 0, service.impressions(200_000)
        try:
            acknowledged = service.events.send(events).acknowledged
        except NotAcknowledgedError as error:
            acknowledged = error.acknowledged
            say(f"EventClient.send: {error}")
        # Below what is used, as a server that others fill on: no room comes back by chance.
        service.connection.config_set("maxmemory", used)
        status, headers, body = ask(http, "/events", service.impressions(1))
        say(f"POST /events: {status}, Retry-After {headers.get('retry-after')}: {body}")
        features = {"views": ["video_statistics"], "ids": {"video": service.videos[:5]}}
        say(f"POST /features: {ask(http, '/features', features)[0]}")
        user = {"user_id": "u0000001", "limit": 1}
        say(f"POST /recommend: {ask(http, '/recommend', user)[0]}")
        wait(lambda: ask(port, "/ready")[0] == 503, "a consumer that isn't ready")
        wait(_landed(service), "landing, which goes on")
        say("all that was acknowledged has landed in the log meanwhile")
        _pages(
            "the consumer",
            port,
            "vidtopics_events_consecutive_failures",
            "vidtopics_redis_memory_used_bytes",
            "vidtopics_redis_memory_max_bytes",
        )
        _pages("serve", http, "vidtopics_serving_requests_total")
        service.connection.config_set("maxmemory", 0)
        wait(lambda: ask(port, "/ready")[0] == 200, "a consumer that is ready again")
        service.events.send(events[: acknowledged + 5_000])
        service.drained()
        seen = service.exposures() - before
        if not acknowledged <= seen or seen > acknowledged + 5_000:
            raise LostError(f"{seen} seen of {acknowledged} acknowledged and 5,000 sent again")
        say(f"with room again: ready, and all {acknowledged:,} acknowledged events count once")


def disk() -> None:
    """The disk under Redis is full."""
    with (
        folder() as path,
        _small_disk(path / "disk", "24m") as mounted,
        node(
            mounted,
            binary=valkey_server(),
            appendonly="yes",
            maxmemory_policy="noeviction",
            auto_aof_rewrite_percentage="0",
        ) as server,
    ):
        client = EventClient.from_url(server.url)
        connection: Any = client.connection
        connection.set(place("vt", "layout"), Layout(4).to_json())
        keys, acknowledged = keys_of(connection, "vt"), 0
        try:
            while True:
                acknowledged += client.send(_large(acknowledged, 500)).acknowledged
        except NotAcknowledgedError as error:
            acknowledged += error.acknowledged
            say(f"EventClient.send: {error}")
        written = look(connection, keys, []).nodes["redis"].log_written
        say(f"reads go on: {connection.get(place('vt', 'layout')) is not None}")
        say(f"vidtopics_redis_log_written {int(written)}")
        subprocess.run(["mount", "-o", "remount,size=64m", str(mounted)], check=True)  # noqa: S603, S607
        wait(lambda: _takes(client), "a server that takes writes")
        length = sum(connection.xlen(keys.stream("user", bucket)) for bucket in range(4))
        server.kill()
        server.start()
        wait(lambda: _takes(client), "a server that was started again")
        kept = sum(connection.xlen(keys.stream("user", bucket)) for bucket in range(4))
        if not acknowledged <= length <= kept:
            raise LostError(f"{length} and {kept} entries of {acknowledged} acknowledged")
        say(f"with room again, and after kill -9: all {acknowledged:,} acknowledged are there")


def behind(service: EventService, count: int) -> None:
    """No consumer for an hour, and then one."""
    service.load()
    with service.consumer() as port:
        _ready(port)
    _an_hour_ago(service, service.impressions(count))
    with service.http() as http:
        wait(lambda: metrics(http, "vidtopics_serving_event_lag_seconds"), "a look of serve")
        _pages("serve", http, "vidtopics_serving_event_lag_seconds")
        answer = ask(http, "/recommend", {"user_id": "u0000001", "limit": 1})[2]
        say(f"POST /recommend: degraded {json.loads(answer)['degraded']}")
        _features(service, http, 5)
        quiet = _features(service, http, PROBES)
        with service.consumer() as port:
            began, names = time.perf_counter(), ("lag_seconds", "waiting_entries")
            wait(lambda: "vidtopics_events_lag_seconds{" in ask(port, "/metrics")[2], "a look")
            _pages("the consumer", port, *(f"vidtopics_events_{name}" for name in names))
            busy = _features(service, http, PROBES)
            service.drained()
            seconds = time.perf_counter() - began
            say(f"caught up: {count:,} events in {seconds:.1f} s, {count / seconds:,.0f} a second")
            _ratio("POST /features meanwhile", busy, quiet)
            if service.exposures() != count:
                raise LostError(f"{service.exposures()} of {count} are seen")
            wait(lambda: ask(port, "/ready")[0] == 200, "a consumer that is ready")
            _pages("the consumer", port, *(f"vidtopics_events_{name}" for name in names))


def _ready(port: int) -> None:
    wait(lambda: ask(port, "/ready")[0] == 200, "a consumer that is ready")


def _sends(
    service: EventService, events: Sequence[Any], what: str, drained: Callable[[], None]
) -> None:
    """Send events, wait until they are applied, and see that each is counted once."""
    before = service.exposures()
    service.events.send(events)
    drained()
    if (seen := service.exposures() - before) != len(events):
        raise LostError(f"{what}: {seen} of {len(events)} are seen")
    say(f"{len(events):,} events beside {what}: each video's count has all of them")


@contextmanager
def _beside(work: Callable[[], object]) -> Iterator[None]:
    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join()


def _landed(service: EventService) -> Callable[[], bool]:
    return lambda: look(service.connection, service.keys, []).landing_age_s == 0


def _features(service: EventService, port: int, count: int) -> list[float]:
    """Milliseconds of requests for features of 600 videos; those above the deadline are told."""
    body = {"views": ["video_statistics"], "ids": {"video": service.videos[:600]}}
    times, late = [], 0
    for _ in range(count):
        began = time.perf_counter()
        status, _, answer = ask(port, "/features", body)
        if status not in (200, 503):
            raise LostError(f"POST /features: {status} {answer[:200]}")
        times.append((time.perf_counter() - began) * 1e3)
        late += status == 503
    if late:
        say(f"POST /features: {late} of {count} weren't answered within serving.deadline")
    return times


def _an_hour_ago(service: EventService, events: Sequence[Any]) -> None:
    """Events as entries that came in the hour until now, as they lie there for a consumer."""
    keys, now_ms = service.keys, time.time_ns() // 1_000_000
    with service.connection.pipeline(transaction=False) as pipe:
        for number, event in enumerate(events):
            checked = check(event)
            entry = f"{now_ms - HOUR_MS + number * HOUR_MS // len(events)}-{number % 1_000}"
            user, video = (
                keys.stream("user", keys.bucket(checked.user_id.encode())),
                keys.stream("video", keys.bucket(checked.video_id.encode())),
            )
            pipe.execute_command("XADD", user, entry, *checked.user_fields())
            pipe.execute_command("XADD", video, entry, *checked.video_fields())
            if number % 2_000 == 1_999:
                pipe.execute()
        pipe.execute()


def _large(first: int, count: int) -> list[dict[str, Any]]:
    """Impressions that fill a disk soon."""
    long, now = "u" * 128, time.time()
    ids = {"user_id": long, "video_id": "v", "event_timestamp": now, "kind": "impression"}
    return [{"event_id": f"e{first + i}", **ids} for i in range(count)]


def _takes(client: EventClient) -> bool:
    try:
        client.send([{"no": "event"}])
    except NotAcknowledgedError:
        return False
    return True


@contextmanager
def _small_disk(path: Path, size: str) -> Iterator[Path]:
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    subprocess.run(mount, check=True)  # noqa: S603
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)  # noqa: S603, S607


def _pages(who: str, port: int, *names: str) -> None:
    status, _, body = ask(port, "/ready")
    say(f"{who}, /ready: {status} {body}")
    for line in metrics(port, *names):
        say(f"{who}, /metrics: {line}")


def _ratio(what: str, busy: Sequence[float], quiet: Sequence[float]) -> None:
    (p50, p99), (q50, q99) = (np.quantile(times, (0.5, 0.99)) for times in (busy, quiet))
    say(
        f"{what}: p50 {p50 / q50:.1f}, p99 {p99 / q99:.1f} times the quiet one"
        f" ({q50:.0f}, {q99:.0f} ms)"
    )


DAYS: dict[str, Callable[[EventService, int], None]] = {
    "poison": poison,
    "flood": flood,
    "hot": hot,
    "full": full,
    "behind": behind,
}


def main() -> None:
    """Bring the days about, and print what is seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("days", nargs="*", choices=[*DAYS, "disk", []], default=[])
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--events", type=int, default=20_000, help="of each day")
    options = parser.parse_args()
    days = options.days or [*DAYS, "disk"]
    for day in days:
        say(f"== {day} (load {os.getloadavg()[0]:.1f})")
        if day == "disk":
            disk()
            continue
        with event_service(options.home) as service:
            DAYS[day](service, options.events)


if __name__ == "__main__":
    main()
