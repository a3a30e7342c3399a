"""Schemas, their hashes and keys: a change would make older values unreadable."""

from __future__ import annotations

import json
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidtopics.contracts import (
    TABLES,
    VIDEO_JOINT_REPRESENTATION,
    VIDEO_TOPICS,
    VIEWS,
    Column,
    Table,
)
from vidtopics.errors import StoreError
from vidtopics.layout import Directory, KeySpace, Layout, Schema, Structures, ViewEntry
from vidtopics.layout.layouts import even_tags

GOLDEN = {
    "video_tag_embedding": 2114179545,
    "video_joint_representation": 3567140315,
    "video_topics": 1631204465,
    "video_statistics": 812922382,
    "user_statistics": 995184269,
    "user_topics": 3494513878,
    "user_recent_clicks": 1262439556,
    "user_recent_skips": 3679102631,
}


def test_the_json_of_video_topics_is_what_readers_hold() -> None:
    assert Schema.of(VIDEO_TOPICS).to_json() == (
        '[{"name":"topic_ids","type":"int64","kind":"slots","wire":"int32","width":8,"pad":-1.0},'
        '{"name":"topic_weights","type":"float32","kind":"slots","wire":"float32","width":8,'
        '"pad":0.0},'
        '{"name":"parent_topic_ids","type":"int64","kind":"slots","wire":"int32","width":8,'
        '"pad":-1.0},'
        '{"name":"topic_count","type":"int64","kind":"scalar","wire":"int8","width":1,"pad":0.0},'
        '{"name":"below_threshold","type":"bool","kind":"scalar","wire":"bool","width":1,'
        '"pad":0.0},'
        '{"name":"topic_epoch","type":"int64","kind":"scalar","wire":"int32","width":1,"pad":0.0}]'
    )


def test_hashes_of_the_views_are_golden() -> None:
    """A change here makes values in every store older ones: they read while types stay."""
    assert {name: Schema.of(table).hash for name, table in VIEWS.items()} == GOLDEN


ONLINE = [t for t in TABLES.values() if not any("map<" in c.type for c in t.values)]


@pytest.mark.parametrize("table", ONLINE, ids=lambda table: table.name)
def test_schemas_of_contracts_survive_json_with_their_hash(table: Table) -> None:
    schema = Schema.of(table)
    again = Schema.from_json(schema.to_json().encode())
    assert (again, again.hash, again.row) == (schema, schema.hash, schema.row)


def test_columns_of_a_contract_become_the_fields_that_fit_them() -> None:
    columns = (
        Column("a", "list<float32>", "", width="joint_width"),
        Column("b", "list<int64>", "", width=3, pad=-1, wire="int16"),
        Column("c", "list<int64>", ""),
        Column("d", "list<string>", ""),
        Column("e", "string", ""),
        Column("f", "timestamp", ""),
        Column("g", "float32", "", wire="float16"),
    )
    fields = Schema.of(Table("t", "history", ("k",), columns, "spark", "")).fields
    assert [(f.type, f.kind, f.wire, f.width, f.pad) for f in fields] == [
        ("float32", "vector", "float32", 1, 0),
        ("int64", "slots", "int16", 3, -1),
        ("int64", "list", "int64", 1, 0),
        ("string", "list", "", 1, 0),
        ("string", "bytes", "", 1, 0),
        ("timestamp", "scalar", "timestamp", 1, 0),
        ("float32", "scalar", "float16", 1, 0),
    ]


def test_the_fixed_part_of_the_joint_representation() -> None:
    # 29 header, 1 null bits, 4 end of the vector, 8 blocks, 4 end of the version
    assert Schema.of(VIDEO_JOINT_REPRESENTATION).row.itemsize == 46


@given(st.lists(st.text(max_size=8).map(str.encode), max_size=5), st.integers(1, 40))
def test_keys_are_prefix_generation_view_and_the_bucket_in_braces(
    ids: list[bytes], buckets: int
) -> None:
    keys = KeySpace("p", 2, 3, Layout(buckets)).of(ids)
    tags = even_tags(buckets)
    assert keys == [b"p:2:3:{%s}" % tags[crc32(i) % buckets].encode() + i for i in ids]
    first = KeySpace("p", 2, 3, Layout(buckets, version=1)).of(ids)
    assert first == [b"p:2:3:{%d}" % (crc32(i) % buckets) + i for i in ids]


def test_keys_of_one_id_in_two_views_and_generations_differ() -> None:
    places = {
        (generation, view): KeySpace("p", generation, view, Layout(16))
        for generation in (1, 2)
        for view in (1, 2, 11)
    }
    assert len({space.of([b"v"])[0] for space in places.values()}) == 6
    assert len({space.watermark(1) for space in places.values()}) == 6
    assert places[1, 1].of([b"1:{3}"]) != places[1, 11].of([b"{3}"])


def test_fingerprints_are_of_view_and_id() -> None:
    space = KeySpace("p", 1, 3, Layout(16))
    assert space.fingerprints([b"ab", b"ba"]).tolist() == [
        crc32(b"ab") ^ 0xDAA66D13,
        crc32(b"ba") ^ 0xDAA66D13,
    ]  # 3 * 0x9E3779B1, 32 bits
    assert space.fingerprints([]).dtype == np.uint32
    assert space.fingerprints([b"ab"]) != KeySpace("p", 1, 4, Layout(16)).fingerprints([b"ab"])


def test_structures_have_keys_of_their_own() -> None:
    assert crc32(b"7") % 16 == 2
    names, third = Structures("p", Layout(16)), even_tags(16)[2].encode()
    assert names.queue(3, 7) == b"p:queue:3:{%s}7" % third


@pytest.mark.parametrize(
    ("text", "actual"),
    [
        ('{"layout":3,"buckets":16,"tags":"even"}', "layout 3 with the hash tags 'even'"),
        ('{"layout":2,"buckets":16,"tags":"odd"}', "layout 2 with the hash tags 'odd'"),
    ],
)
def test_the_directory_of_another_layout_is_refused(text: str, actual: str) -> None:
    with pytest.raises(
        StoreError, match=f"Redis, prefix 'p': expected layout 2 .*, found {actual}"
    ):
        Directory.parse("p", b"1", text.encode(), {}, {}, {})


def test_a_reader_tolerates_keys_that_a_later_writer_of_the_layout_added() -> None:
    """In the layout, entries, fields and structures alike."""
    schema = Schema.of(VIDEO_TOPICS)
    entry = ViewEntry(4, 2, 10**6, schema.hash, ("video_id",), 3, "1 2 t")

    def with_more(text: str) -> bytes:
        tree = json.loads(text)
        trees = tree if isinstance(tree, list) else [tree]
        for part in trees:
            part["colour"] = {"red": 1}
        return json.dumps(tree).encode()

    directory = Directory.parse(
        "p",
        b"7",
        with_more(Layout(8).to_json()),
        {b"topics": with_more(entry.to_json())},
        {str(schema.hash).encode(): with_more(schema.to_json())},
        {b"topic_queues": b'{"load":7,"colour":1}', b"topic_queues:moving": b"9"},
    )
    assert (directory.layout, directory.views) == (Layout(8), {"topics": entry})
    assert directory.schemas == {schema.hash: schema}
    assert directory.structures == {"topic_queues": {"load": 7, "colour": 1}}


@pytest.mark.parametrize(
    ("version", "layout"), [(None, Layout(16).to_json().encode()), (b"1", None), (None, None)]
)
def test_an_empty_prefix_says_so(version: bytes | None, layout: bytes | None) -> None:
    with pytest.raises(StoreError, match="Redis, prefix 'p': expected a store, found nothing"):
        Directory.parse("p", version, layout, {}, {}, {})


def test_a_directory_reads_back() -> None:
    schema, entry = Schema.of(VIDEO_TOPICS), ViewEntry(4, 2, 10**6, Schema.of(VIDEO_TOPICS).hash)
    schemas = {str(schema.hash).encode(): schema.to_json().encode()}
    directory = Directory.parse(
        "p", b"7", Layout(8).to_json().encode(), {b"topics": entry.to_json().encode()}, schemas, {}
    )
    assert (directory.version, directory.layout.buckets, directory.views, directory.schemas) == (
        7,
        8,
        {"topics": entry},
        {schema.hash: schema},
    )
    assert directory.keys("topics") == KeySpace("p", 2, 4, Layout(8))
    with pytest.raises(StoreError, match="expected the view other, found topics"):
        directory.view("other")
