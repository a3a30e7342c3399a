"""Which rows a model is trained on: what a live release had, where one was live for most of them.

The same numbers come of the log and of a request.
"""

import json
import pickle
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from served_home import ROWS, make_home
from test_ranking_home import AS_OF, SETTINGS

from benchmarks import as_served
from consumers.parity.release_store import ReleaseStore
from consumers.ranking import home
from consumers.ranking.own import Encoder
from consumers.ranking.problems import Source
from consumers.ranking.sources import reason_without_topics, source_as_known, source_as_served
from consumers.training import Inputs, ViewRows
from vidtopics.cli.common import run
from vidtopics.releases.loads import read_loads, record
from vidtopics.settings import Settings
from vidtopics.tables import FOREVER, Tables
from vidtopics.times import micros

DAY_US = 86_400_000_000
SECOND_LIVE = 8_100  # the 800th impression


@pytest.fixture
def tables(tmp_path):
    return make_home(tmp_path / "home")


def test_a_home_that_served_trains_on_what_each_live_release_had(tables, capsys):
    record(tables, 1, "a/0/vt", 1, 3_100)  # the 300th impression
    record(tables, 2, "a/0/vt", 2, SECOND_LIVE)
    last = tables.latest_release()
    served = source_as_served(tables, last, SETTINGS, FOREVER).frame
    second = served.shown_us >= SECOND_LIVE
    assert (len(served), second.sum(), served.shown_us.min()) == (900, 400, 3_100)
    assert np.array_equal(served.counts[:, 0], np.where(second, 9, 5))
    assert np.array_equal(served.state.statistics[:, 0], np.where(second, 7, 3))
    known = source_as_known(tables, last, SETTINGS, FOREVER).frame
    assert len(known) == ROWS
    assert len(np.unique(known.counts[300:, 0])) > 2  # the log's own counts, to each impression

    assert run(["train", "ranking", "--home", str(tables.home)]) == 0
    out = capsys.readouterr().out
    assert "900 impressions" in out
    assert "Features as served\n" in out
    record(tables, 2, "a/0/vt", 3, AS_OF * 10)  # nobody was shown anything after it
    assert home.train_ranking(tables, SETTINGS)["skipped"]
    record(tables, 1, "a/0/vt", 4, 10_000)  # a rollback within the log
    assert not home.train_ranking(tables, SETTINGS)["skipped"]


@pytest.mark.parametrize(
    ("live_us", "reason"),
    [
        (None, "no release ever went live"),
        (AS_OF * 10, "0 of 1,200 impressions came after the first release went live (1970-01-01"),
        (6_110, "599 of 1,200 impressions came after the first release went live (1970-01-01T00"),
        (6_100, ""),
    ],
)
def test_the_reason_why_rows_are_not_as_served_is_said(tables, capsys, live_us, reason):
    if live_us:
        record(tables, 1, "a/0/vt", 1, live_us)
    assert run(["train", "ranking", "--home", str(tables.home), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    known = ("as known", ROWS) if reason else ("as served", 600)
    assert (report["known"], report["rows"]) == known
    assert report["because"].startswith(reason)
    assert bool(report["because"]) == bool(reason)
    assert run(["train", "ranking", "--home", str(tables.home)]) == 0
    line = f"Features as known; not as served: {reason}" if reason else "Features as served"
    assert line in capsys.readouterr().out


def test_a_request_has_the_numbers_that_its_impressions_have_as_served(tables):
    """Candidates of one user at the time of an impression, against the log's rows of that user."""
    record(tables, 2, "a/0/vt", 1, 0)
    last = tables.latest_release()
    source = source_as_served(tables, last, SETTINGS, FOREVER)
    frame, store = source.frame, ReleaseStore(tables, last["versions"])
    encoder = pickle.loads(pickle.dumps(Encoder.learn(source, np.arange(800))))
    numbers = encoder.encode_log(source)
    assert numbers.shape == (ROWS, len(encoder.names))
    for row in (0, 1, 2, 3, 500, 1_199):
        user, video = (frame.impressions[name][row].as_py() for name in ("user_id", "video_id"))
        at_us = int(frame.shown_us[row])
        alone = encoder.encode_request(store, user, [video], at_us=at_us)
        np.testing.assert_allclose(alone[0], numbers[row], rtol=1e-6)
        request = encoder.encode_request(store, user, [video, "v3", "unknown"], at_us=at_us)
        np.testing.assert_array_equal(request[0], alone[0])
        columns = dict(zip(encoder.names, request.T.tolist(), strict=True))
        assert columns["has_statistics"] == [1, 1, 0]
        assert columns["history_length"][0] == pytest.approx(3 / 100)
        assert columns["pair_exposures"][1] == pytest.approx(np.log(2))
        assert columns["topic_exposures"][1:] == pytest.approx([np.log(7) / 5, 0])  # of topic 20
    later = encoder.encode_request(store, user, [video], at_us=at_us + encoder.half_life_us)
    differing = [
        name for name, *v in zip(encoder.names, alone[0], later[0], strict=True) if v[0] != v[1]
    ]
    assert "user_decayed_residual" in differing
    stranger = encoder.encode_request(store, "nobody", ["v3"], at_us=0)
    assert stranger[0, encoder.names.index("history_length")] == 0
    assert encoder.encode_request(store, "u1", [], at_us=0).shape == (0, len(encoder.names))


def test_the_benchmark_says_what_differs_between_served_and_known(tables, tmp_path):
    copy = tmp_path / "copy"
    as_served.backfilled(tables.home, copy)
    assert [load.release_id for load in read_loads(Tables(copy))] == [1, 2]
    assert read_loads(tables) == []  # the home itself stays as it is
    record(tables, 2, "a/0/vt", 1, 5_100)
    report = as_served.compare(tables.home)
    assert report["rows"] == {"all": 1_200, "served": 700}
    differs = report["differs"]
    assert differs["video_topics, other topics"] == 0
    assert differs["video_statistics, other exposures"] > 0.9
    assert differs["mean exposures of the video"][1] == 9
    assert differs["mean exposures of the user"][1] == 7
    rankers = report["rankers"]
    assert rankers["as known, topics"]["mean"] > rankers["as known, none"]["mean"] + 0.05
    loss = rankers["as served less trained as known, topics"]
    both = ("as served, topics", "trained as known, tested as served, topics")
    served, crossed = (rankers[name]["mean"] for name in both)
    assert loss["mean"] == pytest.approx(served - crossed)


def days_of(*days, topics_known=None):
    """Impressions on days of January 2026, and a topic that is known from one on."""
    start_us = micros(datetime(2026, 1, 1, tzinfo=UTC))
    times = [start_us + round((day - 1) * DAY_US) for day in days]
    names = {name: [str(t) for t in times] for name in ("event_id", "user_id", "video_id")}
    shown = {**names, "event_us": times, "created_us": times}
    none = {"event_id": [], "event_us": [], "created_us": []}
    epochs = [] if topics_known is None else [1, 2]  # the first is of the epoch before
    known_us = np.array([start_us, start_us + round((topics_known or 0) - 1) * DAY_US])
    known_us = known_us[: len(epochs)]
    rows = ViewRows(
        pa.table({"topic_id": pa.array(epochs, pa.int64())}),
        known_us,
        known_us,
        pa.table({"topic_epoch": pa.array(epochs, pa.int64())}),
    )
    return Source(Inputs.of(shown, none, topics=rows), Settings(), FOREVER, epoch=2)


def test_why_no_impression_had_a_topic_says_the_times_and_what_to_run():
    """The log's middle is the 16th; its end less a day and an hour is later. Else that is taken."""
    why = reason_without_topics(days_of(2, 20, 30, topics_known=31))
    assert why == (
        "the impressions were shown from 2026-01-02T00:00:00 to 2026-01-30T00:00:00, and topics of"
        " epoch 2 are known from 2026-01-31T00:00:00 on. Later impressions have topics; for this"
        " log, ingest it into a new home and run the jobs as of a time within it before `train"
        " topics` and any run as of now: `vidtopics run --as-of 2026-01-16T00:00:00`"
    )
    short = reason_without_topics(days_of(2, 3.5, topics_known=31))
    assert short.endswith("`vidtopics run --as-of 2026-01-02T11:00:00`")
    shorter = reason_without_topics(days_of(2, 3, topics_known=31))
    assert "too short for topics within it" in shorter
    assert "are 1 day, 1:00:00 together" in shorter
    assert "has no topics. Run the jobs" in reason_without_topics(days_of(2, 30))
