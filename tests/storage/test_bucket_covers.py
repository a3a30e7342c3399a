"""Covers in buckets: those that the settings name, by an object store's scheme, and no others."""

import csv
import hashlib
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from PIL import Image

from vidtopics.cli import common
from vidtopics.contracts import VIDEO_CATALOG
from vidtopics.errors import SettingsError, TableError
from vidtopics.ingest.cover_contents import Delivered
from vidtopics.ingest.covers import examine
from vidtopics.jobs import covers
from vidtopics.jobs.covers import Covers
from vidtopics.storage import Address
from vidtopics.storage.mirrors import open_mirror
from vidtopics.tables import Tables

PIXELS = 64


def image(colour=40, size=(8, 8)):
    file = io.BytesIO()
    Image.new("RGB", size, (colour, 0, 0)).save(file, "PNG")
    return file.getvalue()


def look(root, bucket, *paths, places=None):
    delivered = [Delivered(path, "t") for path in paths]
    return examine(root, delivered, PIXELS, [bucket.url("covers")] if places is None else places)


def test_a_cover_is_known_by_its_bytes_wherever_it_lies(bucket, tmp_path):
    bucket.put("covers/a.png", image())
    (tmp_path / "a.png").write_bytes(image())
    in_bucket, in_folder = look(tmp_path, bucket, bucket.url("covers/a.png"), "a.png")
    digest = hashlib.blake2b(digest_size=16)
    for part in (image(), b"t"):
        digest.update(len(part).to_bytes(8, "little") + part)
    assert in_bucket == (bucket.url("covers/a.png"), digest.hexdigest(), None, None)
    assert in_folder.content_hash == in_bucket.content_hash
    alias = bucket.url("covers/a.png").replace("s3:", "s3a:")
    assert look(tmp_path, bucket, f" {alias} ") == [in_bucket]
    paths = [in_bucket.cover_path, in_folder.cover_path, "", bucket.url("covers/none.png")]
    assert list(Covers(paths)) == [image(), image(), None, None]


def test_what_is_no_cover_is_so_in_a_bucket_too(bucket, tmp_path):
    bucket.put("covers/large.png", image(size=(9, 8)))
    bucket.put("covers/text.png", b"text")
    bucket.put("covers/cut.png", image(size=(8, 8))[:-30])
    names = ("large", "text", "cut", "none")
    found = look(tmp_path, bucket, *(bucket.url(f"covers/{name}.png") for name in names))
    assert [cover.reason for cover in found] == [
        "bomb_cover",
        "unreadable_cover",
        "truncated_cover",
        "missing_cover",
    ]
    assert {cover.cover_path for cover in found} == {""}


def test_an_object_that_is_too_large_is_not_read(bucket, tmp_path, through_proxy, monkeypatch):
    size = PIXELS * 4 + 2**20 + 1
    bucket.put("covers/big", bytes(50 * 2**20))
    bucket.put("covers/above", bytes(size))
    through_proxy()
    assert [c.reason for c in look(tmp_path, bucket, bucket.url("covers/above"))] == ["bomb_cover"]
    monkeypatch.setattr(covers, "LARGEST", size - 1)
    (tmp_path / "above").write_bytes(bytes(size))
    assert list(Covers([bucket.url("covers/above"), str(tmp_path / "above")])) == [None, None]


@pytest.fixture
def web():
    """A server that notes who asks it."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        do_HEAD = do_PUT = do_GET  # noqa: N815

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, asked
    server.shutdown()
    server.server_close()


def test_no_other_scheme_host_or_bucket_is_asked(bucket, tmp_path, web):
    port, asked = web
    (tmp_path / "secret").write_bytes(image())
    bucket.put("covers/a.png", image())
    bucket.put("other/a.png", image())
    bucket.put("covers2/a.png", image())
    outside = [
        f"http://127.0.0.1:{port}/a.png",
        f"https://127.0.0.1:{port}/a.png",
        f"file://{tmp_path}/secret",
        f"hdfs://127.0.0.1:{port}/a.png",
        f"s3://127.0.0.1:{port}/covers/a.png",
        bucket.url("other/a.png"),
        bucket.url("covers2/a.png"),
        bucket.url("covers/../other/a.png"),
        bucket.url("covers/%2e%2e/other/a.png"),
        bucket.url("covers"),
        bucket.url("covers/a.png?versionId=1"),
        f"s3://user:never-to-be-shown@{bucket.name}/covers/a.png",
        "s3://another-bucket/covers/a.png",
        "memory:///a.png",
        "://",
    ]
    found = look(tmp_path, bucket, *outside)
    assert {cover.reason for cover in found} == {"cover_outside_folder"}
    assert "never-to-be-shown" not in repr(found)
    assert all(bucket.url("covers") in cover.detail for cover in found)
    none = look(tmp_path, bucket, bucket.url("covers/a.png"), places=[])
    assert "ingest.cover_buckets (none)" in none[0].detail
    assert asked == []


def test_a_folder_in_the_setting_allows_no_files(bucket, tmp_path):
    (cover,) = look(tmp_path, bucket, f"file://{tmp_path}/a.png", places=[str(tmp_path)])
    assert cover.reason == "cover_outside_folder"
    with pytest.raises(SettingsError, match=r"ingest.cover_buckets: expected a folder, or s3"):
        look(tmp_path, bucket, "a.png", places=["http://host/covers"])


def test_a_store_out_of_reach_ends_the_delivery_before_a_row_is_kept(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr("vidtopics.storage.objects.RETRIES", {"max_retries": 0})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(TableError, match="expected a store within reach"):
        look(tmp_path, bucket, "s3://unreached/covers/a.png", places=["s3://unreached"])


def test_a_delivery_with_covers_in_a_bucket(bucket, tmp_path, capsys):
    bucket.put("covers/v1.png", image(1))
    rows = [
        ("v1", "one", bucket.url("covers/v1.png")),
        ("v2", "two", "http://169.254.169.254/latest/meta-data"),
        *((f"w{i}", "more", "") for i in range(40)),
    ]
    with (tmp_path / "videos.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        names = "video_id,title,cover,primary_class,secondary_class,tags,published_at"
        writer.writerow(names.split(","))
        writer.writerows([*row, "a", "b", "", "2026-01-01"] for row in rows)
    (tmp_path / "impressions.csv").write_text(
        "user_id,video_id,event_timestamp,clicked\nu,v1,2026-01-02,1\n"
    )
    config = tmp_path / "settings.yaml"
    config.write_text(json.dumps({"ingest": {"cover_buckets": [bucket.url("covers")]}}))
    words = ["ingest", "folder", tmp_path, "--home", bucket.url(), "--config", config, "--json"]
    assert common.run([str(word) for word in words]) == 0
    report = json.loads(capsys.readouterr().out)
    refused = {file["name"]: file["refused"] for file in report["files"]}
    assert refused["videos.csv"]["cover_outside_folder"]["count"] == 1
    tables = Tables(open_mirror(Address.parse(bucket.url()), models=False))
    stored = {row["video_id"]: row["cover"] for row in tables.read(VIDEO_CATALOG).to_pylist()}
    assert stored["v1"] == bucket.url("covers/v1.png")
    assert "v2" not in stored
    assert len(stored) == 41
