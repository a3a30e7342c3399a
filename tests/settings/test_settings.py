"""Settings: what the files say, what a mistake is told, and that a round trip changes no hash."""

from __future__ import annotations

import re
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
    assert (content.projection_width, content.patience) == (0, 0)
    assert (topics.clusters, topics.threshold, topics.target_topics) == (6_000, 0.6, 0)
    assert (topics.centre_tags, topics.tag_weight, topics.joint_weight) == (False, 1, 1)


def test_a_preset_that_trains_nothing_that_reaches_z_is_refused_by_name() -> None:
    """Frozen encoders and no projection: the MMoE would learn, and no vector would move."""
    frozen = {"train_encoders": False, "projection_width": 0}
    with pytest.raises(SettingsError) as error:
        parse({"content": frozen}, where="mine.yaml")
    assert str(error.value).startswith("mine.yaml, content: expected something to train that")
    assert "found train_encoders: false, projection_width: 0" in str(error.value)
    for setting in ({"train_encoders": True}, {"projection_width": 1}):
        parse({"content": {**frozen, **setting}}, where="mine.yaml")


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


@pytest.mark.parametrize(
    "text", ["topics: [", "- 1", "\x00", "a: 1\n---\nb: 2", "seed: " + "[" * 5_000]
)
def test_a_file_that_is_no_settings_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"bad\.yaml: expected (a YAML file|keys and values)"):
        load(path)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_gives_the_defaults(tmp_path: Path, text: str) -> None:
    assert load_text(tmp_path, text) == Settings()


REPEATED = {
    "a section": ("seed: 3\ntopics: {threshold: 0.4}\ntags: {}\ntopics: {}\n", "topics", 2, 4),
    "a key": ("seed: 1\nseed: 1\n", "seed", 1, 2),
    "a key at depth 3": (
        "content:\n  image_encoder:\n    pixels: 64\n    pixels: 96\n",
        "pixels",
        3,
        4,
    ),
    "on one line": ("topics: {clusters: 4, clusters: 5}\n", "clusters", 1, 1),
    "quoted once": ('topics: {}\n"topics": {}\n', "topics", 1, 2),
    "a merge": ("topics:\n  <<: {clusters: 4}\n  <<: {iterations: 5}\n", "<<", 2, 3),
    "behind a merge": ("topics:\n  <<: {clusters: 4,\n    clusters: 5}\n", "clusters", 2, 3),
}


@pytest.mark.parametrize(("text", "key", "first", "second"), REPEATED.values(), ids=REPEATED)
def test_a_key_that_stands_twice_is_refused_with_both_lines(
    tmp_path: Path, text: str, key: str, first: int, second: int
) -> None:
    with pytest.raises(SettingsError) as error:
        load_text(tmp_path, text)
    assert f"found the key {key!r} twice, on lines {first} and {second}." in str(error.value)


def test_a_merged_key_is_overridden_and_an_anchor_used_again(tmp_path: Path) -> None:
    """`<<` brings the keys that are not there; the same key in two sections is no repetition."""
    text = """
topics:
  clusters: 5
  <<: {clusters: 4, iterations: &steps 6}
content: {iterations: *steps}
"""
    loaded = load_text(tmp_path, text)
    assert (loaded.topics.clusters, loaded.topics.iterations) == (5, 6)
    assert loaded.content.iterations == 6


REFUSED_VALUES = {
    "a tag that makes an object": ("seed: !!python/object/apply:os.getpid []", "a YAML file"),
    "an unknown tag": ("seed: !vault 3", "a YAML file"),
    "a number as key": ("1: 2", "Keys should be strings"),
    "a truth value as key": ("topics: {on: 2}", "Keys should be strings"),
    "no key": ("~: 2", "Keys should be strings"),
    "a list as key": ("? [a]\n: 2", "a YAML file"),
    "NaN in bounds": ("topics: {threshold: .nan}", "a finite number"),
    "NaN without bounds": ("ingest: {click_rating: .nan}", "a finite number"),
    "NaN as share": ("content: {holdout_share: .nan}", "a finite number"),
    "infinity above a bound": ("statistics: {prior_exposures: .inf}", "a finite number"),
    "infinity as weight": ("topics: {tag_weight: .inf}", "a finite number"),
    "infinite time": ("schedule: {delay: .inf}", "schedule.delay"),
    "a delay before the run": ("schedule: {delay: -3600}", "schedule.delay"),
    "no label window": ("ranking: {label_window: 0}", "ranking.label_window"),
    "a negative seed": ("seed: -1", "greater than or equal to 0"),
    "a seed beyond 32 bits": ("seed: 4294967296", "less than 4294967296"),
    "true as a count": ("topics: {clusters: true}", "no truth value"),
    "yes as a share": ("content: {holdout_share: yes}", "no truth value"),
    "on as a duration": ("schedule: {delay: on}", "no truth value"),
    "false as the seed": ("seed: false", "no truth value"),
    "true in a list": ("ranking: {hidden: [64, true]}", "no truth value"),
    "walks longer than gensim takes": ("tags: {walk_length: 10001}", "equal to 10000"),
    "no section": ("topics:", "a valid dictionary"),
    "a mapping within itself": ("&a {topics: *a}", "a value that contains itself"),
}


@pytest.mark.parametrize(("text", "expected"), REFUSED_VALUES.values(), ids=REFUSED_VALUES)
def test_a_value_that_no_job_could_use_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(expected)) as error:
        load_text(tmp_path, text)
    assert str(tmp_path / "text.yaml") in str(error.value)


def test_aliases_of_aliases_make_a_short_message(tmp_path: Path) -> None:
    levels = [f"&a{i} [{', '.join([f'*a{i - 1}' if i else '1'] * 9)}]" for i in range(40)]
    with pytest.raises(SettingsError, match="100,000 values, aliases written out") as error:
        load_text(tmp_path, "seed: [" + ", ".join(levels) + "]")
    assert len(str(error.value)) < 1_000


def load_text(folder: Path, text: str) -> Settings:
    path = folder / "text.yaml"
    path.write_text(text)
    return load(path)
