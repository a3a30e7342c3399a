"""A copy of a home is its bytes, whatever happened on the way; another home is left alone."""

import json
import os
import re
import signal
import subprocess
import sys
from urllib.parse import unquote, urlsplit

import pytest
import topic_world as world
from deltalake import DeltaTable

from vidtopics.cli import common
from vidtopics.errors import ConflictError, SettingsError, TableError
from vidtopics.failpoints import Crash, armed
from vidtopics.storage import Address, copying
from vidtopics.storage.comparing import SENDERS
from vidtopics.storage.copying import copy_home
from vidtopics.storage.objects import Objects

BEHIND = ("redis/", "run.lock", "online.json", "tables/topics/.part-0.parquet.crc")
FAULTS = ("busy", "refuse", "lose", "cut")
LOGBOOKS = ("releases", "loads")
ENTRY = re.compile(r"tables/(\w+)/_delta_log/\d{20}\.json")


@pytest.fixture
def large_home(home):
    """With a model that goes in two parts."""
    (home / "models/topics/1/arrays.safetensors").write_bytes(bytes(range(256)) * 34_000)
    return home


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def to_be_copied(home):
    return {key: content for key, content in files(home).items() if not key.startswith(BEHIND)}


def copy(source, target, **options):
    return copy_home(Address.parse(source), Address.parse(target), **options)


def rows(uri, version):
    return DeltaTable(uri, version=version).to_pyarrow_table().to_pylist()


def later_day(home):
    """Another version of a table, and a release that names it."""
    tables = world.Tables(home)
    world.publish(
        tables, world.contracts.VIDEO_TOPICS, world.assigned({"a": [(7, 0.5)]}), at=world.T + 1
    )
    world.release(tables, at=world.T + 1)


def test_there_and_back_every_byte_is_the_same(large_home, bucket, tmp_path):
    there = copy(large_home, bucket.url())
    expected = to_be_copied(large_home)  # with the home-id that the copy gave it
    assert bucket.contents() == expected
    assert (there.sent + there.same, there.by_tag) == (len(expected), len(expected))
    assert there.left_out == {"redis": 1, "run.lock": 1, "online.json": 1, "tables": 1}
    back = copy(bucket.url(), tmp_path / "back")
    assert files(tmp_path / "back") == expected
    assert back.home_id == there.home_id == expected["home-id"].decode().strip()
    for table in (tmp_path / "back" / "tables").iterdir():
        for version in range(DeltaTable(table).version() + 1):
            assert rows(table, version) == rows(large_home / "tables" / table.name, version)


@pytest.mark.slow
def test_a_bucket_is_copied_to_a_bucket_and_a_folder_to_a_folder(large_home, bucket, tmp_path):
    copy(large_home, bucket.url())
    copy(bucket.url(), bucket.url("second"))
    assert bucket.contents("second") == bucket.contents()
    copy(large_home, tmp_path / "second")
    assert files(tmp_path / "second") == bucket.contents()


def test_what_is_there_is_not_sent_again(large_home, bucket, tmp_path, through_proxy):
    copy(large_home, bucket.url())
    copy(bucket.url(), tmp_path / "back")
    proxy = through_proxy()
    again = copy(large_home, bucket.url())
    assert (again.sent, again.same) == (0, len(to_be_copied(large_home)))
    assert copy(bucket.url(), tmp_path / "back").sent == 0
    puts = {urlsplit(r["path"]).path for r in proxy.requests() if r["method"] == "PUT"}
    assert puts == {f"/{bucket.name}/home/copying.json"}
    gets = [r["path"] for r in proxy.requests() if r["method"] == "GET" and r["received"] > 10**6]
    assert gets == []


def test_a_home_that_went_on_sends_what_is_new_and_earlier_files_stay(home, bucket):
    copy(home, bucket.url())
    before = bucket.contents()
    later_day(home)
    (home / "models/ranking/model.json").write_bytes(b'{"name": 2}')
    (home / "reports/ranking.json").unlink()
    new = {key for key, content in to_be_copied(home).items() if before.get(key) != content}
    assert "models/ranking/model.json" in new
    done = copy(home, bucket.url())
    assert (done.sent, done.extra) == (len(new), 1)
    assert bucket.contents() == to_be_copied(home) | {"reports/ranking.json": b"{}"}


def refuses(error, message, source, target, **options):
    with pytest.raises(error, match=message):
        copy(source, target, **options)


def test_another_home_and_other_files_are_left_alone(home, bucket, tmp_path):
    world.build(tmp_path / "other")
    copy(tmp_path / "other", bucket.url("other"))
    bucket.put("files/notes.txt", b"mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    before = {prefix: bucket.contents(prefix) for prefix in ("other", "files")}
    for prefix in before:
        message = f"^{bucket.url(prefix)}: expected nothing yet, or a copy of the home .* choose"
        refuses(SettingsError, message, home, bucket.url(prefix))
    refuses(SettingsError, "found files, and no home-id", home, tmp_path / "full")
    assert {prefix: bucket.contents(prefix) for prefix in before} == before
    assert list(files(tmp_path / "full")) == ["notes.txt"]


def test_a_place_that_is_no_home_or_lies_within_the_other(home, bucket, tmp_path):
    refuses(SettingsError, "expected a home with tables", tmp_path / "typo", bucket.url())
    refuses(SettingsError, "expected a home with tables", bucket.url("typo"), tmp_path / "back")
    refuses(SettingsError, "one within the other", home, home / "tables" / "copy")
    refuses(SettingsError, "one within the other", bucket.url("home/a"), bucket.url("home"))
    assert not (tmp_path / "typo").exists()
    assert not (tmp_path / "back").exists()


def test_a_copy_with_commits_of_its_own_is_not_overwritten(home, bucket, tmp_path):
    copy(home, tmp_path / "second")
    later_day(tmp_path / "second")
    before = files(tmp_path / "second")
    refuses(ConflictError, "second, table .*: expected at most version", home, tmp_path / "second")
    later_day(home)  # the same numbers, other commits
    refuses(ConflictError, "the two homes went apart", home, tmp_path / "second")
    assert files(tmp_path / "second") == before


def test_a_copy_that_another_source_began_is_taken_over_on_demand(home, bucket, tmp_path):
    copy(home, tmp_path / "second")
    with armed("copy.logs"), pytest.raises(Crash):
        copy(tmp_path / "second", bucket.url())
    refuses(ConflictError, "one from .*second, begun 20.*--take-over", home, bucket.url())
    refuses(SettingsError, "a copy from .* that isn't done", bucket.url(), tmp_path / "third")
    copy(home, bucket.url(), take_over=True)
    assert bucket.contents() == to_be_copied(home)


# --- what comes in between ----------------------------------------------------------------------


def assert_no_entry_names_what_is_absent(contents):
    """A plain reading of Delta's protocol: the files that commits added and none removed."""
    for key in filter(ENTRY.fullmatch, contents):
        root = key.partition("/_delta_log/")[0]
        for line in contents[key].splitlines():
            if added := json.loads(line).get("add"):
                assert f"{root}/{unquote(added['path'])}" in contents, key


@pytest.mark.parametrize("point", [pytest.param("copy.sent", marks=pytest.mark.slow), "copy.logs"])
def test_a_copy_that_is_killed_goes_on(home, bucket, point):
    command = [sys.executable, "-m", "vidtopics", "home", "copy", str(home), bucket.url()]
    done = subprocess.run(
        command, env=os.environ | {"VIDTOPICS_FAILPOINT": point}, check=False, capture_output=True
    )
    assert done.returncode == -signal.SIGKILL
    contents = bucket.contents()
    assert_no_entry_names_what_is_absent(contents)
    assert any(map(ENTRY.fullmatch, contents)) is (point == "copy.logs")
    assert not any(f"tables/{name}/_delta_log/" in key for key in contents for name in LOGBOOKS)
    expected = to_be_copied(home)
    kept = {key for key, content in contents.items() if expected.get(key) == content}
    again = copy(home, bucket.url())
    # What was under way when the process died may have come after it was looked at.
    assert 0 < len(kept) <= again.same <= len(kept) + SENDERS
    assert again.same + again.sent == len(expected)
    assert bucket.contents() == expected


def test_files_come_before_what_names_them(home, bucket, through_proxy):
    """Of the requests as the store saw them."""
    later_day(home)
    proxy = through_proxy()
    copy(home, bucket.url())
    content, present = to_be_copied(home), {}
    puts = [
        unquote(urlsplit(request["path"]).path).removeprefix(f"/{bucket.name}/home/")
        for request in proxy.requests()
        if request["method"] == "PUT"
    ]
    for key in [key for key in puts if key in content]:
        present[key] = content[key]
        assert_no_entry_names_what_is_absent(present)
    last_table, first_release = (
        [
            i
            for i, key in enumerate(puts)
            if (m := ENTRY.fullmatch(key)) and (m[1] in LOGBOOKS) is of
        ]
        for of in (False, True)
    )
    assert max(last_table) < min(first_release)
    assert puts.index("models/topics/1/manifest.json") < min(first_release)
    for table in {ENTRY.fullmatch(key)[1] for key in puts if ENTRY.fullmatch(key)}:
        entries = [key for key in puts if key.startswith(f"tables/{table}/_delta_log/")]
        assert entries == sorted(entries)


@pytest.mark.parametrize(
    "fault", [*FAULTS[:1], *(pytest.param(f, marks=pytest.mark.slow) for f in FAULTS[1:])]
)
def test_a_store_that_fails_every_third_request_gets_the_same_home(
    large_home, bucket, tmp_path, through_proxy, fault
):
    proxy = through_proxy(fault, every=3)
    copy(large_home, bucket.url())
    copy(bucket.url(), tmp_path / "back")
    assert bucket.contents() == files(tmp_path / "back") == to_be_copied(large_home)
    faults = {request["fault"] for request in proxy.requests()}
    assert faults == {"none", fault}


def test_bytes_that_changed_on_the_way_are_noticed(home, bucket, through_proxy):
    through_proxy("flip", every=5)
    refuses(TableError, "expected the bytes that were sent, found SHA-256", home, bucket.url())
    assert "copying.json" in bucket.contents()  # so that nobody takes it for a whole home


def test_an_entry_that_came_meanwhile_is_not_replaced(home, bucket, tmp_path, monkeypatch):
    """Of two copies that were both let in, the second finds the first's entry."""
    copy(home, tmp_path / "other")
    copy(home, bucket.url())
    later_day(tmp_path / "other")
    later_day(home)
    copy(tmp_path / "other", bucket.url(), take_over=True)
    before = bucket.contents()
    monkeypatch.setattr(copying, "refuse_apart", lambda *args: None)
    monkeypatch.setattr(copying, "same_bytes", lambda *args: None)
    refuses(ConflictError, "the two homes went apart", home, bucket.url())
    after = bucket.contents()
    entries = [key for key in before if ENTRY.fullmatch(key)]
    assert [after[key] for key in entries] == [before[key] for key in entries]


@pytest.mark.parametrize(
    "listing", [1, 3, *(pytest.param(number, marks=pytest.mark.slow) for number in (2, 4))]
)
def test_a_home_at_work_is_copied_as_one_that_was(home, tmp_path, monkeypatch, listing):
    """A release that comes between two listings is either not there, or with all its versions."""
    listed = Objects.list
    calls = []

    def list_and_go_on(self, prefix=""):
        if self.address.folder == home and prefix != "tables":
            calls.append(prefix)
            if len(calls) == listing:
                later_day(home)
        return listed(self, prefix)

    monkeypatch.setattr(Objects, "list", list_and_go_on)
    copy(home, tmp_path / "second")
    assert len(calls) == 4
    contents = files(tmp_path / "second")
    assert_no_entry_names_what_is_absent(contents)
    tables = world.Tables(tmp_path / "second")
    for name, version in tables.latest_release()["versions"].items():
        assert version <= tables.version(world.contracts.TABLES[name])
    assert tables.latest_release()["release_id"] == (2 if listing == 1 else 1)


def test_a_store_without_conditional_writes_is_refused(home, bucket, through_proxy):
    through_proxy("forget", every=1)
    refuses(SettingsError, "conditional writes: without them two", home, bucket.url())
    assert list(bucket.contents()) == ["home-id"]


# --- the command --------------------------------------------------------------------------------


def test_the_command_says_what_it_did(home, bucket, capsys, tmp_path):
    assert common.run(["home", "copy", str(home), bucket.url()]) == 0
    out = capsys.readouterr().out
    count = len(to_be_copied(home))
    assert f"{bucket.url()} is a copy of {home}" in out
    assert f"verified: all {count} by size, {count} by the store's MD5, 0 read back" in out
    assert "left out, as it belongs to the source's machine: online.json (1), redis (1)" in out
    assert common.run(["home", "copy", bucket.url(), str(tmp_path / "back"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sent"] == count - 1  # the home-id is put first


MENDS = {
    "no bucket": ({}, "s3://nobody-made-it/home", "NoSuchBucket. Mend: correct the bucket"),
    "no TLS": ({"AWS_ALLOW_HTTP": "false"}, None, "AWS_ALLOW_HTTP=true"),
    "a value": ({"AWS_ALLOW_HTTP": "maybe"}, None, "Mend: correct that variable"),
    "keys": ({}, "s3://key:never-to-be-shown@b/home", "credentials come from the environment"),
    "a query": ({}, "s3://b/home?secret=never-to-be-shown", "credentials come from the environ"),
    "a scheme": ({}, "hdfs://b/home", "expected a folder, or s3://bucket/prefix"),
}


@pytest.mark.parametrize("case", MENDS)
def test_a_store_out_of_reach_is_named_with_the_mend_and_no_secret(
    home, bucket, capsys, monkeypatch, case
):
    variables, target, message = MENDS[case]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert common.run(["home", "copy", str(home), target or bucket.url()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "never-to-be-shown" not in error.partition("Error")[2]
