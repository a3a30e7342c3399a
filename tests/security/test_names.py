"""Text that somebody else chose is text: in SQL, in pages, in YAML and in scripts of Redis."""

import ast
from pathlib import Path

import pytest

from vidtopics.cli.change_pages import figure, item
from vidtopics.contracts import IMPRESSIONS, VIDEO_CATALOG
from vidtopics.errors import SettingsError
from vidtopics.ingest import Source, ingest
from vidtopics.settings import IngestSettings
from vidtopics.tables import Tables
from vidtopics.yaml_files import parse_value, read_mapping

ROOT = Path(__file__).parents[2]
NAMES = [
    "v'1",
    "v''); DROP TABLE issues; --",
    "$1",
    "{0}",
    "%s",
    "v\\'",
    "../../v",
    "<b>v</b>",
    "[v]",
]


def test_no_text_of_a_delivery_is_sql(tmp_path):
    folder = tmp_path / "o'neill; DROP TABLE files; --"
    folder.mkdir()
    column = "x'; DROP TABLE files; --"
    header = f"video_id,title,cover,primary_class,secondary_class,tags,published_at,{column}\n"
    rows = [f'{name},"{name}, ""q""",,music,jazz,{name},2026-01-02,{name}\n' for name in NAMES]
    (folder / "videos.csv").write_text(header + "".join(rows))
    log = [f"u{name},{name},2026-01-03T10:00:00Z,0\n" for name in NAMES]
    (folder / "impressions.csv").write_text(
        "user_id,video_id,event_timestamp,clicked\n" + "".join(log)
    )
    tables = Tables(tmp_path / "home")
    ingest(tables, Source("folder", folder), IngestSettings())
    catalogue = tables.read(VIDEO_CATALOG, columns=["video_id", "title"]).to_pylist()
    assert sorted(row["video_id"] for row in catalogue) == sorted(NAMES)
    assert {row["title"] for row in catalogue} == {f'{name}, "q"' for name in NAMES}
    users = tables.read(IMPRESSIONS, columns=["user_id"])["user_id"].to_pylist()
    assert sorted(users) == sorted(f"u{name}" for name in NAMES)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["home", folder.name])


def test_a_page_of_changes_has_titles_as_text():
    title = '<img src=x onerror="document.title=1"></figcaption><script>'
    video = {"cover": "", "title": title, "video_id": "<b>"}
    text = figure(video, 100) + figure(video | {"title": ""}, 100) + item("<i>topic", [video], 100)
    for tag in ("<img", "<script", "<b>", "<i>"):
        assert tag not in text
    assert text.count("&lt;img src=x onerror=&quot;") == 2


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.mkdir", "!!python/name:os.mkdir", "!ran"]
)
def test_no_tag_of_yaml_makes_an_object(tag, tmp_path):
    text = f"{tag} [{tmp_path / 'ran'}]"
    path = tmp_path / "settings.yaml"
    path.write_text(f"a: {text}\n")
    for read in (lambda: read_mapping(path), lambda: parse_value(text, "VIDTOPICS_SEED")):
        with pytest.raises(SettingsError, match="could not determine a constructor"):
            read()
    assert not (tmp_path / "ran").exists()


def test_scripts_are_constant():
    """No script of Redis is put together where a name or a value is at hand."""
    scripts = 0
    for path in (*(ROOT / "vidtopics").rglob("*.py"), *(ROOT / "consumers").rglob("*.py")):
        text = path.read_text()
        if "redis.call" not in text:
            continue
        tree = ast.parse(text)
        inside = {
            id(node)
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for node in ast.walk(function)
        }
        for node in ast.walk(tree):
            is_text = isinstance(node, ast.JoinedStr | ast.Constant | ast.BinOp)
            if is_text and "redis.call" in ast.unparse(node):
                scripts += 1
                assert id(node) not in inside, f"{path}, line {node.lineno}"
    assert scripts > 20
