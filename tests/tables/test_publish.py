"""Publishing with delta-rs: one worked example per rule of docs/time.md and docs/tables.md."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pytest
from worlds import at, catalog, impressions, rows_of, tags

from benchmarks.homes import release_tables
from vidtopics.contracts import CLICKS, IMPRESSIONS, TAG_EMBEDDING, TOPICS, VIDEO_CATALOG
from vidtopics.errors import ContractError, TableError
from vidtopics.tables import Tables, deltalake_engine
from vidtopics.tables.commits import commits
from vidtopics.tables.schemas import arrow_schema
from vidtopics.tables.values import value_hash

WIDTHS = {"tag_width": 2}


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(tmp_path)


def publish(tables: Tables, event: int, values: dict[str, int], created: int | None = None) -> int:
    return tables.publish(TAG_EMBEDDING, tags(values), at(event, created), widths=WIDTHS).rows


def test_a_history_holds_changes_tombstones_and_late_corrections(tables: Tables) -> None:
    assert publish(tables, 10, {"a": 1, "b": 2}) == 2
    assert publish(tables, 30, {"a": 1}) == 1  # b has ended; a is unchanged and not written
    assert (
        publish(tables, 20, {"a": 5, "b": 2}, created=50) == 2
    )  # a: 5 from 20, and 1 again from 30
    assert rows_of(tables, TAG_EMBEDDING, "video_count") == [
        ("a", 10, 11, 1),
        ("a", 20, 50, 5),
        ("a", 30, 50, 1),
        ("b", 10, 11, 2),
        ("b", 30, 31, None),
    ]


def test_as_of_reads_what_held_and_what_was_known(tables: Tables) -> None:
    publish(tables, 10, {"a": 1, "b": 2})
    publish(tables, 30, {"a": 1})
    publish(tables, 20, {"a": 5, "b": 2}, created=50)
    seen = {
        (t, k): {r["tag"]: r["video_count"] for r in tables.as_of(TAG_EMBEDDING, t, k).to_pylist()}
        for t, k in [(9, 99), (10, 10), (10, 11), (25, 49), (25, 50), (30, 49), (30, 50)]
    }
    assert seen == {
        (9, 99): {},
        (10, 10): {},
        (10, 11): {"a": 1, "b": 2},
        (25, 49): {"a": 1, "b": 2},
        (25, 50): {"a": 5, "b": 2},
        (30, 49): {"a": 1},
        (30, 50): {"a": 1},
    }


def test_a_retrained_but_equal_vector_is_no_change(tables: Tables) -> None:
    rows = tags({"a": 1})
    tables.publish(TAG_EMBEDDING, rows, at(10), widths=WIDTHS)
    nearly = rows.set_column(1, "tag_vector", pa.array([[1.0 + 1e-7, 1.0]], pa.list_(pa.float32())))
    other = rows.set_column(1, "tag_vector", pa.array([[1.0 + 1e-4, 1.0]], pa.list_(pa.float32())))
    assert tables.publish(TAG_EMBEDDING, nearly, at(20), widths=WIDTHS).rows == 0
    assert tables.publish(TAG_EMBEDDING, other, at(30), widths=WIDTHS).rows == 1


def test_the_commit_says_how_it_came_about(tables: Tables) -> None:
    publication = tables.publish(
        TAG_EMBEDDING,
        tags({"a": 1}),
        at(10, settings="s", code="c", inputs={"video_tags": 4}),
        widths=WIDTHS,
    )
    entry = tables.delta(TAG_EMBEDDING).history(1)[0]
    metadata = json.loads(entry["userMetadata"])
    assert (
        metadata["job"],
        metadata["as_of_us"],
        metadata["settings"],
        metadata["code"],
        metadata["inputs"],
        metadata["rows"],
    ) == (
        "job",
        10,
        "s",
        "c",
        {"video_tags": 4},
        1,
    )
    assert publication.version == entry["version"] == 1
    assert tables.delta(TAG_EMBEDDING).transaction_version("job") == 1


def test_a_run_that_changed_nothing_is_recorded_and_is_no_data_version(tables: Tables) -> None:
    publish(tables, 10, {"a": 1})
    publish(tables, 20, {"a": 1})
    assert [(c.as_of_us, c.rows, c.version) for c in tables.commits(TAG_EMBEDDING)] == [
        (10, 1, 1),
        (20, 0, 2),
    ]
    assert tables.input_versions([TAG_EMBEDDING], as_of_us=99, known_by_us=99) == {
        "tag_embedding": 1
    }


def test_versions_are_right_though_another_writer_commits_in_between(tables: Tables) -> None:
    """delta-rs counts a history's versions back from the handle's, and lists newer commits too."""
    publish(tables, 10, {"a": 1})
    handle = tables.delta(TAG_EMBEDDING)
    publish(tables, 20, {"a": 2})
    publish(tables, 30, {"a": 3})
    assert [(c.as_of_us, c.version) for c in commits(handle)] == [(10, 1)]
    tables.delta(TAG_EMBEDDING).optimize.compact()
    assert [(c.as_of_us, c.version) for c in tables.commits(TAG_EMBEDDING)] == [
        (10, 1),
        (20, 2),
        (30, 3),
    ]
    assert tables.delta(TAG_EMBEDDING).version() == 4


def test_input_versions_count_only_what_was_known(tables: Tables) -> None:
    publish(tables, 10, {"a": 1})
    publish(tables, 20, {"a": 2})
    assert tables.input_versions([TAG_EMBEDDING], as_of_us=15, known_by_us=15) == {
        "tag_embedding": 1
    }
    assert tables.input_versions([TAG_EMBEDDING], as_of_us=25, known_by_us=25) == {
        "tag_embedding": 2
    }
    publish(tables, 5, {"a": 7}, created=6)  # a late backfill that a reader as of 15 knows
    assert tables.input_versions([TAG_EMBEDDING], as_of_us=15, known_by_us=15) == {
        "tag_embedding": 3
    }


def test_a_job_is_done_where_code_settings_inputs_and_as_of_are_the_same(tables: Tables) -> None:
    tables.publish(TAG_EMBEDDING, tags({"a": 1}), at(10, settings="s"), widths=WIDTHS)
    tables.publish(TAG_EMBEDDING, tags({"a": 1}), at(20, settings="s"), widths=WIDTHS)
    same = at(10, created=99, settings="s")
    assert tables.is_done(TAG_EMBEDDING, same)
    for other in (
        at(11, settings="s"),
        at(10, settings="t"),
        at(10, settings="s", code="c"),
        at(10, settings="s", inputs={"x": 1}),
    ):
        assert not tables.is_done(TAG_EMBEDDING, other)


def test_live_runs_are_done_whatever_the_time(tables: Tables) -> None:
    tables.publish(TAG_EMBEDDING, tags({"a": 1}), at(10, live=True), widths=WIDTHS)
    assert tables.is_done(TAG_EMBEDDING, at(70, live=True))
    assert not tables.is_done(TAG_EMBEDDING, at(70))


def test_a_log_takes_each_event_once(tables: Tables) -> None:
    assert tables.publish(IMPRESSIONS, impressions(("x", 1, 1), ("y", 2, 2)), at(5)).rows == 2
    assert tables.publish(IMPRESSIONS, impressions(("y", 2, 2), ("z", 3, 4)), at(6)).rows == 1
    assert [r[:3] for r in rows_of(tables, IMPRESSIONS, "position")] == [
        ("x", 1, 1),
        ("y", 2, 2),
        ("z", 3, 4),
    ]
    assert tables.as_of(IMPRESSIONS, 3, 4, columns=["event_id"])["event_id"].to_pylist() == [
        "x",
        "y",
    ]  # strictly before 3


def test_a_catalogue_takes_changes_in_order(tables: Tables) -> None:
    assert (
        tables.publish(
            VIDEO_CATALOG, catalog(("v", "one", 1, 1), ("w", "x", 1, 1)), at(9), changes=True
        ).rows
        == 2
    )
    assert (
        tables.publish(
            VIDEO_CATALOG, catalog(("v", "one", 20, 20), ("w", "y", 20, 20)), at(20), changes=True
        ).rows
        == 1
    )
    assert rows_of(tables, VIDEO_CATALOG, "title") == [
        ("v", 1, 1, "one"),
        ("w", 1, 1, "x"),
        ("w", 20, 20, "y"),
    ]
    with pytest.raises(
        ContractError,
        match=r"video_catalog, \['w'\] at 1970-01-01T00:00:00.000010\+00:00: "
        r"expected a change that",
    ):
        tables.publish(VIDEO_CATALOG, catalog(("w", "z", 10, 10)), at(30), changes=True)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            tags({"a": 1}).set_column(1, "tag_vector", pa.array([[1.0]], pa.list_(pa.float32()))),
            "expected 2 entries, found \\[1.0\\]",
        ),
        (
            tags({"a": 1}).set_column(
                1, "tag_vector", pa.array([[1.0, float("nan")]], pa.list_(pa.float32()))
            ),
            "expected finite numbers",
        ),
        (
            tags({"a": 1}).set_column(2, "video_count", pa.array([None], pa.int64())),
            "video_count: expected a value, found None",
        ),
        (
            pa.concat_tables([tags({"a": 1}), tags({"a": 2})]),
            "expected each key once, found it twice",
        ),
    ],
)
def test_rows_that_break_the_contract_are_refused_and_nothing_is_written(
    tables: Tables, rows: pa.Table, message: str
) -> None:
    publish(tables, 5, {"a": 9})
    with pytest.raises(ContractError, match=message):
        tables.publish(TAG_EMBEDDING, rows, at(10), widths=WIDTHS)
    assert len(tables.commits(TAG_EMBEDDING)) == 1


def test_unit_length_is_held(tables: Tables) -> None:
    row = {
        "topic_id": 1,
        "centroid": [0.6, 0.6],
        "size": 1,
        "label_terms": ["x"],
        "topic_epoch": 1,
        "born": 1,
        "retired": None,
    }
    rows = pa.Table.from_pylist([row], schema=arrow_schema(TOPICS, TOPICS.columns))
    with pytest.raises(ContractError, match="centroid: expected length 1"):
        tables.publish(TOPICS, rows, at(10), widths={"topic_width": 2})


def test_times_are_held(tables: Tables) -> None:
    with pytest.raises(ContractError, match="event time <= created time <= now"):
        publish(tables, 10, {"a": 1}, created=9)
    with pytest.raises(ContractError, match="event time <= created time <= now"):
        publish(tables, 10, {"a": 1}, created=2**52)
    with pytest.raises(ContractError, match="at or before the created time"):
        tables.publish(IMPRESSIONS, impressions(("x", 5, 4)), at(9))


def test_releases_name_the_versions_that_belong_together(tables: Tables) -> None:
    publish(tables, 10, {"a": 1})
    assert (
        release_tables(
            tables, as_of_us=10, created_us=11, settings="s", quality={"topic_epoch": 1.0}
        )
        == 1
    )
    assert (
        release_tables(tables, as_of_us=10, created_us=11, settings="s") is None
    )  # nothing has changed
    tables.publish(IMPRESSIONS, impressions(("x", 1, 1)), at(20))
    publish(tables, 20, {"a": 1})  # recorded, but no change
    assert release_tables(tables, as_of_us=20, created_us=21, settings="s") == 2
    from vidtopics.contracts import RELEASES

    releases = tables.read(RELEASES).sort_by("release_id").to_pylist()
    assert [dict(r["versions"]) for r in releases] == [
        {"tag_embedding": 1},
        {"impressions": 1, "tag_embedding": 1},
    ]
    assert [r["topic_epoch"] for r in releases] == [1, 1]


def test_a_missing_table_reads_as_empty_and_a_foreign_one_is_refused(tables: Tables) -> None:
    assert tables.read(CLICKS).num_rows == 0
    with pytest.raises(TableError, match="expected the table clicks, found nothing"):
        tables.delta(CLICKS)
    tables.delta(IMPRESSIONS, create=True)
    tables.path(IMPRESSIONS).rename(tables.path(CLICKS))
    with pytest.raises(
        TableError, match="expected a table of contract clicks, found 'impressions'"
    ):
        tables.publish(CLICKS, impressions(("x", 1, 1)), at(5))


def test_tables_are_append_only_and_keep_their_log(tables: Tables) -> None:
    publish(tables, 10, {"a": 1})
    properties = tables.delta(TAG_EMBEDDING).metadata().configuration
    assert properties["delta.appendOnly"] == "true"
    assert (
        properties["delta.logRetentionDuration"]
        == properties["delta.deletedFileRetentionDuration"]
        == "interval 400 days"
    )


def test_rows_in_many_pieces_are_checked_and_hashed_together(tables, monkeypatch) -> None:
    """Queues come one after the other: 582 pieces took .6 s of CPU to publish, one takes .15."""
    calls = []

    def hash_and_count(table, rows):
        calls.append(rows.num_rows)
        return value_hash(table, rows)

    monkeypatch.setattr(deltalake_engine, "value_hash", hash_and_count)
    rows = pa.concat_tables([tags({name: i}) for i, name in enumerate("abcdefgh")])
    tables.publish(TAG_EMBEDDING, rows, at(1), widths={"tag_width": 2})
    assert calls == [8]
    assert [row[0] for row in rows_of(tables, TAG_EMBEDDING, "video_count")] == [*"abcdefgh"]


def test_delta_rs_holds_few_files_that_it_still_writes() -> None:
    """Which it reads from the environment at each write."""
    assert int(os.environ["DELTARS_MAX_IN_FLIGHT_UPLOAD_BYTES"]) <= 2**28
