"""The log never holds up a reader, never outgrows its bounds, and loses one torn line at most."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from parity_home import ParityHome, ago

from benchmarks.redis_nodes import wait
from consumers.parity import Verdict
from consumers.parity.log import Log
from vidtopics.errors import InputError, SettingsError
from vidtopics.layout import Field, Watermark
from vidtopics.online import AsyncOnlineClient, OnlineClient, log_files, serving_log
from vidtopics.online.log_files import LogFiles
from vidtopics.online.served import Served, canonical
from vidtopics.online.serving_log import ServingLog


@pytest.fixture
def filled(home: ParityHome) -> ParityHome:
    home.statistics(*((f"v{i}", ago(1), ago(1), i + 1) for i in range(50)))
    home.move()
    return home


def lines(home: ParityHome) -> list[dict[str, Any]]:
    home.log.close()
    paths = sorted(home.folder.glob("*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def test_a_line_holds_what_the_reader_got(filled: ParityHome) -> None:
    filled.read("v4", "unknown", request="r9", names=["video_exposures"])
    (line,) = lines(filled)
    mark = list(Watermark(1, 1, filled.tables.delta(filled_table()).metadata().id))
    assert {
        k: line[k]
        for k in (
            "v",
            "request",
            "view",
            "ids",
            "status",
            "event_us",
            "dropped",
            "floor",
            "ceiling",
        )
    } == {
        "v": 1,
        "request": "r9",
        "view": "video_statistics",
        "ids": ["v4", "unknown"],
        "status": [1, 3],
        "event_us": [ago(1), 0],
        "dropped": 0,
        "floor": mark,
        "ceiling": mark,
    }
    assert line["columns"] == {
        "video_exposures": {"bytes": "BQAAAAAAAAA=", "null": []}
    }  # 5, little-endian, 8 bytes
    assert abs(line["offset_us"]) < 100_000
    assert abs(line["client_us"] - time.time_ns() // 1000) < 10_000_000


def filled_table() -> Any:
    from vidtopics.contracts import VIDEO_STATISTICS

    return VIDEO_STATISTICS


def test_what_the_caller_does_to_its_arrays_is_not_logged(
    filled: ParityHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_log, "INTERVAL_S", 60)
    features = filled.read("v1", "v2")
    for array in (
        features["video_exposures"],
        features.status,
        features.event_us,
        features.null["video_clicks"],
    ):
        array[:] = 1
    assert dict(filled.replay().views["video_statistics"].verdicts) == {Verdict.FINE: 2}


def test_whole_requests_are_chosen_by_their_id_alike_everywhere(
    filled: ParityHome, tmp_path: Path
) -> None:
    logs = [ServingLog(tmp_path / name, filled.store, share=0.25) for name in "xy"]
    for log in logs:
        client = OnlineClient(filled.store, log=log)
        for i in range(80):
            with log.request(f"r{i}"):
                client.read("video_statistics", ["v1"])
                client.read("video_statistics", ["v2", "v3"])
        log.close()
    requests = [
        [(s.request, s.ids) for c in Log(tmp_path / name).chunks() for s in c.lines]
        for name in "xy"
    ]
    assert (
        requests[0]
        == requests[1]
        == [
            (r, ids)
            for i in range(80)
            if logs[0].chosen(r := f"r{i}")
            for ids in (["v1"], ["v2", "v3"])
        ]
    )
    assert 10 <= len(requests[0]) / 2 <= 30  # 20 of 80, within 2.6 standard deviations
    assert len([i for i in range(100_000) if logs[0].chosen(f"x{i}")]) == pytest.approx(
        25_000, abs=500
    )


def test_requests_without_a_name_have_one_each(filled: ParityHome) -> None:
    filled.client.read_views(["video_statistics"], ["v1"])
    filled.client.read_views(["video_statistics"], ["v1"])
    assert len({line["request"] for line in lines(filled)}) == 2


def test_the_async_client_logs_too(filled: ParityHome, valkey: str) -> None:
    async def read() -> None:
        client = AsyncOnlineClient.from_url(valkey, log=filled.log, timeout_s=20)
        with filled.log.request("r1"):
            await asyncio.gather(
                client.read("video_statistics", ["v1"]), client.read("video_statistics", ["v2"])
            )
        await client.aclose()

    asyncio.run(read())
    assert sorted((line["request"], line["ids"]) for line in lines(filled)) == [
        ("r1", ["v1"]),
        ("r1", ["v2"]),
    ]


@pytest.fixture
def stuck(filled: ParityHome, monkeypatch: pytest.MonkeyPatch) -> Iterator[ParityHome]:
    """A disk that takes nothing until the test ends."""
    release, real = threading.Event(), LogFiles.append

    def append(files: LogFiles, line: bytes) -> None:
        release.wait()
        real(files, line)

    monkeypatch.setattr(LogFiles, "append", append)
    yield filled
    release.set()


def test_a_disk_that_hangs_costs_lines_and_no_reader_waits(
    stuck: ParityHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_log, "QUEUE_BYTES", 20_000)
    ids = [f"v{i}" for i in range(50)]
    for _ in range(200):
        stuck.client.read(
            "video_statistics", ids
        )  # the disk hangs still: a reader that waits, waits for ever
    # 50 rows: 100 for each id, and 2 columns of 8 bytes: 5,800
    assert stuck.log._bytes == 3 * 6_600
    assert stuck.log.dropped == 197


def test_what_was_dropped_stands_in_the_next_line(
    filled: ParityHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.settle()
    monkeypatch.setattr(serving_log, "QUEUE_BYTES", 0)
    for _ in range(7):
        filled.read("v1")
    monkeypatch.setattr(serving_log, "QUEUE_BYTES", 10_000)
    for _ in range(2):
        filled.read("v1")
    assert filled.replay().dropped == 7
    assert (filled.log.dropped, filled.log.written, filled.log._bytes) == (7, 2, 0)


def test_a_disk_that_refuses_is_counted_and_the_service_goes_on(
    filled: ParityHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            LogFiles,
            "append",
            lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")),
        )
        assert filled.read("v1").present.all()
        filled.settle()
    filled.read("v2")
    assert [line["dropped"] for line in lines(filled)] == [1]
    assert (filled.log.failed, filled.log._bytes) == (1, 0)


def test_a_redis_that_does_not_answer_the_log_leaves_the_reader_alone(
    filled: ParityHome, valkey: str
) -> None:
    log = ServingLog(filled.root / "other", redis.Redis(port=1, retry=None), share=1)
    assert OnlineClient(filled.store, log=log).read("video_statistics", ["v1"]).present.all()
    log.close()
    assert (log.failed, log.written) == (1, 0)


def test_the_log_asks_redis_for_its_clock_alone_and_for_nothing_without_a_read(
    filled: ParityHome,
) -> None:
    """It polled the watermark of every bucket of every view, four times a second."""
    filled.read("v1")
    filled.settle()
    filled.store.config_resetstat()
    filled.read("v2")
    filled.settle()
    time.sleep(3 * serving_log.INTERVAL_S)
    calls = {name: c["calls"] for name, c in filled.store.info("commandstats").items()}
    calls.pop("cmdstat_config|resetstat", None)
    calls.pop("cmdstat_client|setinfo", None)
    # settle asks for the directory itself: two texts and three hashes
    assert calls == {
        "cmdstat_mget": 1,
        "cmdstat_time": 1,
        "cmdstat_get": 2,
        "cmdstat_hgetall": 4,
    }


def test_a_torn_line_is_counted_and_costs_itself_alone(filled: ParityHome) -> None:
    for i in range(3):
        filled.read(f"v{i}")
    filled.log.close()
    (path,) = filled.folder.iterdir()
    whole = path.read_bytes()
    for cut in (1, 20, len(whole.splitlines()[-1]) - 1):
        path.write_bytes(whole[:-cut] if cut > 1 else whole[:-2])
        report = filled.replay()
        assert (report.lines, report.damaged, report.views["video_statistics"].rows) == (3, 1, 2)
    filled.read("v9")  # a new process (or a log opened again) begins a new file
    report = filled.replay()
    assert (report.lines, report.damaged, report.views["video_statistics"].rows) == (4, 1, 3)


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\n",
        b"\n",
        b"[]\n",
        b"7\n",
        b'{"v":2}\n',
        b'{"v":1}\n',
        b'{"v":1,"ids":["a"],"status":[]}\n',
        b"null\n",
    ],
)
def test_any_other_line_is_damaged(filled: ParityHome, line: bytes) -> None:
    filled.read("v1")
    filled.log.close()
    (path,) = filled.folder.iterdir()
    path.write_bytes(line + path.read_bytes())
    assert filled.replay().damaged == 1


def test_files_are_turned_over_by_size_and_the_oldest_go(
    filled: ParityHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_files, "FILE_BYTES", 2_000)
    monkeypatch.setattr(log_files, "FOLDER_BYTES", 7_000)
    for i in range(40):
        filled.read(f"v{i}")
    filled.log.close()
    sizes = [path.stat().st_size for path in filled.folder.iterdir()]
    assert len(sizes) > 2
    assert max(sizes) <= 2_000
    assert sum(sizes) <= 7_000
    assert [line["ids"] for line in lines(filled)][-1] == ["v39"]


def line_count(home: ParityHome, pid: int) -> int:
    """How many lines a process has written."""
    return sum(p.read_bytes().count(b"\n") for p in home.folder.glob(f"served-{pid}-*"))


def test_a_process_that_is_killed_leaves_whole_lines(filled: ParityHome, valkey: str) -> None:
    pid = os.fork()
    if not pid:  # the thread of the parent is not there: the log starts its own
        while True:
            filled.client.read("video_statistics", ["v1"])
            time.sleep(0.001)
    try:
        wait(lambda: line_count(filled, pid) > 1, "lines of the child")
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    report = filled.replay()
    assert report.lines > 1
    assert report.damaged <= 1
    assert report.mismatches == 0


def test_a_share_out_of_range_and_a_folder_without_a_log_are_told(home: ParityHome) -> None:
    with pytest.raises(
        SettingsError,
        match=r"share: expected above 0 and up to 1, found 0\. Mend: give a client no log",
    ):
        ServingLog(home.folder, home.store, share=0)
    with pytest.raises(
        InputError,
        match=r"expected a serving log \(served-\*.jsonl\), found none. Mend: give the client one",
    ):
        home.replay()


CANONICAL = [
    (Field("n", "int64", "scalar", "int8"), [-1], "ffffffffffffffff"),
    (Field("b", "bool", "scalar", "bool"), [True], "01"),
    (Field("w", "float32", "slots", "float32", 2), [[1.0, -0.0]], "0000803f00000080"),
]


@pytest.mark.parametrize(("field", "values", "hexed"), CANONICAL)
def test_canonical_bytes_by_hand(field: Field, values: list[Any], hexed: str) -> None:
    column = np.array(values, field.empty(1).dtype)
    assert canonical(field, column).tobytes().hex() == hexed
    assert canonical(field, column.astype(column.dtype.newbyteorder(">"))).tobytes().hex() == hexed


def test_canonical_hashes_tell_lists_apart() -> None:
    texts = Field("t", "string", "list")
    column = np.empty(4, object)
    column[:] = [["ab", "c"], ["a", "bc"], ["abc"], []]
    assert len(np.unique(canonical(texts, column), axis=0)) == 4
    vector = Field("v", "float32", "vector", "float32")
    assert canonical(vector, np.ones((2, 3), np.float32)).shape == (2, 8)


@given(
    st.lists(
        st.tuples(
            st.text(min_size=1), st.sampled_from([0, 1, 2, 3, 4]), st.booleans(), st.integers(-9, 9)
        ),
        max_size=5,
    ),
    st.none() | st.builds(Watermark, st.integers(0), st.integers(0), st.text()),
)
def test_a_line_says_all(rows: list[tuple[str, int, bool, int]], mark: Watermark | None) -> None:
    status = np.array([s for _, s, _, _ in rows], np.uint8)
    present_rows = [r for r in rows if r[1] == 1]
    column = np.array([[n] for *_, n in present_rows], np.int8).reshape(-1, 1).view(np.uint8)
    null = np.array([isnull for _, _, isnull, _ in present_rows], bool)
    times = np.arange(len(rows), dtype=np.int64)
    served = Served(
        "r",
        "v",
        [i for i, *_ in rows],
        status,
        times,
        times + 1,
        5,
        -6,
        mark,
        None,
        {"n": column},
        {"n": null},
        3,
    )
    line = served.to_line()
    again = Served.from_line(line)
    assert line.count(b"\n") == 1
    assert again.to_line() == line
    assert (again.ids, again.floor, again.ceiling, again.dropped) == (
        [i for i, *_ in rows],
        mark,
        None,
        3,
    )
    assert again.columns["n"].tolist() == column.tolist() or not present_rows
    assert again.null["n"].tolist() == null.tolist()


def test_a_fork_while_the_log_is_busy_leaves_the_child_a_log_of_its_own(filled: ParityHome) -> None:
    filled.read("v1")
    with filled.log._lock:
        child = os.fork()
        if not child:
            os._exit(0 if filled.log._lock.acquire(timeout=60) else 1)
    assert os.waitpid(child, 0)[1] == 0
