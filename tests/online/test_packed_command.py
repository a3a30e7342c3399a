"""The MGET that the client packs itself is what redis-py would send for the same keys."""

from hypothesis import given
from hypothesis import strategies as st
from redis.connection import PythonRespSerializer

from vidtopics.layout import Directory, Layout
from vidtopics.layout.directory import ViewEntry
from vidtopics.online.requests import Request, encoded

DIRECTORY = Directory(
    "vt", 1, Layout(16), {"topics": ViewEntry(1, 1, 0, 0), "statistics": ViewEntry(12, 3, 0, 0)}, {}
)
IDS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=20)


@given(st.lists(st.tuples(st.sampled_from(["topics", "statistics"]), IDS), max_size=3))
def test_it_is_what_redis_py_sends(parts):
    request = Request.of(DIRECTORY, [(view, encoded(ids)) for view, ids in parts])
    packer = PythonRespSerializer(
        1 << 20, lambda value: value if isinstance(value, bytes) else value.encode()
    )
    assert request.packed() == b"".join(packer.pack("MGET", *request.keys()))
