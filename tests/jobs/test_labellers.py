"""What `topics.labeller` may name, and what is said of the rest."""

import pytest

from vidtopics.errors import SettingsError
from vidtopics.jobs.labellers import load_labeller


def test_a_function_by_its_import_path(tmp_path, monkeypatch):
    (tmp_path / "team_names.py").write_text("def name(topics): return ['x' for t in topics]\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_labeller("team_names:name")([1, 2]) == ["x", "x"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("json", "expected package.module:function"),
        ("json:", "expected package.module:function"),
        (":dumps", "expected package.module:function"),
        (
            "no_such_team:name",
            "a module that can be imported, found No module named 'no_such_team'",
        ),
        ("json:no_such", "expected a function no_such of json, found none"),
        ("json:__doc__", "expected a function __doc__ of json"),
    ],
)
def test_other_paths_are_named(path, message):
    with pytest.raises(SettingsError, match=message) as error:
        load_labeller(path)
    assert f"topics.labeller, {path}: " in str(error.value)


def test_a_module_that_breaks_when_it_is_loaded_is_named_with_its_reason(tmp_path, monkeypatch):
    (tmp_path / "team_broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingsError, match="division by zero"):
        load_labeller("team_broken:name")
