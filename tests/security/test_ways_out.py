"""Nothing that is delivered, or written into a log, a bucket or a model, leads to other files."""

import json
import os
import pickle
import threading
from contextlib import contextmanager

import boto3
import hostile_files as hostile
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from PIL import Image

from consumers.serving.catalogue import thumbnail as served_thumbnail
from producers.content.weights import load_title_encoder, read_tensors
from vidtopics.errors import EncoderError, TableError
from vidtopics.explore.covers import thumbnail
from vidtopics.images import read_cover
from vidtopics.ingest.arrivals import take_deliveries
from vidtopics.ingest.covers import Delivered, examine
from vidtopics.ingest.inbox import Inbox
from vidtopics.settings import IngestSettings, TitleEncoderSettings
from vidtopics.storage import Address, mirrors
from vidtopics.tables import Tables
from vidtopics.tables.data_files import data_files
from vidtopics.tables.scans import scan, scan_files
from vidtopics.tables.tail import appended_rows

PIXELS = 10_000
IMAGE = hostile.saved(Image.new("RGB", (4, 4), "red"), "PNG")


@contextmanager
def within(seconds=20):
    """The block ends; a pipe that is waited for would hold it for ever."""
    ended = threading.Event()
    watch = threading.Thread(target=lambda: ended.wait(seconds) or os._exit(3), daemon=True)
    watch.start()
    yield
    ended.set()


@pytest.fixture
def delivery(tmp_path):
    folder = tmp_path / "delivery"
    folder.mkdir()
    (folder / "good.png").write_bytes(IMAGE)
    (tmp_path / "secret.png").write_bytes(IMAGE)
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "self.png").symlink_to("/proc/self/mem")
    os.mkfifo(folder / "pipe.png")
    return folder


ESCAPES = {
    "../secret.png": "cover_outside_folder",
    "link.png": "cover_outside_folder",
    "zero.png": "cover_outside_folder",
    "self.png": "cover_outside_folder",
    "/etc/passwd": "cover_outside_folder",
    "file:///etc/passwd": "cover_outside_folder",
    "http://127.0.0.1:1/x.png": "cover_outside_folder",
    "s3://bucket/x.png": "cover_outside_folder",
    "..\\secret.png": "cover_outside_folder",
    "C:\\secret.png": "cover_outside_folder",
    "a/../../secret.png": "cover_outside_folder",
    "pipe.png": "unreadable_cover",
    ".": "unreadable_cover",
    "x" * 5_000: "missing_cover",
}


def test_covers_lie_in_their_folder_and_are_files(delivery):
    covers = [Delivered(path, "title") for path in [*ESCAPES, "good.png"]]
    with within():
        *escapes, good = examine(delivery, covers, PIXELS)
    assert [cover.reason for cover in escapes] == list(ESCAPES.values())
    assert [cover.cover_path for cover in escapes] == [""] * len(ESCAPES)
    assert (good.reason, good.cover_path) == (None, str(delivery / "good.png"))


@pytest.mark.parametrize("show", [thumbnail, served_thumbnail])
def test_a_cover_that_was_replaced_after_ingestion_is_shown_as_none(show, delivery):
    shown = show(str(delivery / "good.png"), PIXELS)
    assert shown not in (b"", ("", 1.0))
    with (delivery / "long.png").open("wb") as file:
        file.truncate(1 << 40)
    with within():
        for name in ("pipe.png", "zero.png", "long.png", "gone.png", "a\0b"):
            assert show(str(delivery / name), PIXELS) in (b"", ("", 1.0))
    assert read_cover(delivery / "long.png", max_pixels=PIXELS) == "bomb"
    for name in ("pipe.png", "zero.png", "."):
        assert read_cover(delivery / name, max_pixels=PIXELS) == "unreadable"
    assert len(os.listdir("/proc/self/fd")) < 500


def bring(home, name):
    inbox = Inbox(home)
    inbox.make()
    folder = inbox.inbox / name
    folder.mkdir()
    columns = ",".join(hostile.VIDEOS)
    (folder / "videos.csv").write_text(f"{columns}\nv-{name},title,,music,jazz,,2026-01-02\n")
    (folder / "impressions.csv").write_text("user_id,video_id,event_timestamp,clicked\n")
    return folder


def test_a_delivery_of_links_is_refused_and_the_next_is_read(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    secret = bring(home, "secret").rename(tmp_path / "secret")
    (home / "inbox" / "whole").symlink_to(secret)
    file = bring(home, "file") / "videos.csv"
    file.unlink()
    file.symlink_to(secret / "videos.csv")
    pipe = bring(home, "pipe") / "videos.csv"
    pipe.unlink()
    os.mkfifo(pipe)
    bring(home, "good")
    inbox = Inbox(home)
    with within(60), inbox.held():
        taken, errors = take_deliveries(Tables(home), inbox, IngestSettings())
    assert errors == []
    assert {t.name: t.outcome for t in taken} == {
        "whole": "refused",
        "file": "refused",
        "pipe": "refused",
        "good": "ingested",
    }
    assert all("v-secret" not in t.cause for t in taken)


@pytest.fixture
def forged(tmp_path):
    """A table whose log names a file beside the table."""

    def forge(path):
        write_deltalake(str(tmp_path / "table"), pa.table({"a": ["own"]}))
        pq.write_table(pa.table({"a": ["secret"]}), tmp_path / "secret.parquet")
        log = tmp_path / "table" / "_delta_log" / f"{0:020}.json"
        actions = [json.loads(line) for line in log.read_text().splitlines()]
        [add] = [action["add"] for action in actions if "add" in action]
        size = (tmp_path / "secret.parquet").stat().st_size
        add |= {"path": path.format(folder=tmp_path), "size": size, "stats": None}
        log.write_text("\n".join(map(json.dumps, actions)))
        return tmp_path / "table"

    return forge


@pytest.mark.parametrize(
    "path", ["../secret.parquet", "%2e%2e/secret.parquet", "b/../../secret.parquet"]
)
def test_a_log_names_files_of_its_own_table(path, forged):
    table = forged(path)
    delta = DeltaTable(str(table))
    for read in (
        lambda: scan(delta),
        lambda: scan_files(delta, data_files(delta)),
        lambda: list(appended_rows(table)),
    ):
        with pytest.raises(TableError, match=r"lie below the table, found '[b./]*\.\./secret"):
            read()


@pytest.mark.parametrize("path", ["{folder}/secret.parquet", "file://{folder}/secret.parquet"])
def test_an_absolute_path_in_a_log_gives_no_row(path, forged):
    table = forged(path)
    delta = DeltaTable(str(table))
    with pytest.raises((TableError, OSError, pa.ArrowInvalid)):
        scan(delta).to_table()
    with pytest.raises((TableError, OSError, pa.ArrowInvalid)):
        scan_files(delta, data_files(delta)).to_table()


@pytest.fixture
def bucket(s3_environment, tmp_path):
    client = boto3.client("s3")
    name = f"b{tmp_path.name}".replace("_", "-").lower()[:60]
    client.create_bucket(Bucket=name)

    def put(key, content):
        client.put_object(Bucket=name, Key=f"home/{key}", Body=content)

    put("home-id", b"bd649e35-591c-4cbe-bc46-66f8c11221dc")
    put(f"tables/releases/_delta_log/{0:020}.json", b"{}")
    return Address.parse(f"s3://{name}/home"), put


@pytest.mark.parametrize("key", ["../../evil", "a/../../../evil", "/etc/evil", "./evil", "a//evil"])
def test_no_key_of_a_bucket_leads_out_of_its_mirror(key, bucket, tmp_path):
    address, put = bucket
    put(key, b"evil")
    with pytest.raises(TableError, match="invalid path"):
        mirrors.open_mirror(address, models=False)
    assert not list(tmp_path.rglob("*evil*"))


def test_a_bucket_says_neither_which_bucket_it_is_nor_fills_memory(bucket, monkeypatch):
    address, put = bucket
    put(mirrors.MARK, b'{"url": "s3://elsewhere/home", "files": {}}')
    folder = mirrors.open_mirror(address, models=False)
    assert mirrors.origin(folder) == str(address)
    assert mirrors.MARK not in json.loads((folder / mirrors.MARK).read_bytes())["files"]
    monkeypatch.setattr(mirrors, "LARGEST", 1_000)
    put("settings.yaml", b"#" * 1_001)
    with pytest.raises(TableError, match=r"settings.yaml: expected 1,000 bytes at most"):
        mirrors.open_mirror(address, models=False)


class Runs:
    """What a pickle can do: make a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin", "w.safetensors"])
def test_weights_that_are_a_pickle_run_nothing(name, tmp_path):
    import torch

    (tmp_path / name).write_bytes(pickle.dumps({"w": Runs(tmp_path / "ran")}))
    torch.save({"w": Runs(tmp_path / "ran")}, tmp_path / f"zip-{name}")
    for file in (name, f"zip-{name}"):
        with pytest.raises(EncoderError, match="a state dict of tensors"):
            read_tensors(tmp_path / file)
    assert not (tmp_path / "ran").exists()


def test_code_beside_weights_is_neither_run_nor_asked_about(tmp_path, monkeypatch):
    from safetensors.numpy import save_file

    monkeypatch.setattr("builtins.input", lambda prompt: "y")  # as a hasty person would
    names = {"AutoConfig": "evil.C", "AutoModel": "evil.M", "AutoTokenizer": ["evil.T", None]}
    (tmp_path / "evil.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\n")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": names}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"auto_map": names}))
    save_file({"w": np.zeros(1, np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(EncoderError, match="custom code"):
        load_title_encoder(TitleEncoderSettings(weights=str(tmp_path)))
    assert not (tmp_path / "ran").exists()
