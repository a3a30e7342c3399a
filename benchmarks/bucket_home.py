"""What verbs read of a home in a bucket: `python -m benchmarks.bucket_home HOME`.

The home is copied into an S3 server on loopback, and each verb runs through a proxy that counts
requests and bytes; beside it stands the same verb on the folder. It writes nothing to the home,
which is copied to a folder first. After it comes a join of a million rows with a million rows of
each view, past the proxy: twice, as the first fetches the mirror.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.data import DAY_US, START_US, video_ids
from benchmarks.homes import fill, folder, redis_server
from benchmarks.s3_server import Proxy, environment, s3_proxy, s3_server
from vidtopics.contracts import IMPRESSIONS
from vidtopics.storage import Address
from vidtopics.storage.copying import copy_home
from vidtopics.storage.objects import Objects
from vidtopics.tables import Tables

SPINE_ROWS = 10_000
URL = "s3://bench/home"
LARGE_URL = "s3://bench/large"
VIDEOS, VERSIONS = 200_000, 5
"""Of the large join: a million rows in each view, and in the spine."""


def main(home: Path) -> None:
    """Print a line for each verb."""
    with s3_server() as port, s3_proxy(port) as proxy, folder() as scratch:
        copy_home(Address.parse(home), Address.parse(scratch / "home"))
        variables = environment(proxy.port) | {"XDG_CACHE_HOME": str(scratch / "cache")}
        os.environ.update(variables)
        _make_bucket(port)
        _measure_copy(scratch / "home", proxy)
        columns = ["video_id", "user_id", "event_timestamp"]
        rows = Tables(scratch / "home").read(IMPRESSIONS, columns=columns)
        pq.write_table(rows.slice(0, SPINE_ROWS), scratch / "spine.parquet")
        for place in (URL, str(scratch / "home")):
            with redis_server() as redis_url:
                os.environ["REDIS_URL"] = redis_url
                for words in _verbs(scratch, is_bucket=place == URL):
                    _measure([*words, "--home", place], proxy)
        os.environ.update(environment(port))
        _measure_large_join(scratch, proxy)


def _verbs(scratch: Path, *, is_bucket: bool) -> list[list[str]]:
    name = "bucket" if is_bucket else "folder"
    join = ["join", str(scratch / "spine.parquet"), str(scratch / f"{name}.parquet")]
    return [["releases"], ["releases"], ["materialize"], ["materialize"], join]


def _measure_large_join(scratch: Path, proxy: Proxy) -> None:
    fill(scratch / "large", ("video_topics", "video_statistics"), VIDEOS, versions=VERSIONS)
    copy_home(Address.parse(scratch / "large"), Address.parse(LARGE_URL))
    rng = np.random.default_rng(4)
    at_us = START_US + rng.integers(0, VERSIONS * DAY_US, VIDEOS * VERSIONS)
    spine = pa.table(
        {
            "video_id": video_ids(rng.integers(0, VIDEOS, len(at_us))),
            "event_timestamp": pa.array(at_us, pa.timestamp("us", "UTC")),
        }
    )
    pq.write_table(spine, scratch / "large.parquet")
    for place in (LARGE_URL, str(scratch / "large")):
        for turn in ("first", "second"):
            out = scratch / f"{turn}-{place == LARGE_URL}.parquet"
            join = ["join", str(scratch / "large.parquet"), str(out), "--home", place]
            _measure(join, proxy, f"{len(at_us):,} rows, {turn}")


def _make_bucket(port: int) -> None:
    bucket = URL.split("/")[2]
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{bucket}", method="PUT")
    urllib.request.urlopen(request).close()  # noqa: S310  loopback


def _measure_copy(home: Path, proxy: Proxy) -> None:
    for what in ("copied", "copied again"):
        before, started = len(proxy.requests()), time.monotonic()
        done = copy_home(Address.parse(home), Address.parse(URL))
        seconds = time.monotonic() - started
        passed = proxy.requests()[before:]
        sent = sum(request["sent"] for request in passed)
        _print(f"{what}: {done.sent} files sent", len(passed), sent, seconds)
    size = sum(item.size for item in Objects(Address.parse(URL)).list("tables").values())
    _print("the tables in all", 0, size, 0.0)


def _measure(words: Sequence[str], proxy: Proxy, remark: str = "") -> None:
    before, started = len(proxy.requests()), time.monotonic()
    subprocess.run(  # noqa: S603  commands of ours
        [sys.executable, "-m", "vidtopics", *words], check=True, capture_output=True
    )
    seconds = time.monotonic() - started
    passed = proxy.requests()[before:]
    received = sum(request["received"] for request in passed)
    where = "bucket" if words[-1].startswith("s3:") else "folder"
    _print(", ".join(filter(None, [words[0], where, remark])), len(passed), received, seconds)


def _print(what: str, requests: int, size: int, seconds: float) -> None:
    line = f"{what:<36} {requests:>6,} requests {size / 1e6:>8.2f} MB {seconds:>7.2f} s"
    print(line)  # noqa: T201  its output


if __name__ == "__main__":
    main(Path(sys.argv[1]))
