"""How a feature row lies in Redis: keys, header, payload; all that writers and readers share.

A value is a 26-byte header and a payload::

    layout u1 | flags u1 | schema u4 | fingerprint u4 | event_us i8 | created_us i8  (little-endian)
    null bits | fixed-width fields in the schema's order | bytes of variable-length fields

`schema` names the fields (:class:`Schema`); `fingerprint` is a hash of view and id, so that a value
under a foreign key is noticed; a tombstone (a value that ended) is a header alone. A
variable-length field keeps, in the fixed part, where its bytes end.

>>> keys = KeySpace("vt", 1, 2, buckets=16)
>>> keys.of([b"v1", b"v2"])
[b'vt:1:2:{5}v1', b'vt:1:2:{15}v2']
"""

from vidtopics.layout.directory import Directory, ViewEntry, layout_json, place
from vidtopics.layout.keys import KeySpace, Structures, Watermark
from vidtopics.layout.schema import HEADER, LAYOUT, TOMBSTONE, Field, Schema
from vidtopics.layout.values import Decoded, decode, encode, headers, tombstones

__all__ = [
    "HEADER",
    "LAYOUT",
    "TOMBSTONE",
    "Decoded",
    "Directory",
    "Field",
    "KeySpace",
    "Schema",
    "Structures",
    "ViewEntry",
    "Watermark",
    "decode",
    "encode",
    "headers",
    "layout_json",
    "place",
    "tombstones",
]
