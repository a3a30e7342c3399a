"""How a feature row lies in Redis: keys, header, payload; all that writers and readers share.

A value is a 29-byte header and a payload (numbers are little-endian)::

    mark u1 | schema u4 | fingerprint u4 | load u4 | event_us i8 | created_us i8
    null bits | fixed-width fields in the schema's order | bytes of variable-length fields

`mark` is the layout and, from bit 4 on, flags; `schema` names the fields (:class:`Schema`);
`fingerprint` is a hash of view and id, so that a value
under a foreign key is noticed; a tombstone (a value that ended) is a header alone. A
variable-length field keeps, in the fixed part, where its bytes end. `load` is the run of
`materialize` that wrote the value (0: Feast); a value may have older ones behind it
(:mod:`vidtopics.layout.chain`), and a reader shows the newest whose load its directory says is
live.

>>> keys = KeySpace("vt", 1, 2, Layout(16))
>>> keys.of([b"v1", b"v2"])
[b'vt:1:2:{2}v1', b'vt:1:2:{t}v2']
"""

from vidtopics.layout.directory import Directory, ViewEntry, place
from vidtopics.layout.keys import KeySpace, Structures, Watermark, queue_name
from vidtopics.layout.layouts import Layout
from vidtopics.layout.schema import CHAINED, HEADER, LAYOUT, LAYOUTS, TOMBSTONE, Field, Schema
from vidtopics.layout.values import Decoded, decode, encode, headers, tombstones

__all__ = [
    "CHAINED",
    "HEADER",
    "LAYOUT",
    "LAYOUTS",
    "TOMBSTONE",
    "Decoded",
    "Directory",
    "Field",
    "KeySpace",
    "Layout",
    "Schema",
    "Structures",
    "ViewEntry",
    "Watermark",
    "decode",
    "encode",
    "headers",
    "place",
    "queue_name",
    "tombstones",
]
