"""Content jobs: each content is encoded once, and held-out videos never train."""

import numpy as np
import plain
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import small_world
from small_home import T1, T2

from spark_jobs.video_joint_representation import JOB
from vidtopics.contracts import (
    VIDEO_CATALOG,
    VIDEO_CONTENT_ENCODING,
    VIDEO_JOINT_REPRESENTATION,
    VIDEO_TAGS,
)
from vidtopics.jobs.pipeline import train_topics
from vidtopics.tables import Commit


def weights_as_of(home, at: int) -> str:
    """The hash of the joint model of the version in force."""
    return home.at(at).model.version.weights


def test_each_content_is_encoded_once(home):
    contents = {
        at: {r["content_hash"] for r in plain.live_videos(home, at).values()} for at in (T1, T2)
    }
    rows = home.rows(VIDEO_CONTENT_ENCODING)
    first = {r["content_hash"] for r in rows if r["event_timestamp"] == T1}
    then = {r["content_hash"] for r in rows if r["event_timestamp"] == T2}
    assert first == contents[T1]
    assert then == contents[T2] - contents[T1]
    assert len(rows) == len(first) + len(then)  # no hash twice, none by the live run
    assert len(first) < len(plain.live_videos(home, T1))  # two videos share one


def test_the_second_date_sends_only_new_content_to_the_encoders(home):
    assert len(home.encoded[T1]) == len(home.rows(VIDEO_CONTENT_ENCODING, T1))
    assert len(home.encoded[T2]) == small_world.UPLOADED_LATER


def test_twins_are_one_point_and_missing_blocks_are_flagged(home):
    rows = {r["video_id"]: r for r in home.holds(VIDEO_JOINT_REPRESENTATION, T1)}
    a, b = (rows[v]["joint_embedding"] for v in small_world.TWINS)
    assert a == b
    odd = (small_world.NO_COVER, small_world.NO_TITLE, small_world.NOTHING, small_world.NO_TAGS)
    assert [rows[v]["content_blocks"] for v in odd] == [2, 1, 0, 3]  # bit 0 a cover, bit 1 a title
    assert not any(rows[small_world.NOTHING]["joint_embedding"])
    lengths = [
        np.linalg.norm(r["joint_embedding"]) for v, r in rows.items() if v != small_world.NOTHING
    ]
    np.testing.assert_allclose(lengths, 1, atol=1e-5)


def test_every_live_video_is_represented_held_out_or_not(home):
    for at in (T1, T2):
        rows = home.holds(VIDEO_JOINT_REPRESENTATION, at)
        assert {r["video_id"] for r in rows} == plain.live_videos(home, at).keys()
        weights = weights_as_of(home, at)
        # A zero vector is the same by every model: its row is not written again.
        assert {r["encoder_version"] for r in rows if r["content_blocks"]} == {weights}


def test_where_nothing_is_new_no_row_is_computed_and_the_rows_stay(fork):
    copy = fork()
    run = copy.at(T2)
    computed = JOB.compute(run)
    assert (len(computed.rows), computed.facts) == (0, {"computed": 0})
    before = copy.rows(JOB.table)
    copy.tables.publish(JOB.table, computed.rows, JOB.commit(run), reused=computed.reused)
    assert copy.rows(JOB.table) == before


@pytest.fixture(scope="module")
def held_out(home) -> set[str]:
    return plain.live_videos(home, T1).keys() - plain.training_tags(home, T1).keys()


def test_labels_of_held_out_videos_do_not_reach_the_model(home, fork, held_out):
    assert 20 < len(held_out) < 50
    assert trained_on(home, fork, relabelled=held_out) == weights_as_of(home, T1)


def test_labels_of_one_video_that_trains_do(home, fork, held_out):
    other = min(plain.live_videos(home, T1).keys() - held_out)
    assert trained_on(home, fork, relabelled={other}) != weights_as_of(home, T1)


def trained_on(home, fork, *, relabelled: set[str]) -> object:
    """The hash of the joint model trained as of T1 where some have other classes and tags."""
    changed = fork([VIDEO_CONTENT_ENCODING], models=False)
    catalog, tags = home.tables.read(VIDEO_CATALOG), home.tables.read(VIDEO_TAGS)
    names = pa.array(sorted(relabelled))
    hit = pc.is_in(catalog["video_id"], value_set=names).to_pylist()
    for column in ("primary_classes", "secondary_classes"):
        values = [
            ["another"] if h else v for h, v in zip(hit, catalog[column].to_pylist(), strict=True)
        ]
        at = catalog.schema.get_field_index(column)
        catalog = catalog.set_column(at, column, pa.array(values, pa.list_(pa.string())))
    tags = tags.filter(pc.invert(pc.is_in(tags["video_id"], value_set=names)))
    commit = Commit("ingest", T2, T2, live=True)
    changed.tables.publish(VIDEO_CATALOG, catalog.drop_columns("value_hash"), commit, changes=True)
    changed.tables.publish(VIDEO_TAGS, tags.drop_columns("value_hash"), commit, changes=True)
    return train_topics(changed.at(T1)).version.weights
