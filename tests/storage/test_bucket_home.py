"""A home in a bucket gives what it gives in a folder, by reads of what is needed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import topic_world as world
import yaml
from deltalake import DeltaTable, write_deltalake

from benchmarks.redis_nodes import wait
from vidtopics import contracts, server
from vidtopics.cli import common
from vidtopics.cli.apply import repo_text
from vidtopics.errors import SettingsError, TableError
from vidtopics.failpoints import Crash, armed
from vidtopics.releases.loads import read_loads, record
from vidtopics.settings import Settings
from vidtopics.storage import Address
from vidtopics.storage.copying import copy_home
from vidtopics.storage.mirrors import followed, open_mirror
from vidtopics.tables import Tables
from vidtopics.tables.commits import commits
from vidtopics.tables.releases import read_log
from vidtopics.tables.schemas import arrow_schema

WIDTH = 256


def in_bucket(home, bucket):
    copy_home(Address.parse(home), Address.parse(bucket.url()))
    return bucket.url()


def opened(url, *, models=False):
    return open_mirror(Address.parse(url), models=models)


@pytest.fixture
def redis_url(tmp_path, monkeypatch):
    url = server.start(tmp_path / "redis-home")
    monkeypatch.setenv("REDIS_URL", url)
    yield url
    server.stop(tmp_path / "redis-home")


def output(capsys, *words):
    assert common.run([str(word) for word in words]) == 0
    return capsys.readouterr().out


def test_every_table_reads_as_in_the_folder(home, bucket):
    here, there = Tables(home), Tables(opened(in_bucket(home, bucket)))
    names = [path.name for path in (home / "tables").iterdir()]
    assert len(names) > 5
    for table in (contracts.TABLES[name] for name in names):
        assert there.read(table) == here.read(table)
        assert there.version(table) == here.version(table)
        assert [*there.commits(table)] == [*here.commits(table)]
        assert [*commits(there.delta(table))] == [*here.commits(table)]
        assert there.as_of(table, world.T).equals(here.as_of(table, world.T))
    assert read_log(there) == read_log(here)
    assert there.latest_release() == here.latest_release()


def test_verbs_that_read_say_the_same(home, bucket, capsys, tmp_path):
    url = in_bucket(home, bucket)
    shutil.rmtree(home / "models" / "topics")  # their manifests are none
    for key in ("arrays.safetensors", "manifest.json"):
        bucket.delete(f"home/models/topics/1/{key}")
    for verb in ("releases", "models"):
        assert output(capsys, verb, "--home", url) == output(capsys, verb, "--home", home)
    spine = pa.table(
        {
            "video_id": ["a", "b", "nobody", "e"],
            "event_timestamp": pa.array([world.T + 9 * world.HOUR] * 4, pa.timestamp("us", "UTC")),
        }
    )
    pq.write_table(spine, tmp_path / "spine.parquet")
    for name, place in (("here", home), ("there", url)):
        output(
            capsys,
            "join",
            tmp_path / "spine.parquet",
            tmp_path / f"{name}.parquet",
            "--home",
            place,
        )
    here, there = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("here", "there"))
    assert here.equals(there)
    assert here["topic_count"].to_pylist() == [1, 2, None, 1]


def test_a_release_goes_from_the_bucket_to_redis_and_its_load_into_the_bucket(
    home, bucket, capsys, redis_url
):
    url = in_bucket(home, bucket)
    entries = [key for key in bucket.contents() if key.startswith("tables/loads/_delta_log/")]
    assert entries == []
    output(capsys, "materialize", "--home", url)
    features = json.loads(output(capsys, "features", "a", "--home", home, "--json"))
    assert "4" in json.dumps(features)  # topic 4, as TOPICS_OF says
    (load,) = read_loads(Tables(opened(url)))
    assert load.release_id == 1
    assert load.store.startswith("127.0.0.1:")
    assert "up to date" in output(capsys, "materialize", "--home", url)
    assert "differ" not in output(capsys, "reconcile", "--home", url)
    back = Tables(opened(url))
    assert len(read_loads(back)) == 1


def test_loads_are_commits_in_the_bucket_that_their_writer_sees(home, bucket):
    url = in_bucket(home, bucket)
    tables = Tables(opened(url))
    record(tables, 1, "a:1/0/vt", 1, world.T)
    assert [load.store for load in read_loads(tables)] == ["a:1/0/vt"]
    delta = DeltaTable(f"{url}/tables/loads")  # another machine's, which this mirror hasn't seen
    row = delta.to_pyarrow_table().to_pylist()[0] | {"store": "b:1/0/vt", "load": 2}
    rows = pa.Table.from_pylist([row], schema=arrow_schema(contracts.LOADS))
    write_deltalake(delta, rows, mode="append")
    record(tables, 1, "c:1/0/vt", 3, world.T)
    record(tables, 1, "a:1/0/vt", 1, world.T)
    stores = [load.store for load in read_loads(tables)]
    assert sorted(stores) == ["a:1/0/vt", "b:1/0/vt", "c:1/0/vt"]


def test_only_the_columns_and_files_that_are_asked_for_are_read(home, bucket, through_proxy):
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((3_000, WIDTH), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    same = {"content_blocks": 3, "encoder_version": "e"}
    records = [same | {"video_id": f"v{i}", "joint_embedding": v} for i, v in enumerate(vectors)]
    world.publish(Tables(home), contracts.VIDEO_JOINT_REPRESENTATION, records, joint_width=WIDTH)
    url = in_bucket(home, bucket)
    size = sum(
        len(content)
        for key, content in bucket.contents("home/tables/video_joint_representation").items()
        if key.endswith(".parquet")
    )
    proxy = through_proxy()
    tables = Tables(opened(url))
    ids = tables.read(contracts.VIDEO_JOINT_REPRESENTATION, columns=["video_id"])
    assert sorted(ids["video_id"].to_pylist()) == sorted(r["video_id"] for r in records)
    data = [
        request
        for request in proxy.requests()
        if ".parquet" in request["path"] and "/releases/" not in request["path"]
    ]
    assert {request["path"].split("/")[4] for request in data} == {"video_joint_representation"}
    assert all(request["range"] for request in data)
    assert size > 3_000 * WIDTH * 3
    assert sum(request["received"] for request in data) < size / 10


@pytest.mark.slow
def test_a_store_that_fails_every_third_request_gives_the_same_rows(home, bucket, through_proxy):
    url = in_bucket(home, bucket)
    expected = Tables(home).read(contracts.VIDEO_TOPICS)
    proxy = through_proxy("busy", every=3)
    assert Tables(opened(url)).read(contracts.VIDEO_TOPICS) == expected
    assert "busy" in {request["fault"] for request in proxy.requests()}


def later_release(home):
    tables = Tables(home)
    world.publish(tables, contracts.VIDEO_TOPICS, world.assigned({"a": [(7, 0.5)]}), at=world.T + 1)
    world.release(tables, at=world.T + 1)


def test_a_mirror_fetches_what_is_new_and_nothing_twice(home, bucket, through_proxy):
    url = in_bucket(home, bucket)
    folder = opened(url)
    later_release(home)
    in_bucket(home, bucket)
    proxy = through_proxy()
    assert opened(url) == folder
    assert [row.release_id for row in read_log(Tables(folder))] == [1, 2]
    paths = [r["path"] for r in proxy.requests() if "list-type" not in r["path"]]
    gets = [path.partition("/home/")[2] for path in paths]
    assert gets
    assert all(gets.count(key) == 1 for key in gets if key.startswith("tables/"))
    before = len(proxy.requests())
    opened(url)
    again = proxy.requests()[before:]
    assert [r["path"] for r in again if "list-type" not in r["path"]] == [
        f"/{bucket.name}/home/copying.json"
    ]


def test_a_mirror_follows_the_bucket_while_it_is_served(home, bucket):
    url = in_bucket(home, bucket)
    folder, warnings = opened(url), []
    later_release(home)
    (home / "models/ranking/model.json").write_bytes(b'{"name": 2}')
    with followed(folder, warnings.append, every_s=0.01):
        in_bucket(home, bucket)
        wait(lambda: len(read_log(Tables(folder))) == 2, "the second release")
        wait(lambda: b"2" in (folder / "models/ranking/model.json").read_bytes(), "the model")
    assert warnings == []


def test_another_home_under_the_same_address_replaces_the_mirror(home, bucket, tmp_path):
    url = in_bucket(home, bucket)
    (opened(url) / "online.json").write_text('{"loaded_into": "redis://before"}')
    for key in bucket.contents():
        bucket.delete(f"home/{key}")
    world.build(tmp_path / "other")
    in_bucket(tmp_path / "other", bucket)
    assert (opened(url) / "home-id").read_bytes() == (tmp_path / "other" / "home-id").read_bytes()
    assert not (opened(url) / "settings.yaml").exists()
    assert not (opened(url) / "online.json").exists()


def test_what_takes_a_folder_alone_names_the_verb_and_the_mend(home, bucket, capsys):
    url = in_bucket(home, bucket)
    mirror = opened(url)
    for words in (["explore"], ["doctor"]):
        for place in (url, str(mirror)):
            assert common.run([*words, "--home", place]) == 2
            error = capsys.readouterr().err
            assert f"--home {url}: expected a folder, for `vidtopics {words[0]}`" in error
            assert f"vidtopics home copy {url} FOLDER" in error


def test_feasts_file_of_a_mirror_names_the_tables_in_the_bucket(home, bucket):
    url = in_bucket(home, bucket)
    file = Path(__file__).parents[2] / "feature_store.yaml"
    text = repo_text(file, opened(url), Settings().online, embedded=False)
    repo = yaml.safe_load(text)
    assert repo["offline_store"]["root"] == f"{url}/tables"
    assert Path(repo["registry"]).parent == opened(url)


def test_a_release_that_is_published_through_a_mirror_lies_in_the_bucket(home, bucket, tmp_path):
    mirror = opened(in_bucket(home, bucket))
    later_release(mirror)
    later_release(home)
    copy_home(Address.parse(bucket.url()), Address.parse(tmp_path / "back"))
    expected, back = Tables(home), Tables(tmp_path / "back")
    assert [row.release_id for row in read_log(Tables(mirror))] == [1, 2]
    assert [row.versions for row in read_log(back)] == [row.versions for row in read_log(expected)]
    at = world.T + 1
    topics = contracts.VIDEO_TOPICS
    assert back.as_of(topics, at).equals(expected.as_of(topics, at))
    assert Tables(mirror).as_of(topics, at).equals(expected.as_of(topics, at))


def test_a_bucket_without_a_home_or_with_half_a_copy(home, bucket, capsys):
    url = in_bucket(home, bucket)
    assert common.run(["releases", "--home", bucket.url("typo")]) == 2
    assert "expected a home with tables, found none" in capsys.readouterr().err
    bucket.put("home/copying.json", b'{"source": "host:/srv/home"}')
    assert common.run(["releases", "--home", url]) == 2
    assert "a copy from host:/srv/home that isn't done" in capsys.readouterr().err


@pytest.mark.parametrize("point", [pytest.param("copy.sent", marks=pytest.mark.slow), "copy.logs"])
def test_a_home_that_a_copy_brings_up_to_date_is_read_as_it_was(home, bucket, point):
    url = in_bucket(home, bucket)
    before = Tables(home).latest_release()
    rows = Tables(home).as_of(contracts.VIDEO_TOPICS, world.T)
    later_release(home)
    with armed(point), pytest.raises(Crash):
        in_bucket(home, bucket)
    tables = Tables(opened(url))
    assert tables.latest_release() == before
    assert tables.as_of(contracts.VIDEO_TOPICS, world.T).equals(rows)
    with pytest.raises(SettingsError, match="that isn't done"):
        copy_home(Address.parse(url), Address.parse(bucket.url("third")))
    in_bucket(home, bucket)
    assert Tables(opened(url)).latest_release() == Tables(home).latest_release()


def test_a_data_file_that_is_gone_is_named(home, bucket):
    url = in_bucket(home, bucket)
    (key,) = [
        key
        for key in bucket.contents()
        if key.startswith("tables/video_topics/") and key.endswith(".parquet")
    ]
    bucket.delete(f"home/{key}")
    with pytest.raises((TableError, OSError)):
        Tables(opened(url)).read(contracts.VIDEO_TOPICS)
