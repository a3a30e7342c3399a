"""Metrics of reads, as Prometheus gets them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import pytest
import redis
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.values import MutexValue
from small_store import put, value

from vidtopics.errors import StoreError
from vidtopics.online import AsyncOnlineClient, OnlineClient, Status
from vidtopics.online.metrics import OnlineMetrics

HOUR_US = 3_600_000_000
STATUSES = [status.name.lower() for status in Status]
Samples = dict[str, float]


def scraped(registry: CollectorRegistry) -> Samples:
    """The exposition text, as Prometheus gets it, without its comments."""
    lines = generate_latest(registry).decode().splitlines()
    return {
        name: float(number)
        for name, _, number in (line.rpartition(" ") for line in lines if line[0] != "#")
    }


def ids(samples: Samples, view: str) -> dict[str, float]:
    """Ids by status."""
    samples_by_status = {
        status: samples.get(f'vidtopics_online_ids_total{{status="{status}",view="{view}"}}')
        for status in STATUSES
    }
    return {status: n for status, n in samples_by_status.items() if n is not None}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    """A registry of its own also in multi-process mode, which importing Feast turns on."""
    monkeypatch.setattr("prometheus_client.values.ValueClass", MutexValue)
    return CollectorRegistry()


def test_reads_and_what_they_found_are_counted(
    store: redis.Redis, valkey: str, registry: CollectorRegistry
) -> None:
    now_us = time.time_ns() // 1000
    put(store, {"a": value(1), "b": value(2)}, ttl_us=10 * HOUR_US, event_us=now_us)
    put(store, {"old": value(3)}, ttl_us=10 * HOUR_US, event_us=now_us - 20 * HOUR_US)
    put(store, {"ended": None}, ttl_us=10 * HOUR_US, event_us=now_us)
    put(store, {"a": value(1)}, view="more")
    client = OnlineClient.from_url(valkey, metrics=OnlineMetrics(registry), timeout_s=20)
    client.read_views(["topics", "more"], ["a", "b", "c", "d", "old", "ended"])
    client.read("topics", ["a", "c"])
    samples = scraped(registry)
    # first read: a, b present, c, d not there; second: a present, c not there
    assert ids(samples, "topics") == {"present": 3, "not_found": 3, "outside_max_age": 1, "null": 1}
    assert ids(samples, "more") == {"present": 1, "not_found": 5}
    assert samples["vidtopics_online_read_seconds_count"] == 2
    assert 0 < samples["vidtopics_online_read_seconds_sum"] < 10
    assert samples['vidtopics_online_read_seconds_bucket{le="+Inf"}'] == 2
    assert not [name for name in samples if "errors_total" in name]


def test_age_is_the_time_since_present_values_became_known(
    store: redis.Redis, valkey: str, registry: CollectorRegistry
) -> None:
    """Known 1, 2, 200 hours ago: median 2 h, oldest 200 h. One that ended doesn't count."""
    now_us = time.time_ns() // 1000
    for name, hours in {"a": 1, "b": 2, "c": 200, "ended": 900}.items():
        row = None if name == "ended" else value(1)
        put(store, {name: row}, event_us=1, created_us=now_us - hours * HOUR_US)
    client = OnlineClient.from_url(valkey, metrics=OnlineMetrics(registry), timeout_s=20)
    client.read("topics", ["c", "a", "ended", "b", "unknown"])
    client.read("topics", ["unknown", "ended"])  # nothing present: no age
    samples = scraped(registry)

    def age(of: str, part: str, bound: str = "") -> float:
        return samples[f'vidtopics_online_age_seconds_{part}{{{bound}of="{of}",view="topics"}}']

    assert age("median", "count") == age("oldest", "count") == 1
    assert age("median", "sum") == pytest.approx(2 * 3600, abs=60)
    assert age("oldest", "sum") == pytest.approx(200 * 3600, abs=60)
    assert (age("median", "bucket", 'le="10800.0",'), age("median", "bucket", 'le="3600.0",')) == (
        1,
        0,
    )


def test_a_read_that_raises_is_an_error_and_no_read(
    store: redis.Redis, valkey: str, registry: CollectorRegistry
) -> None:
    put(store, {"a": value(1)})
    metrics = OnlineMetrics(registry)
    client = OnlineClient.from_url(valkey, metrics=metrics, timeout_s=20)
    with pytest.raises(StoreError):
        client.read("wrong", ["a"])
    gone = OnlineClient.from_url("redis://127.0.0.1:1", metrics=metrics)
    for _ in range(2):
        with pytest.raises(redis.ConnectionError):
            gone.read("topics", ["a"])
    samples = scraped(registry)
    errors = {name: n for name, n in samples.items() if "errors_total" in name}
    assert errors == {
        'vidtopics_online_errors_total{error="StoreError"}': 1,
        'vidtopics_online_errors_total{error="ConnectionError"}': 2,
    }
    assert samples["vidtopics_online_read_seconds_count"] == 0


def test_the_async_client_counts_alike_and_a_cancelled_read_is_an_error(
    store: redis.Redis, valkey: str, registry: CollectorRegistry
) -> None:
    put(store, {"a": value(1)})

    async def run() -> None:
        client = AsyncOnlineClient.from_url(valkey, metrics=OnlineMetrics(registry), timeout_s=20)
        await client.read("topics", ["a", "b"])
        store.client_pause(400, all=True)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.read("topics", ["a"])
        await client.aclose()

    asyncio.run(run())
    store.ping()
    samples = scraped(registry)
    assert ids(samples, "topics") == {"present": 1, "not_found": 1}
    assert samples["vidtopics_online_read_seconds_count"] == 1
    assert samples['vidtopics_online_errors_total{error="CancelledError"}'] == 1


def test_the_client_alone_needs_no_prometheus() -> None:
    code = "import sys; sys.modules['prometheus_client'] = None; import vidtopics.online"
    subprocess.run([sys.executable, "-c", code], check=True)
