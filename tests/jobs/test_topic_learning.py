"""What a training takes over from the last version: thresholds in its space, videos in another."""

from types import SimpleNamespace

import numpy as np
import pytest

from producers.topics.assignment import assign
from producers.topics.evolution import learn_topics
from producers.topics.thresholds import Thresholds, calibrate_thresholds, follow_catalogue
from producers.unit_length import to_unit_length
from vidtopics.jobs import topic_blocks, topic_learning
from vidtopics.settings import Settings, TopicSettings

TOPICS, VIDEOS, WIDTH = 8, 240, 12
EVERY = np.ones(VIDEOS, bool)


def unit(x):
    return to_unit_length(np.asarray(x)).astype(np.float32)


@pytest.fixture
def before():
    """Topics of videos around eight centres, and the topics that those were given."""
    rng = np.random.default_rng(4)
    centres = unit(rng.normal(size=(TOPICS, WIDTH)))
    a = unit(centres[np.arange(VIDEOS) % TOPICS] + 0.2 * rng.normal(size=(VIDEOS, WIDTH)))
    section = TopicSettings(clusters=TOPICS, target_topics=2)
    topics = learn_topics(a, previous=None, settings=section, seed=1)
    thresholds = calibrate_thresholds(a, EVERY, EVERY, topics.centroids, 2, tag_width=4)
    slots = assign(a, topics.centroids, topics.topic_ids, thresholds.whole).topic_ids
    run = SimpleNamespace(
        settings=Settings(topics=section),
        progress=lambda text: None,
        tables=SimpleNamespace(home=""),
        on_spark=False,
    )
    blocks = SimpleNamespace(
        has_tag=EVERY, has_joint=EVERY, tag=np.zeros((VIDEOS, 4)), video_ids=np.arange(VIDEOS)
    )
    return SimpleNamespace(
        run=run, blocks=blocks, a=a, topics=topics, thresholds=thresholds, slots=slots
    )


def learn(before, monkeypatch, a, *, keeps_space):
    monkeypatch.setattr(topic_learning, "_numbered", lambda run, previous: before.topics)
    monkeypatch.setattr(topic_learning, "_last_topics", lambda *of: before.slots)
    monkeypatch.setattr(topic_learning, "topics_given", lambda *of: before.slots)
    monkeypatch.setattr(topic_blocks, "thresholds_of", lambda previous: before.thresholds)
    return topic_learning.learn_topics_of(
        before.run, a, before.blocks, None, object(), evolves=True, keeps_space=keeps_space
    )


def test_in_the_same_space_thresholds_follow_the_catalogue(before, monkeypatch):
    """Half the videos lie at other centres now: 2 topics a video became too few."""
    a = unit(before.a + 0.8 * np.random.default_rng(1).normal(size=before.a.shape))
    old = before.thresholds
    before.slots = assign(a, before.topics.centroids, before.topics.topic_ids, old.whole).topic_ids
    learned = learn(before, monkeypatch, a, keeps_space=True)
    expected = follow_catalogue(
        old,
        a,
        EVERY,
        EVERY,
        before.topics.centroids,
        2,
        known=EVERY,
        keep_set=0.85,
        tag_width=4,
        seed=before.run.settings.seed,
    )
    assert learned.thresholds == expected != old
    now = assign(a, learned.topics.centroids, learned.topics.topic_ids, expected.whole).topic_ids
    assert (np.sort(now) == np.sort(before.slots)).all(axis=1).mean() >= 0.85


def test_in_another_space_topics_follow_their_videos(before, monkeypatch):
    """The same videos on turned axes, those of the last topic gone: seven IDs, as they were."""
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(WIDTH, WIDTH)))
    a = (before.a @ turn).astype(np.float32)
    gone = before.slots[:, 0] == before.topics.topic_ids[-1]
    a[gone] = 0
    learned = learn(before, monkeypatch, a, keeps_space=False)
    assert learned.topics.topic_ids.tolist() == before.topics.topic_ids[:-1].tolist()
    assert learned.topics.retired.tolist() == [before.topics.topic_ids[-1]]
    assert learned.topics.epoch == before.topics.epoch
    nearest = learned.topics.topic_ids[(a @ learned.topics.centroids.T).argmax(axis=1)]
    assert (nearest == before.slots[:, 0])[~gone].mean() > 0.95
    least = learned.thresholds.of_rows(EVERY, EVERY)
    assignment = assign(a, learned.topics.centroids, learned.topics.topic_ids, least)
    assert assignment.topic_count[~gone].mean() == pytest.approx(2, abs=0.01)
    assert learned.last is before.slots


def test_where_no_video_is_left_an_epoch_begins(before, monkeypatch):
    monkeypatch.setattr(topic_learning, "versions", lambda home: [SimpleNamespace(epoch=5)])
    before.slots = np.full_like(before.slots, -1)
    learned = learn(before, monkeypatch, before.a, keeps_space=False)
    assert learned.topics.epoch == 6
    assert not set(learned.topics.topic_ids) & set(before.topics.topic_ids)
    assert learned.last is None
    assert isinstance(learned.thresholds, Thresholds)
