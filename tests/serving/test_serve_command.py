"""`vidtopics serve` as a process of two workers over a home: what it answers, and how it ends."""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from hashlib import sha256

import pyarrow as pa
import pytest
import redis
from recall_world import catalogue_row, put, replace_rows
from served_home import EPOCH, SETTINGS, make_home
from serving_world import AMPLE, Caller, wait_for

from benchmarks.homes import release_tables
from consumers.ranking.home import train_ranking
from consumers.serving import server
from consumers.serving.media_types import ARROW
from vidtopics.cli import homes
from vidtopics.cli.common import run
from vidtopics.contracts import TOPIC_QUEUES, VIDEO_CATALOG
from vidtopics.materialization import materialize
from vidtopics.settings import RecallSettings

USERS = ["u3", "u4", "nobody"]


def queue_rows():
    """Each video in the queue of its topic, of the parent and of the catalogue, by its number."""
    queues = {
        ("topic", 10): range(0, 300, 2),
        ("topic", 20): range(1, 300, 2),
        ("parent", 1): range(300),
        ("catalogue", 0): range(300),
    }
    facts = {"queue_ctr": 0.1, "queue_exposures": 10, "fresh": False, "topic_epoch": EPOCH}
    return [
        {"queue_level": level, "topic_id": topic, "video_id": f"v{number}", "queue_position": place}
        | {"queue_clicks": 100.0 / place}
        | facts
        for (level, topic), numbers in queues.items()
        for place, number in enumerate(numbers, 1)
    ]


@pytest.fixture(scope="module")
def home(tmp_path_factory, valkey):
    """A home that is released, trained and loaded; with keys."""
    tables = make_home(tmp_path_factory.mktemp("serving") / "home")
    put(tables, VIDEO_CATALOG, [catalogue_row(f"v{number}") for number in range(300)], 55)
    replace_rows(tables, TOPIC_QUEUES, queue_rows())
    release_tables(tables, as_of_us=60, created_us=60, settings="", quality={"topic_epoch": EPOCH})
    settings = SETTINGS.model_copy(
        update={
            "recall": RecallSettings(candidates=40, fresh_share=0),
            "serving": SETTINGS.serving.model_copy(update={"deadline": AMPLE, "drain": AMPLE / 60}),
        }
    )
    homes.keep(tables.home, settings)
    train_ranking(tables, settings)
    with redis.Redis.from_url(valkey) as connection:
        connection.flushall()
        materialize(tables, connection, settings.online)
    key = {"sha256": sha256(b"secret").hexdigest(), "scopes": ["read"], "rate": 10_000}
    (tables.home / "keys.yaml").write_text(json.dumps({"web": key}))
    return tables.home


ABSENT = ("torch", "numba", "scipy", "pandas", "duckdb", "pyspark", "feast", "onnx", "safetensors")
LIGHT = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
from vidtopics.cli import main
main()
"""
"""The command as `pip install vidtopics[serve]` has it, and without DuckDB, which comes with it."""


@contextmanager
def served(home, valkey, *begin, workers):
    """The process, its port, and the lines of its log so far."""
    options = ["--home", str(home), "--port", "0", "--workers", str(workers)]
    command = [sys.executable, *begin, "serve", *options, "--keys", home / "keys.yaml"]
    process = subprocess.Popen(
        command, env=os.environ | {"REDIS_URL": valkey}, stderr=subprocess.PIPE, text=True
    )
    lines = []

    def collect():
        for line in process.stderr:
            lines.append(json.loads(line))

    reader = threading.Thread(target=collect)
    reader.start()
    try:
        wait_for(lambda: lines)
        yield process, lines[0]["port"], lines
    finally:
        process.kill()
        process.wait()
        reader.join()


@pytest.fixture
def process(home, valkey):
    with served(home, valkey, "-m", "vidtopics", workers=2) as process:
        yield process


def events(lines, name):
    return [line for line in lines if line["event"] == name]


@pytest.mark.timeout(240)
def test_two_workers_answer_as_the_command_and_end_without_dropping_a_request(
    home, process, monkeypatch, capsys, valkey
):
    service, port, lines = process
    wait_for(lambda: len(events(lines, "switched")) == 2, 200)
    caller = Caller(port, "secret")

    # As the command, for known and unknown users.
    monkeypatch.setenv("REDIS_URL", valkey)
    for user in USERS:
        status, answer = caller.post("/recommend", {"user_id": user, "limit": 7})
        assert run(["recommend", user, "--top", "7", "--json", "--home", str(home)]) == 0
        expected = json.loads(capsys.readouterr().out)
        assert (status, len(answer["videos"])) == (200, 7)
        for video, as_command in zip(answer["videos"], expected["videos"], strict=True):
            assert video.pop("topics")[0]["topic_id"] == 10 + 10 * (int(video["video_id"][1:]) % 2)
            assert as_command.pop("title") == video["video_id"]
            assert video.pop("score") == pytest.approx(as_command.pop("score"), abs=1e-6)
        release, model = answer.pop("release"), answer.pop("model")
        assert (release, model["trained_on_release"]) == (3, 3)
        assert answer.pop("degraded") == (["user"] if user == "nobody" else [])
        assert answer == expected

    # Figures of both workers: whichever is asked, all requests are counted.
    name = 'vidtopics_serving_requests_total{route="/recommend",status="200"} '
    callers = [Caller(port, "secret") for _ in range(12)]  # a worker takes each connection
    for each in callers:
        assert each.post("/recommend", {"user_id": "u3"})[0] == 200

    def counted():
        _, _, page = Caller(port).ask("GET", "/metrics")
        return [line for line in page.decode().splitlines() if line.startswith(name)]

    wait_for(lambda: counted() == [f"{name}{len(USERS) + 12}.0"])

    # Draining: asked on while /ready says no, and then an end that drops nothing.
    answers, stopped = [], threading.Event()

    def ask():
        while not stopped.is_set():
            answers.append(caller.post("/recommend", {"user_id": "u4"})[0])
            if caller.get("/ready")[0] == 503:
                stopped.set()

    thread = threading.Thread(target=ask)
    thread.start()
    service.send_signal(signal.SIGTERM)
    thread.join(100)
    assert caller.get("/ready")[1]["reasons"] == ["draining: the service ends"]
    assert caller.post("/recommend", {"user_id": "u4"})[0] == 200
    assert service.wait(100) == 0
    assert set(answers) == {200}
    assert not {line["level"] for line in lines} - {"info"}
    assert "secret" not in str(lines)


def test_the_light_install_ranks(home, valkey):
    """Each module that would be missed makes the import fail, and the ranker with it."""
    with served(home, valkey, "-c", LIGHT, workers=1) as (_, port, lines):
        wait_for(lambda: events(lines, "switched"), 200)
        caller = Caller(port, "secret")
        status, answer = caller.post("/recommend", {"user_id": "u3"})
        assert (status, answer["degraded"]) == (200, [])
        assert answer["model"]["trained_on_release"] == 3
        assert len({video["score"] for video in answer["videos"]}) > 1
        arrow = {"Accept": ARROW, "Content-Type": "application/json"}
        body = {"views": ["video_topics"], "ids": {"video": ["v1"]}}
        status, _, data = caller.ask("POST", "/features", body, arrow)
        assert (status, pa.ipc.open_stream(data).read_all().num_rows) == (200, 1)
        assert {line["level"] for line in lines} == {"info"}


def refused(capsys, home, *options):
    assert run(["serve", "--home", str(home), *options]) == 2
    return " ".join(capsys.readouterr().err.split())


def test_what_cannot_be_served_ends_with_2(home, valkey, monkeypatch, capsys):
    monkeypatch.setenv("REDIS_URL", valkey)
    text = refused(capsys, home, "--host", "0.0.0.0")
    assert "expected an address of loopback, as no API keys are given" in text
    assert "Mend: name a file of keys" in text
    assert "no_keys" in refused(capsys, home, "--keys", str(home / "no_keys"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "address already in use" in refused(capsys, home, "--port", port)
    assert "expected a home" in refused(capsys, home / "nothing")


@pytest.mark.slow  # three processes begin
def test_a_worker_that_cannot_begin_ends_the_service(home, valkey, monkeypatch):
    """Rather than being started again for ever."""
    options = server.Options(home, "nowhere", homes.settings(home, None), None, 2)
    code = "import pickle, sys; from consumers.serving import server; "
    code += "server.serve(pickle.load(sys.stdin.buffer), '127.0.0.1', 0)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        input=pickle.dumps(options),
        capture_output=True,
        timeout=200,
    )
    assert done.returncode == 1
    assert b"the URL of Redis: expected" in done.stderr
    assert b"a worker: expected that it begins, found that it ended" in done.stderr
