"""What `topics.labeller` may name, and what is said of the rest."""

import numpy as np
import pyarrow as pa
import pytest

from producers.topics.parents import Parents
from vidtopics.errors import SettingsError
from vidtopics.jobs.labellers import label_topics, load_labeller
from vidtopics.settings import TopicSettings


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


def test_labels_of_topics_and_of_their_parents():
    """Topics 1 and 2 are of one parent: its terms are those of both."""
    parents = Parents(
        np.array([1, 2, 5]),
        np.array([1, 1, 2]),
        np.array([1, 2]),
        np.eye(2, dtype=np.float32),
        3,
    )
    topic = np.array([1, 1, 2, 2, 5, -1])
    tags = pa.array(
        [["cat"], ["cat", "pet"], ["dog"], ["dog", "pet"], ["car"], ["x"]],
        pa.large_list(pa.string()),
    )
    cosine = np.linspace(0.5, 0.9, 6).astype(np.float32)
    titles = pa.array(["", "Cats", "Dogs", "More dogs", "Cars", "x"])
    settings = TopicSettings(label_terms=2)
    terms, of_parents = label_topics(settings, parents, topic, cosine, tags, titles)
    assert [t[0] for t in terms] == ["cat", "dog", "car"]
    assert of_parents[0] == of_parents[1] != of_parents[2]
    assert set(of_parents[0]) == {"cat", "dog"}


def test_the_teams_names_come_first(tmp_path, monkeypatch):
    (tmp_path / "team_titles.py").write_text(
        "def name(topics): return [t.titles[0].upper() if t.titles else '' for t in topics]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    parents = Parents(
        np.array([1, 2]), np.array([1, 1]), np.array([1]), np.ones((1, 1), np.float32), 2
    )
    terms, _ = label_topics(
        TopicSettings(labeller="team_titles:name", label_terms=1),
        parents,
        np.array([1, 1, 2]),
        np.array([0.1, 0.9, 0.5], np.float32),
        pa.array([["a"], ["a"], ["b"]], pa.large_list(pa.string())),
        pa.array(["far", "near", ""]),
    )
    assert terms == [["NEAR", "a"], ["b"]]
