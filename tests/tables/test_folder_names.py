"""Homes of any name: a path comes back from its URI, and every engine reads the tables."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit
from urllib.request import url2pathname

import duckdb
import pyarrow.dataset as ds
import pytest
import yaml
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import ODD_NAME, at, impressions

from vidtopics import paths
from vidtopics.cli.apply import repo_text
from vidtopics.cli.common import run
from vidtopics.contracts import IMPRESSIONS
from vidtopics.errors import SettingsError
from vidtopics.settings import OnlineSettings
from vidtopics.tables import Tables

SIGNS = " #%?*{}:;,'\"!$&()+=@~`<>-._éü日\u0301\u00a0😀"
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=8)
ADDRESSABLE = st.text(st.sampled_from(SIGNS + "aAfF059"), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..") and not paths.UNADDRESSABLE.search(name)
)
UNADDRESSABLE = ["a%20b", "%41", "a%2F", "%e9%zz", "a[b", "a]b", "a\\b", "a^b", "a|b", "a\tb"]
UNADDRESSABLE += ["a\nb", "a\x7fb", "_delta_log"]


@given(NAMES.filter(lambda name: name not in (".", "..")))
def test_a_path_comes_back_from_its_uri(name: str) -> None:
    path = Path("/srv", name, "tables")
    try:
        uri = paths.to_uri(path)
    except SettingsError:
        assert paths.UNADDRESSABLE.search(f"/{name}/")
        return
    assert paths.from_uri(uri) == paths.from_uri(f"{uri}/") == path
    assert uri == path.as_uri()
    assert url2pathname(urlsplit(uri).path) == str(path)
    assert paths.to_spark(uri) == paths.to_spark(path) == f"file://{path}"


@settings(max_examples=25, deadline=None)
@given(ADDRESSABLE)
def test_tables_below_a_folder_of_any_name_are_read_by_every_engine(name: str) -> None:
    with TemporaryDirectory() as parent:
        tables = Tables(Path(parent, name))
        for event in ("x", "y"):
            tables.publish(IMPRESSIONS, impressions((event, 1, 2)), at(1, 2))
        assert [commit.version for commit in tables.commits(IMPRESSIONS)] == [1, 2]
        delta = DeltaTable(tables.delta(IMPRESSIONS).table_uri)
        assert delta.version() == 2
        assert sorted(delta.to_pyarrow_table()["event_id"].to_pylist()) == ["x", "y"]
        assert tables.read(IMPRESSIONS, version=1)["event_id"].to_pylist() == ["x"]
        assert ds.dataset(tables.path(IMPRESSIONS), format="parquet").count_rows() == 2
        with duckdb.connect() as connection:
            connection.register("shown", tables.delta(IMPRESSIONS).to_pyarrow_dataset())
            assert connection.sql("SELECT count(*) FROM shown").fetchall() == [(2,)]
        assert os.listdir(parent) == [name]


@pytest.mark.parametrize("name", UNADDRESSABLE)
def test_a_name_that_delta_rs_cannot_address_is_refused_before_anything_is_made(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / name / "home"
    with pytest.raises(SettingsError, match=r"home .*: expected a path without %XX.*rename"):
        Tables(home)
    assert run(["ingest", "folder", str(tmp_path), "--home", str(home)]) == 2
    output = capsys.readouterr()
    assert output.err.count("\n") == 1
    assert "expected a path without %XX" in output.err
    assert list(tmp_path.iterdir()) == []


def test_a_link_to_a_folder_that_cannot_be_addressed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plain").symlink_to("a[b")
    with pytest.raises(SettingsError, match=r"a\[b: expected a path without %XX"):
        Tables(tmp_path / "plain")


def test_a_path_in_latin_1_is_refused_and_printed_escaped(tmp_path: Path) -> None:
    home = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    with pytest.raises(SettingsError, match=r"caf\\udce9: expected a path in UTF-8") as refusal:
        Tables(home)
    str(refusal.value).encode()  # can be printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [ODD_NAME, "$HOME", "${HOME}", "a: b", "- 'x", "\u2028\x85😀#"])
def test_feature_store_yaml_names_the_home_as_it_is(name: str) -> None:
    """Feast replaces variables in the text, then reads YAML."""
    text = repo_text(Path("feature_store.yaml"), Path("/srv", name), OnlineSettings(), False)
    repo = yaml.safe_load(os.path.expandvars(text))
    assert repo["registry"] == f"/srv/{name}/registry.db"
    assert repo["offline_store"]["root"] == f"/srv/{name}/tables"
    assert repo["online_store"]["home"] == f"/srv/{name}"


@pytest.mark.parametrize(("umask", "mode"), [("002", 0o664), ("027", 0o640)])
def test_files_of_a_home_follow_the_umask(tmp_path: Path, umask: str, mode: int) -> None:
    """An ingest, a trained model and a report, in a process of its own with that umask."""
    delivery, home = tmp_path / "in", tmp_path / ODD_NAME
    delivery.mkdir()
    (delivery / "videos.csv").write_text(
        "video_id,title,cover,primary_class,secondary_class,tags,published_at\n"
        "v1,Bread,,food,food/bread,,2026-01-01\n"
    )
    (delivery / "impressions.csv").write_text(
        "user_id,video_id,event_timestamp,clicked\nu1,v1,2026-02-01T10:00:00Z,1\n"
    )
    script = f"""
import os, sys
from pathlib import Path
os.umask(0o{umask})
from safetensors.numpy import save
from vidtopics.files import write_whole
from vidtopics.cli.common import run
import numpy
home = Path(sys.argv[1])
(home / "models").mkdir(parents=True)
write_whole(home / "models" / "w.safetensors", save({{"w": numpy.zeros(1)}}))
sys.exit(run(["ingest", "folder", sys.argv[2], "--home", str(home)]))
"""
    command = [sys.executable, "-c", script, str(home), str(delivery)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    files = [path for path in home.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".safetensors", ".json", ".parquet", ".yaml"}
    assert {oct(stat.S_IMODE(path.stat().st_mode)) for path in files} == {oct(mode)}
