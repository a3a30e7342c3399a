"""Small files that would take all memory or all time are refused; those beside them are read."""

import json
import struct

import hostile_files as hostile
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from consumers.serving.events import events_of
from consumers.training.spines import open_spine
from vidtopics import parquet_limits
from vidtopics.errors import InputError, SettingsError, StoreError
from vidtopics.images import decode_cover
from vidtopics.ingest.delivery_maps import read_delivery_map
from vidtopics.ingest.readers import open_rows
from vidtopics.ingest.replay import events_of as events_of_file
from vidtopics.ingest.videos import COLUMNS
from vidtopics.jobs.event_messages import events_of_message
from vidtopics.layout.directory import Directory
from vidtopics.settings import load
from vidtopics.yaml_files import read_mapping

PIXELS = 50_000_000
LAYOUT = b'{"layout":2,"buckets":4,"tags":"even"}'
VIEW = {"number": 1, "generation": 1, "ttl_us": 0, "schema": 1}
FIELD = {"name": "v", "type": "float32", "kind": "slots", "wire": "float16", "width": 4, "pad": 0}


@pytest.mark.parametrize(
    "data",
    [
        hostile.png(100_000, 100_000),
        hostile.jpeg(65_500, 65_500),
        hostile.webp(16_000, 16_000),
        hostile.gif_frame(60_000, 60_000),
        hostile.jpeg_of_scans(4_000, 101),
    ],
    ids=["png", "jpeg", "webp", "gif", "scans"],
)
def test_an_image_that_claims_too_much_is_no_cover(data):
    assert len(data) < 40_000
    assert decode_cover(data, max_pixels=PIXELS).problem == "bomb"


def test_progressive_images_are_covers():
    for side in (64, 1_024):
        image = hostile.saved(Image.effect_noise((side, side), 90), "JPEG", progressive=True)
        assert decode_cover(image, max_pixels=PIXELS).pixels.shape == (side, side, 3)
    few = hostile.jpeg_of_scans(4_000, 5)
    assert decode_cover(few, max_pixels=PIXELS).pixels.shape == (4_000, 4_000, 3)


@pytest.mark.parametrize("read", [load, read_mapping, read_delivery_map])
def test_aliases_of_aliases_are_refused(read, tmp_path):
    path = tmp_path / "map.yaml"
    path.write_text(f"{hostile.aliases()}videos: {{fields: {{video_id: *a11}}}}\n")
    with pytest.raises(SettingsError, match=r"100,000 values, aliases written out"):
        read(path)


def test_a_value_that_contains_itself_and_a_long_file_are_refused(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("a: &a [*a]\n")
    with pytest.raises(SettingsError, match="contains itself"):
        read_mapping(path)
    path.write_text("# " + "x" * (4 << 20))
    with pytest.raises(SettingsError, match="4,194,304 characters"):
        read_mapping(path)


def test_aliases_that_share_a_section_are_read(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("a: &a {x: [1, 2]}\nb: *a\nc: {<<: *a, y: 3}\n")
    assert read_mapping(path) == {
        "a": {"x": [1, 2]},
        "b": {"x": [1, 2]},
        "c": {"x": [1, 2], "y": 3},
    }


def opened(path):
    return list(open_rows(path, COLUMNS, 200_000).rows)


def test_a_catalogue_of_too_many_columns_is_refused(tmp_path):
    path = hostile.videos(tmp_path / "videos.parquet", pa.array(["a"]), extra=10_000)
    with pytest.raises(InputError, match=r"10,000 columns at most, found 10,007"):
        opened(path)
    path = tmp_path / "videos.csv"
    path.write_text(",".join([*hostile.VIDEOS, *(f"c{i}" for i in range(10_000))]) + "\n")
    with pytest.raises(InputError, match=r"10,000 columns at most, found 10,007"):
        opened(path)


@pytest.mark.parametrize(
    "read", [opened, lambda p: open_spine(p, []), lambda p: [*events_of_file(p)]]
)
def test_a_footer_is_not_read_beyond_its_limit(read, tmp_path):
    path = tmp_path / "videos.parquet"
    path.write_bytes(b"PAR1" + bytes(64) + struct.pack("<I", 1 << 30) + b"PAR1")
    with pytest.raises(
        InputError, match=r"a footer of 16,777,216 bytes, found one of 1,073,741,824"
    ):
        read(path)


def test_a_column_that_inflates_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_limits, "MAX_UNPACKED", 1 << 20)
    path = hostile.videos(tmp_path / "videos.parquet", pa.array(["x" * (2 << 20)]))
    assert path.stat().st_size < 5_000
    with pytest.raises(InputError, match=r"videos.parquet, title: expected 200 times its size"):
        opened(path)


def test_a_dictionary_is_written_out_in_pieces(tmp_path):
    """4,000 titles of 60,000 characters lie in one value; never more than some pieces are held."""
    path = hostile.videos(tmp_path / "videos.parquet", hostile.repeated("x" * 60_000, 4_000))
    assert path.stat().st_size < 40_000
    batches = opened(path)
    assert sum(map(len, batches)) == 4_000
    with pq.ParquetFile(path) as file:
        sizes = [batch.nbytes for batch in parquet_limits.batches(file, 200_000)]
    assert max(sizes) < 2 * parquet_limits.PIECE_BYTES
    assert sum(sizes) > 4_000 * 60_000


def test_types_within_types_are_refused(tmp_path):
    kind = pa.string()
    for _ in range(200):
        kind = pa.list_(kind)
    path = hostile.videos(tmp_path / "videos.parquet", pa.nulls(1, kind))
    with pytest.raises(InputError, match="too deeply nested"):
        opened(path)


def test_deep_json_is_no_event(tmp_path):
    deep = "[" * 200_000
    path = tmp_path / "events.jsonl"
    path.write_text(f'{deep}\n{{"kind": "click"}}\n')
    assert list(events_of_file(path)) == [deep, {"kind": "click"}]
    assert list(events_of_message("json", deep.encode())) == [deep]
    assert events_of("application/x-ndjson", deep.encode(), lambda count: None) == [deep]
    with pytest.raises(InputError, match="recursion"):
        events_of("application/json", deep.encode(), lambda count: None)


def directory(*, layout=LAYOUT, view=VIEW, fields=(FIELD,), structure=None):
    texts = [t if isinstance(t, bytes) else json.dumps(t).encode() for t in (view, fields)]
    structures = {} if structure is None else {b"topic_queues": structure}
    return Directory.parse("vt", b"1", layout, {b"v": texts[0]}, {b"1": texts[1]}, structures)


def test_a_directory_that_is_ours_is_read():
    assert directory().view("v").schema == 1


@pytest.mark.parametrize(
    "forged",
    [
        {"layout": b"[" * 200_000},
        {"layout": b'{"layout":2,"buckets":1000000000000,"tags":"even"}'},
        {"layout": b'{"layout":2,"buckets":0,"tags":"even"}'},
        {"view": b"[]"},
        {"view": VIEW | {"generation": "1"}},
        {"view": VIEW | {"ttl_us": 2**63}},
        {"view": VIEW | {"schema": 2}},
        {"fields": b"[" * 200_000},
        {"fields": [FIELD | {"width": 10**9}]},
        {"fields": [FIELD | {"width": 600_000}]},
        {"fields": [FIELD | {"width": -1}]},
        {"fields": [FIELD | {"type": "object"}]},
        {"structure": b'{"load": []}'},
        {"structure": b"nan"},
    ],
)
def test_a_directory_that_is_forged_ends_the_read_with_a_message(forged):
    with pytest.raises(StoreError, match="Redis, prefix 'vt'"):
        directory(**forged).view("v")


def test_a_schema_of_another_version_takes_its_own_view_alone():
    views = {name: json.dumps(VIEW | {"schema": n}).encode() for n, name in ((1, b"v"), (2, b"w"))}
    schemas = {
        b"1": json.dumps([FIELD]).encode(),
        b"2": b'[{"name":"a","type":"map","kind":"map"}]',
    }
    parsed = Directory.parse("vt", b"1", LAYOUT, views, schemas, {})
    assert parsed.view("v").schema == 1
    with pytest.raises(StoreError, match="the schema of the view w"):
        parsed.view("w")
