"""A process of its own that makes an on-demand result again: `FOLDER PINS REF...`.

Prints its columns, and a digest of its bytes.
"""

import hashlib
import json
import sys

import pyarrow as pa
from delta_shop import project, spine
from feast import FeatureStore

from vidtopics.stores.delta import pinned


def columns_and_digest(table: pa.Table) -> list:
    """The columns, and a digest of the whole IPC stream, schema and metadata included."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return [table.column_names, hashlib.sha256(sink.getvalue()).hexdigest()]


def main() -> None:
    folder, pins, *refs = sys.argv[1:]
    store = FeatureStore(config=project(folder))
    with pinned(pins):
        joined = store.get_historical_features(spine(("a", 9), ("b", 3)), refs).to_arrow()
    print(json.dumps(columns_and_digest(joined)))
