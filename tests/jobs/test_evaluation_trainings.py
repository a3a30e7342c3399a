"""Representations trained anew on the videos that aren't held out, and what is said of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from vidtopics.cli import reports
from vidtopics.cli.show import out
from vidtopics.evaluate import representations
from vidtopics.evaluate.representations import features_of, judged_videos
from vidtopics.evaluate.retraining import Catalogue, train_blocks, train_tags
from vidtopics.settings import parse

SETTINGS = parse(
    {
        "content": {
            "train_encoders": False,
            "projection_width": 4,
            "experts": 2,
            "expert_width": 8,
            "tower_width": 4,
            "iterations": 10,
            "batch_size": 40,
        },
        "tags": {"dimensions": 4, "walk_length": 10, "walks_per_tag": 3},
        "topics": {"tag_weight": 1},
        "evaluation": {"trainings": 2, "clusterings": 1},
    },
    where="test",
)
VIDEOS = 240


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    rng = np.random.default_rng(0)
    primary = rng.integers(0, 3, VIDEOS)
    secondary = primary * 2 + rng.integers(0, 2, VIDEOS)
    image, title = (
        (rng.normal(size=(6, w))[secondary] + rng.normal(size=(VIDEOS, w))).astype(np.float32)
        for w in (10, 8)
    )
    tags = [[f"t{s}{k}" for k in rng.permutation(4)[:2]] for s in secondary]
    columns = {
        "video_id": [f"v{i:03}" for i in range(VIDEOS)],
        "title": [""] * VIDEOS,
        "cover": [""] * VIDEOS,
        "content_hash": [f"c{i}" for i in range(VIDEOS)],
        "primary_classes": [[f"p{c}"] for c in primary],
        "secondary_classes": [[f"s{c}"] for c in secondary],
    }
    every = np.ones(VIDEOS, bool)
    return Catalogue(
        pa.table(columns), pa.array(tags), (image, title, every, every), rng.random(VIDEOS) < 0.4
    )


def test_nothing_of_a_held_out_video_but_its_content_reaches_a_training(catalogue):
    """With other tags and classes of theirs z of all and tag blocks of the others stay the same."""
    rows = np.flatnonzero(catalogue.held_out)
    tags, primary = catalogue.tags.to_pylist(), catalogue.videos["primary_classes"].to_pylist()
    for row in rows:
        tags[row], primary[row] = ["t00", "t51", "rare"], ["another"]
    place = catalogue.videos.column_names.index("primary_classes")
    changed = replace(
        catalogue,
        tags=pa.array(tags),
        videos=catalogue.videos.set_column(place, "primary_classes", pa.array(primary)),
    )
    before, after = (train_blocks(c, SETTINGS, 1) for c in (catalogue, changed))
    assert np.array_equal(before.joint, after.joint)
    train = ~catalogue.held_out
    assert np.array_equal(before.tag[train], after.tag[train])
    assert not np.array_equal(before.tag[rows], after.tag[rows])
    with_all = train_tags(changed, SETTINGS, 1, graph_of_all=True)
    assert not np.array_equal(with_all.tag_embedding[train], after.tag[train])


def test_trainings_differ_and_encoders_do_not(catalogue):
    one, two = (features_of(catalogue, SETTINGS, seed, lambda step: None) for seed in (1, 2))
    assert list(one) == ["image", "title", "joint", "joint + tag"]
    same = {name: np.array_equal(one[name], two[name]) for name in one}
    assert same == {"image": True, "title": True, "joint": False, "joint + tag": False}
    for x in one.values():
        np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, atol=1e-5)


def test_judged_videos_are_held_out_and_have_all_classes(catalogue):
    classes = catalogue.classes()
    classes["secondary"] = np.where(np.arange(VIDEOS) % 2, -1, classes["secondary"])
    rows = judged_videos(catalogue.held_out, classes)
    assert set(rows) == {i for i in range(0, VIDEOS, 2) if catalogue.held_out[i]}


def test_the_report_as_it_is_printed(catalogue, monkeypatch):
    class Tables:
        def latest_release(self):
            return {"quality": {}}

    class Run:
        settings, tables, model_version = SETTINGS, Tables(), None

    monkeypatch.setattr("vidtopics.evaluate.retraining.read_catalogue", lambda run: catalogue)
    report = representations._measure(Run(), lambda step: None)
    assert report["videos"] == catalogue.held_out.sum()
    assert report["classes"] == {"primary": 3, "secondary": 6}
    assert len(report["table1"]) == len(report["differences"]) * 4 / 6 == 16
    assert list(report["probes"]) == ["image", "title", "joint", "joint + tag", "title + image"]
    assert all(0.33 < accuracy <= 1 for accuracy in report["probes"].values())
    with out.capture() as printed:
        reports.representations(report | {"release": 1, "as_of": "2026-01-01T00:00:00"})
    text = printed.get()
    assert "2 trainings (seeds 7 to 8) of 1 clusterings" in text
    assert "It falls with the number of dimensions (image" in text
    assert "Linear probes of the primary class, accuracy: image 0." in text
    assert "Davies-Bouldin" in text
