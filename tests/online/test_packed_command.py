"""The MGET that the client packs itself is what redis-py would send for the same keys."""

from hypothesis import given
from hypothesis import strategies as st
from redis.connection import PythonRespSerializer

from vidtopics.layout import Directory, Layout, Schema
from vidtopics.layout.directory import ViewEntry
from vidtopics.layout.hashes import HashedIds
from vidtopics.online.requests import Request, encoded

ENTRIES = {"topics": ViewEntry(1, 1, 0, 0), "statistics": ViewEntry(12, 3, 0, 0)}
# Of layout 1 are hash tags of several lengths: 0 to 15.
SCHEMAS = {0: Schema(())}
DIRECTORIES = [Directory("vt", 1, Layout(16, version), ENTRIES, SCHEMAS) for version in (1, 2)]
TEXT = st.characters(exclude_categories=["Cs"])
LENGTHS = st.integers(0, 20).flatmap(
    lambda n: st.lists(st.text(st.characters(max_codepoint=127), min_size=n, max_size=n))
)
IDS = st.one_of(st.lists(st.text(TEXT, max_size=12), max_size=20), LENGTHS)


@given(
    st.sampled_from(DIRECTORIES),
    st.lists(st.tuples(st.sampled_from(["topics", "statistics"]), IDS), max_size=3),
)
def test_it_is_what_redis_py_sends(directory, parts):
    request = Request.of(directory, [(view, encoded(ids)) for view, ids in parts])
    packer = PythonRespSerializer(
        1 << 20, lambda value: value if isinstance(value, bytes) else value.encode()
    )
    assert request.packed() == b"".join(packer.pack("MGET", *request.keys()))


def test_ids_of_several_views_are_hashed_once(monkeypatch):
    calls, real = [], HashedIds.of
    monkeypatch.setattr(HashedIds, "of", lambda ids: calls.append(ids) or real(ids))
    ids = encoded(["v1", "v2"])
    request = Request.of(DIRECTORIES[1], [("topics", ids), ("statistics", ids)])
    assert len(calls) == 1
    (one, other) = (part.fingerprints for part in request.parts)
    assert (one != other).all()
    keys = [DIRECTORIES[1].keys(view).fingerprints(ids).tolist() for view in ENTRIES]
    assert [one.tolist(), other.tolist()] == keys
