"""Bytes and what they mean, in a file that the readers of both languages are held to.

`python tests/layout/test_golden_bytes.py` writes the file anew: only with a new layout.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
from by_hand import value_bytes

from vidtopics.layout import Field, KeySpace, Layout, Schema, Structures, encode, tombstones
from vidtopics.layout.chain import chained, with_load
from vidtopics.layout.live import LiveKeys
from vidtopics.online import Status
from vidtopics.online.features import gather

GOLDEN = Path(__file__).with_name("golden.json")
CLIENT = Path(__file__).parents[2] / "clients" / "node"
FIXED = Schema(
    (
        Field("views", "int64", "scalar", "int32", pad=-1),
        Field("ids", "int64", "slots", "int16", width=3, pad=-1),
        Field("weights", "float32", "slots", "float16", width=2),
        Field("is_new", "bool", "scalar", "bool"),
        Field("rate", "float64", "scalar", "float64"),
        Field("since", "timestamp", "scalar", "timestamp"),
        Field("unit", "float32", "vector", "float32", width=2),
    )
)
VARIABLE = Schema(
    (
        Field("title", "string", "bytes"),
        Field("count", "int64", "scalar", "int8"),
        Field("tags", "string", "list"),
        Field("times", "int64", "list", "int64"),
        Field("vector", "float32", "vector", "float32"),
    )
)
FIXED_ROW = {
    "views": 70_000,
    "ids": [3, 300, -1],
    "weights": [0.5, -0.0625],
    "is_new": True,
    "rate": 0.1,
    "since": 1_768_435_500_000_000,
    "unit": [0.75, -0.5],
}
VARIABLE_ROW = {
    "title": "Füße",
    "count": -7,
    "tags": ["a", "", "ßü"],
    "times": [5, 2**40],
    "vector": [1.5, -2.0, 0.25],
}
EMPTY_ROW = {"title": "", "count": 0, "tags": [], "times": [], "vector": None}
VIEW, ID, EVENT_US, CREATED_US = 3, "v0000786", 1_768_435_200_000_000, 1_768_435_260_000_000
SPACE = KeySpace("vt", 2, VIEW, Layout(16))
[MARK] = SPACE.fingerprints([ID.encode()]).tolist()


def value_of(schema, row, load=0):
    null = {name: np.array([value is None]) for name, value in row.items()}
    columns = {f.name: [_plain(f, row[f.name])] for f in schema.fields}
    times = {"event_us": [EVENT_US], "created_us": [CREATED_US]}
    marks = np.array([MARK], np.uint32)
    [value] = encode(schema, columns, fingerprints=marks, null=null, **times)
    by_hand = value_bytes(schema, row, MARK, EVENT_US, CREATED_US)
    assert value == by_hand
    return with_load(value, load)


def _plain(field, value):
    """A null in a column of numbers still needs a number there."""
    if value is not None or field.variable:
        return value
    return [field.pad] * field.width if field.many else field.pad


def cases():
    """What each value shows: its bytes, the live load, and how a reader has to judge it."""
    now, row = CREATED_US + 10, dict.fromkeys(FIXED_ROW) | {"views": 1, "unit": [1.0, 0.0]}
    whole = value_of(FIXED, FIXED_ROW)
    marks = np.array([MARK], np.uint32)
    [ended] = tombstones(FIXED, marks, [EVENT_US], [CREATED_US])
    old = value_of(FIXED, FIXED_ROW | {"views": 4}, load=4)
    both = chained([value_of(FIXED, FIXED_ROW, load=7), old])
    other = Schema((Field("other", "int64", "scalar", "int64"),))
    foreign = whole[:5] + (MARK ^ 1).to_bytes(4, "little") + whole[9:]
    unknown = whole[:1] + other.hash.to_bytes(4, "little") + whole[5:]
    yield "numbers of each kind", whole, 0, 0, now, present(FIXED_ROW)
    yield "fields without a value", value_of(FIXED, row), 0, 0, now, present(row)
    strings = value_of(VARIABLE, VARIABLE_ROW)
    yield "texts and lists", strings, 0, 0, now, present(VARIABLE_ROW)
    yield "empty ones", value_of(VARIABLE, EMPTY_ROW), 0, 0, now, present(EMPTY_ROW)
    yield "no key", None, 0, 0, now, {"status": "not_found"}
    yield "a value that ended", ended, 0, 0, now, {"status": "null"} | TIMES
    yield "the newest of two loads", both, 7, 0, now, present(FIXED_ROW)
    yield "the load before, which is live", both, 6, 0, now, present(FIXED_ROW | {"views": 4})
    yield "two loads that aren't live yet", both, 3, 0, now, {"status": "not_found"}
    yield "at the end of its TTL", whole, 0, now - EVENT_US, now, present(FIXED_ROW)
    late = {"status": "outside_max_age"} | TIMES
    yield "a microsecond behind it", whole, 0, now - EVENT_US - 1, now, late
    for what, value in {
        "under a foreign key": foreign,
        "of a schema that isn't there": unknown,
        "cut short": whole[:-1],
        "shorter than a header": whole[:20],
        "of another layout": b"\x03" + whole[1:],
        "texts that end elsewhere": strings + b"x",
    }.items():
        yield what, value, 0, 0, now, {"status": "unreadable"}


TIMES = {"event_us": EVENT_US, "created_us": CREATED_US}


def present(row):
    return {"status": "present"} | TIMES | {"features": row}


def golden():
    ids = ["v0000786", "u1", "Füße", "17", "p3", "all", "x" * 40]
    layouts = {buckets: Layout(buckets) for buckets in (1, 3, 16, 64)}
    return {
        "tags": [{"buckets": n, "tags": list(layout.tags)} for n, layout in layouts.items()],
        "keys": [
            {
                "buckets": n,
                "id": i,
                "generation": 5,
                "number": n + 2,
                "key": KeySpace("vt", 5, n + 2, layout).of([i.encode()])[0].decode(),
                "fingerprint": int(KeySpace("vt", 5, n + 2, layout).fingerprints([i.encode()])[0]),
                "queue": Structures("vt", layout).queue(7, i).decode(),
                "live": (live := LiveKeys("vt", layout)).state(
                    7, "video", "state", live.bucket(i.encode())
                ),
                "live_queue": live.queue(7, 4, i).decode(),
            }
            for n, layout in layouts.items()
            for i in ids
        ],
        "schemas": [{"text": s.to_json(), "hash": s.hash} for s in (FIXED, VARIABLE)],
        "values": [
            {
                "what": what,
                "hex": None if value is None else value.hex(),
                "live": live,
                "fingerprint": MARK,
                "ttl_us": ttl_us,
                "now_us": now_us,
                "row": row,
            }
            for what, value, live, ttl_us, now_us, row in cases()
        ],
    }


def test_the_golden_bytes_are_those_of_the_layout():
    """A change here is a new layout: readers in other languages have to be told."""
    assert json.loads(GOLDEN.read_text(encoding="utf-8")) == json.loads(json.dumps(golden()))


def test_the_client_reads_what_they_mean():
    known = {schema.hash: schema for schema in (FIXED, VARIABLE)}
    for case in json.loads(GOLDEN.read_text(encoding="utf-8"))["values"]:
        value = None if case["hex"] is None else bytes.fromhex(case["hex"])
        is_variable = set(case["row"].get("features", FIXED_ROW)) == set(VARIABLE_ROW)
        features = gather(
            VARIABLE if is_variable or case["what"].startswith("texts") else FIXED,
            known,
            [value],
            np.array([case["fingerprint"]], np.uint32),
            now_us=case["now_us"],
            ttl_us=case["ttl_us"],
            live=case["live"],
        )
        assert Status(features.status[0]).name.lower() == case["row"]["status"], case["what"]
        for name, expected in case["row"].get("features", {}).items():
            assert features.null[name][0] == (expected is None), (case["what"], name)
            if expected is not None:
                stored = features[name][0]
                assert np.array_equal(stored, expected), (case["what"], name)


def node():
    """Where Node is; its reader is a part of the product, so a machine without it fails here."""
    path = shutil.which("node")
    assert path, "expected node, 20.15 or later, found none. Mend: install nodejs."
    return path


def test_nodes_reader_reads_what_they_mean():
    done = subprocess.run(
        [node(), "--test", "reader.test.mjs"],
        cwd=CLIENT,
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    assert "# pass 3" in done.stdout
    assert "# fail 0" in done.stdout


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(golden(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
