"""`vidtopics parity --requests`: a log on disk, replayed from the releases that were live."""

import json

import numpy as np
import pytest
from recall_world import SETTINGS, START_US, make_home, put, queue_rows, replace_rows

from consumers.parity.release_store import ReleaseStore
from consumers.parity.request_log import LiveReleases, append, read_requests, replay_file
from consumers.parity.requests import Logged
from consumers.ranking.serve import Ranker
from consumers.recommendation import answer
from consumers.retrieval import Recall
from vidtopics.cli.common import run
from vidtopics.cli.stores import load_ordering
from vidtopics.contracts import TOPIC_QUEUES, USER_RECENT_CLICKS, VIDEO_STATISTICS, VIDEO_TOPICS
from vidtopics.errors import InputError, TableError
from vidtopics.releases.loads import record
from vidtopics.tables import Tables
from vidtopics.tables.releases import Release, read_log
from vidtopics.tables.releases import append as add_releases

HOUR = 3_600_000_000
FIRST, SECOND = START_US + 300 * HOUR, START_US + 400 * HOUR
"""From when each of two releases was live."""
STORE = "redis://shop/vt"
USERS = ["u00", "u01", "nobody"]


class ByClicks:
    """Scores by clicks and the place in the list; `weight` is the model."""

    def __init__(self, weight=1.0):
        self.weight = weight

    def score(self, candidates, features):
        clicks = np.asarray(features["video_statistics"]["video_clicks"])
        return (self.weight * clicks / 10 + np.arange(len(clicks)) / 1_000).astype(np.float32)


@pytest.fixture
def home(tmp_path):
    """A home whose second release has other queues than the first."""
    tables = make_home(tmp_path)
    counts = [
        {
            "video_id": f"v{i:02d}",
            "video_exposures": 9,
            "video_clicks": i % 5,
            "video_decayed_exposures": 4.5,
            "video_decayed_clicks": i % 5 / 2,
            "video_decayed_at": START_US,
        }
        for i in range(90)
    ]
    put(tables, VIDEO_STATISTICS, counts, START_US)
    clicked = {"recent_times": [START_US], "recent_watch_seconds": [-1.0]}
    rows = [{"user_id": u, "recent_video_ids": [v]} | clicked for u, v in (("u00", "v00"),)]
    put(tables, USER_RECENT_CLICKS, rows, START_US)
    views = (VIDEO_TOPICS, VIDEO_STATISTICS, USER_RECENT_CLICKS, TOPIC_QUEUES)
    for number, (shift, live_us) in enumerate(((0, FIRST), (5, SECOND)), 1):
        replace_rows(tables, TOPIC_QUEUES, queue_rows(shift))
        versions = {t.name: tables.delta(t).version() for t in views}
        release = Release(number, "released", START_US, live_us - HOUR, versions, topic_epoch=1)
        add_releases(tables, [release], run=number)
        record(tables, number, STORE, number, live_us)
    (tmp_path / "settings.yaml").write_text(
        "queues: {min_exposures: 2, length: 100}\n"
        "recall: {candidates: 12, recent_clicks: 20, topics: 1, fresh_share: 0}\n"
    )
    return tables


def serve(tables: Tables, file, release: int, at_us: int, ranker=None):
    """Answer three users from a release, and log it."""
    versions = next(row.versions for row in read_log(tables) if row.release_id == release)
    for seed, user in enumerate(USERS):
        store = ReleaseStore(tables, versions)
        given = answer(
            Recall(store, SETTINGS.recall),
            ranker or ByClicks(),
            user,
            at_us=at_us - 1_000,
            seed=seed,
        )
        append(file, Logged.of(given, at_us))


@pytest.fixture
def served(home, tmp_path, monkeypatch):
    """Three requests while the first release was live, and three of the second."""
    monkeypatch.setattr(Ranker, "load", lambda folder: ByClicks())
    file = tmp_path / "requests.jsonl"
    serve(home, file, 1, FIRST + HOUR)
    serve(home, file, 2, SECOND)
    return file


def replayed(capsys, file, *arguments):
    code = run(["parity", "--requests", str(file), "--home", str(file.parent), *arguments])
    out, err = capsys.readouterr()
    return code, " ".join((out if code < 2 else err).split())


def test_each_request_is_answered_from_the_release_that_was_live(served, capsys):
    sums = "6 requests answered again, 0 of them with events, 0 differ; 0 lines could not be read"
    assert replayed(capsys, served) == (0, sums)
    assert replayed(capsys, served, "--store", STORE)[0] == 0


def test_a_release_that_went_live_too_late_is_named_by_line_and_user(served, home, capsys):
    serve(home, served, 1, SECOND + HOUR)  # stale: the second was live by then
    code, text = replayed(capsys, served, "--examples", "1")
    assert code == 1
    assert text.startswith("line 7, user u00; candidates: ")
    assert text.endswith(
        "9 requests answered again, 0 of them with events, 3 differ; 0 lines could not be read"
    )
    assert text.count("line ") == 1


def test_a_request_before_the_first_load_and_another_model(served, home, capsys):
    serve(home, served, 1, FIRST - 1)
    serve(home, served, 2, SECOND, ByClicks(1.01))
    code, text = replayed(capsys, served, "--json")
    report = json.loads(text)
    assert (code, report["fine"], report["requests"]) == (1, False, 12)
    assert list(report["differing"]) == ["7", "8", "9", "10", "11", "12"]
    assert report["differing"]["7"] == [
        "user u00",
        "release: none was live at 2026-01-13T11:59:59.999999+00:00",
    ]
    assert report["differing"]["10"][1].startswith("scores: up to 0.00")


DAMAGED = [b"{", b'{"user_id": 3}', b"[]", b"\xff", b'{"logged_us": 1', b""]


def test_torn_lines_are_counted_and_the_others_checked(served, capsys):
    whole = json.loads(served.read_text().splitlines()[0])
    wrong = [{"seed": "1"}, {"scores": []}, {"features": []}, {"candidates": None}, {"user_id": 1}]
    lines = [*DAMAGED, *(json.dumps(whole | change).encode() for change in wrong)]
    with served.open("ab") as file:
        file.write(b"\n".join([*lines, b"{"]))
    number = len(lines) + 1
    assert replayed(capsys, served)[0] == 0
    assert replayed(capsys, served)[1].endswith(f"0 differ; {number} lines could not be read")
    served.write_bytes(b"{\n")
    code, text = replayed(capsys, served)
    assert (code, text[:15]) == (1, "NOTHING CHECKED")


def test_no_file_no_load_or_several_stores_is_one_line(served, home, tmp_path, capsys):
    for path, found in ((tmp_path / "none", "nothing"), (tmp_path, "a folder")):
        with pytest.raises(InputError, match=f"found {found}"):
            list(read_requests(path))
    with pytest.raises(TableError, match=f"expected a load of other, found {STORE}"):
        LiveReleases(home, "other")
    record(home, 1, "redis://b/vt", 1, FIRST)
    assert run(["parity", "--requests", str(served), "--home", str(tmp_path)]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert f"expected a load of one store, found loads of redis://b/vt, {STORE}" in error
    live = LiveReleases(home, "redis://b/vt")
    assert (
        len(replay_file(served, live, ByClicks(), SETTINGS, load_ordering(SETTINGS)).differing) == 3
    )
