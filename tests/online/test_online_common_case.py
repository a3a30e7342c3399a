"""The short way of `gather` for the common case gives what the long way gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidtopics.contracts import VIDEO_TOPICS
from vidtopics.layout import Field, KeySpace, Layout, Schema, encode, tombstones
from vidtopics.layout.chain import chained, with_load
from vidtopics.online import Status, features
from vidtopics.online.features import gather

TODAY = Schema.of(VIDEO_TOPICS)
OLD = Schema(TODAY.fields[:-1])
SPACE = KeySpace("vt", 1, 2, Layout(4))
NOW, TTL, LIVE = 1_000, 100, 7
KINDS = [
    "whole",
    "missing",
    "tombstone",
    "old schema",
    "null",
    "expired",
    "foreign",
    "cut",
    "empty",
    "other layout",
    "chained",
    "chained thrice",
    "not yet live",
    "not yet live, chained",
    "ended, chained",
    "other schema, chained",
    "cut, chained",
]


def value(kind: str, name: bytes, n: int) -> bytes | None:
    fingerprints = SPACE.fingerprints([name if kind != "foreign" else b"someone else"])
    event = NOW - TTL - (kind == "expired")
    columns = {
        "topic_ids": [[n, *[-1] * 7]],
        "topic_weights": [[n / 8, *[0.0] * 7]],
        "parent_topic_ids": [[n % 3, *[-1] * 7]],
        "topic_count": [1],
        "below_threshold": [n % 2 == 1],
        "topic_epoch": [n],
    }
    null = {"topic_count": np.array([kind == "null"])}
    schema = OLD if kind == "old schema" else TODAY
    (whole,) = encode(
        schema,
        columns,
        fingerprints=fingerprints,
        event_us=[event],
        created_us=[event + n],
        null=null,
    )
    ended = tombstones(TODAY, fingerprints, [event], [event])[0]
    other = encode(
        OLD, columns, fingerprints=fingerprints, event_us=[event], created_us=[event], null=null
    )[0]
    new, old = with_load(whole, LIVE + 1), with_load(whole, LIVE)
    return {
        "chained": chained([whole, old]),
        "chained thrice": chained([new, with_load(whole, LIVE + 2), whole]),
        "not yet live": new,
        "not yet live, chained": chained([new, whole]),
        "ended, chained": chained([new, ended]),
        "other schema, chained": chained([new, other]),
        "cut, chained": chained([whole, old])[:-1],
        "missing": None,
        "cut": whole[:-1],
        "empty": b"",
        "other layout": b"\x09" + whole[1:],
        "tombstone": ended,
    }.get(kind, whole)


def both_ways(kinds: list[str], names: tuple[str, ...] | None, ttl: int, patch: pytest.MonkeyPatch):
    ids = [b"v%d" % i for i in range(len(kinds))]
    values = [
        value(kind, name, i + 1) for i, (kind, name) in enumerate(zip(kinds, ids, strict=True))
    ]
    known = {s.hash: s for s in (TODAY, OLD)}
    calls = (TODAY, known, values, SPACE.fingerprints(ids))
    short = gather(*calls, now_us=NOW, ttl_us=ttl, live=LIVE, names=names)
    with patch.context() as inner:
        inner.setattr(features, "_fixed", lambda *_: None)
        return short, gather(*calls, now_us=NOW, ttl_us=ttl, live=LIVE, names=names)


def same(a, b) -> None:
    for one, other in (
        (a.status, b.status),
        (a.event_us, b.event_us),
        (a.created_us, b.created_us),
    ):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    assert list(a.columns) == list(b.columns) == list(a.null)
    for name in a.columns:
        assert a[name].dtype == b[name].dtype
        np.testing.assert_array_equal(a[name], b[name])
        np.testing.assert_array_equal(a.null[name], b.null[name])


@settings(max_examples=150)
@given(
    st.one_of(
        st.lists(st.sampled_from(KINDS[:2]), max_size=6),
        st.lists(st.sampled_from([*KINDS[:2], *KINDS[10:14]]), max_size=6),
        st.lists(st.sampled_from(KINDS), max_size=6),
    ),
    st.sampled_from([None, ("topic_weights", "topic_ids"), ()]),
    st.sampled_from([0, TTL]),
)
def test_both_ways_are_one(kinds, names, ttl):
    with pytest.MonkeyPatch.context() as patch:
        same(*both_ways(kinds, names, ttl, patch))


@pytest.mark.parametrize(
    ("kind", "status", "short"),
    [
        ("whole", Status.PRESENT, True),
        ("missing", Status.NOT_FOUND, True),
        ("tombstone", Status.NULL, False),
        ("old schema", Status.PRESENT, False),
        ("null", Status.PRESENT, False),
        ("expired", Status.OUTSIDE_MAX_AGE, False),
        ("foreign", Status.UNREADABLE, False),
        ("cut", Status.UNREADABLE, False),
        ("empty", Status.UNREADABLE, False),
        ("other layout", Status.UNREADABLE, False),
        ("chained", Status.PRESENT, True),
        ("chained thrice", Status.PRESENT, True),
        ("not yet live", Status.NOT_FOUND, True),
        ("not yet live, chained", Status.PRESENT, True),
        ("ended, chained", Status.NULL, False),
        ("other schema, chained", Status.PRESENT, False),
        ("cut, chained", Status.UNREADABLE, False),
    ],
)
def test_which_way_is_taken(kind, status, short, monkeypatch):
    """The short way answers what it is for: always None would pass the test above."""
    taken, real = [], features._fixed
    monkeypatch.setattr(features, "_fixed", lambda *a: taken.append(real(*a)) or taken[-1])
    gathered, _ = both_ways(["whole", kind], None, TTL, monkeypatch)
    assert [taken[0] is not None, Status(gathered.status[1])] == [short, status]
    assert gathered["topic_ids"][0].tolist() == [1, -1, -1, -1, -1, -1, -1, -1]


def test_arrays_are_the_callers_own(monkeypatch):
    features, _ = both_ways(["whole", "missing"], None, 0, monkeypatch)
    features["topic_ids"][:] = 0
    features.null["topic_ids"][:] = True
    assert features.null["topic_weights"].tolist() == [False, True]


def test_a_schema_with_text_is_judged_row_by_row():
    schema = Schema((Field("s", "string", "bytes"),))
    ids = [b"a"]
    values = encode(
        schema, {"s": ["x"]}, fingerprints=SPACE.fingerprints(ids), event_us=[1], created_us=[1]
    )
    assert gather(schema, {}, values, SPACE.fingerprints(ids), now_us=NOW)["s"].tolist() == ["x"]
