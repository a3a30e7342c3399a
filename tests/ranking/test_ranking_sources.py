"""Which rows a model is trained on: what a live release had, where one was live for most of them.

The log has impressions at 100, 110, ..., 12,090 microseconds. Release 1 says that each video was
shown 5 times and each user 3 times; release 2, committed at 50, says 9 and 7.
"""

import json

import numpy as np
import pyarrow as pa
import pytest
from ranking_worlds import COUNTS, EPOCH, inputs
from test_ranking_home import AS_OF, SETTINGS, publish_topics, published

from benchmarks.homes import publish, release_tables
from consumers.ranking import home
from consumers.ranking.sources import source_as_known, source_as_served
from consumers.training.inputs import USER_VIEWS
from vidtopics.cli import homes
from vidtopics.cli.common import run
from vidtopics.contracts import (
    CLICKS,
    IMPRESSIONS,
    USER_STATISTICS,
    USER_TOPICS,
    VIDEO_STATISTICS,
    VIDEO_TOPICS,
)
from vidtopics.releases.loads import record
from vidtopics.tables import FOREVER, Tables
from vidtopics.tables.schemas import TIMESTAMP, arrow_schema

ROWS = 1_200
SECOND_LIVE = 8_100  # the 800th impression


def rows_of(view, ids, at, **features):
    """A row for each id, committed at a time; a feature that isn't named is empty or 0."""
    columns = {view.key[0]: ids, "value_hash": [1] * len(ids)}
    columns |= dict.fromkeys(("event_timestamp", "created_timestamp"), [at] * len(ids))
    arrays = []
    for field in arrow_schema(view):
        plain = [] if pa.types.is_list(field.type) else 0
        values = columns.get(field.name, [features.get(field.name, plain)] * len(ids))
        kind = pa.int64() if field.type == TIMESTAMP else field.type
        arrays.append(pa.array(values, kind).cast(field.type))
    return pa.table(arrays, schema=arrow_schema(view))


def release(tables, at, exposures, shown):
    """A commit to each view, and a release that names it."""
    videos, users = [f"v{i}" for i in range(300)], [f"u{i}" for i in range(20)]
    slots = {"topic_ids": [10] + [-1] * 7, "topic_weights": [0.7] + [0.0] * 7}
    slots |= {"parent_topic_ids": [1] + [-1] * 7, "topic_count": 1, "topic_epoch": EPOCH}
    slots["below_threshold"] = False
    publish(tables, VIDEO_TOPICS, rows_of(VIDEO_TOPICS, videos, at, **slots))
    counts = {**COUNTS, "video_exposures": exposures}
    publish(tables, VIDEO_STATISTICS, rows_of(VIDEO_STATISTICS, videos, at, **counts))
    of_users = {
        USER_STATISTICS.name: {"user_exposures": shown, "user_decayed_at": at},
        USER_TOPICS.name: {"user_topic_epoch": EPOCH},
    }
    for view in USER_VIEWS:
        publish(tables, view, rows_of(view, users, at, **of_users.get(view.name, {})))
    quality = {"topic_epoch": EPOCH}
    release_tables(tables, as_of_us=at, created_us=at, settings="", quality=quality)


@pytest.fixture
def tables(tmp_path):
    tables, log = Tables(tmp_path / "home"), inputs()
    tables.home.mkdir()
    homes.keep(tables.home, SETTINGS)
    published(tables, IMPRESSIONS, log.impressions.slice(0, ROWS))
    published(tables, CLICKS, log.clicks.join(log.impressions.select(_IDS), "event_id"))
    publish_topics(tables)
    release(tables, 10, 5, 3)
    release(tables, 50, 9, 7)
    return tables


_IDS = ["event_id", "user_id", "video_id", "request_id", "position"]


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
