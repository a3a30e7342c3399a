"""Settings: what the files say, what a mistake is told, and that a round trip changes no hash."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidtopics.cli import homes
from vidtopics.errors import SettingsError
from vidtopics.settings import Settings, digest, load, parse

CONF = Path(__file__).parents[2] / "conf"


@pytest.mark.parametrize("name", ["demo", "movielens", "paper"])
def test_settings_kept_with_a_home_have_the_same_hash(tmp_path: Path, name: str) -> None:
    """A default of 0 for a number and 0.0 as it is read back would make every job run again."""
    made = load(CONF / f"{name}.yaml")
    homes.keep(tmp_path, made)
    assert digest(homes.settings(tmp_path, None)) == digest(made)
    assert digest(parse(made.model_dump(), where="test")) == digest(made)


def test_the_papers_values_are_exactly_the_papers() -> None:
    paper = load(CONF / "paper.yaml")
    content, tags, topics = paper.content, paper.tags, paper.topics
    assert (content.image_encoder.name, content.image_encoder.pixels, content.train_encoders) == (
        "inception_resnet_v2",
        299,
        True,
    )
    assert (content.experts, content.iterations, content.batch_size, content.learning_rate) == (
        12,
        200,
        300,
        0.001,
    )
    assert (content.holdout_share, content.max_tags, tags.walk_length) == (0.1, 12_000, 100)
    assert (topics.clusters, topics.threshold) == (6_000, 0.6)


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as error:
        parse({"topics": {"threshold": 2, "clutsers": 5}, "tag": {}}, where="mine.yaml")
    lines = str(error.value).splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "mine.yaml, topics.threshold",
        "mine.yaml, topics.clutsers",
        "mine.yaml, tag",
    ]
    assert lines[0].endswith("found 2. Mend: correct the value.")
    assert "did you mean 'clusters'?" in lines[1]
    assert "did you mean 'tags'?" in lines[2]


@pytest.mark.parametrize("text", ["topics: [", "- 1", "\x00"])
def test_a_file_that_is_no_settings_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"bad\.yaml: expected (a YAML file|keys and values)"):
        load(path)
    assert load_empty(tmp_path) == Settings()


def load_empty(folder: Path) -> Settings:
    path = folder / "empty.yaml"
    path.write_text("")
    return load(path)
