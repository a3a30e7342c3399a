"""Which side of a video its taste follows: what is shown stays, and the default world too."""

import hashlib

import numpy as np
import pytest

from benchmarks.planted import gains
from benchmarks.planted_variants import KERNEL, PERMUTED, TASTES, modalities, of_noise
from vidtopics.evaluate.ceiling import gains as ceiling_gains
from vidtopics.evaluate.ceiling.consumer import Consumer
from vidtopics.evaluate.ceiling.log import read_log
from vidtopics.settings import SimulationSettings
from vidtopics.simulation.loop import simulate
from vidtopics.simulation.titles import make_vocabulary, slugs, tags, titles
from vidtopics.simulation.world import World

TINY = SimulationSettings(users=60, videos=300, days=3)
GOLDEN = {
    "shown": "a21eb45803417e95",
    "taste": "dc7eee654f6c5ae3",
    "log": "3725e3059ba7499c",
}


def digest(*arrays):
    state = hashlib.sha256()
    for array in arrays:
        state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()[:16]


def digests(world):
    """Of what a catalogue shows, of tastes (but for the last bits of a processor), of the log."""
    items, vocabulary, rows = world.items, make_vocabulary(world), np.arange(300)
    own = tags(world, rows)
    names = slugs(vocabulary).to_pylist()
    texts = [*titles(world, vocabulary, rows).to_pylist(), *names]
    codes = (items.topic, items.cover_topic, items.title_topic, items.published)
    batches = list(simulate(world))
    return {
        "shown": digest(*codes, own.slug, own.given, np.array(texts)),
        "taste": digest(np.round(items.taste.astype(float), 4)),
        "log": digest(*(a for b in batches for a in (b.users, b.slates, b.responses.clicked))),
    }


def test_the_default_world_is_what_it_was():
    assert digests(World.build(TINY, 7)) == GOLDEN


@pytest.mark.parametrize("kind", ["covers", "tags", "nothing"])
def test_taste_alone_follows_something_else(kind):
    """What a catalogue shows is that of the default world; tastes, and so the log, are not."""
    other = digests(World.build(TINY.model_copy(update={"taste_follows": kind}), 7))
    assert other["shown"] == GOLDEN["shown"]
    assert other["taste"] != GOLDEN["taste"]
    assert other["log"] != GOLDEN["log"]


SHARP = {"visible_taste": 1.0, "content_noise": 0.0, "videos": 400, "users": 1}


def clusters(kind, **changes):
    """Of a world without hidden side and noise: which videos have one taste."""
    world = World.build(SimulationSettings(taste_follows=kind, **SHARP | changes), 7)
    _, code = np.unique(world.items.taste, axis=0, return_inverse=True)
    return world, code


def is_function(code, of):
    """Whether videos with the same `of` have the same `code`."""
    return len(set(zip(of.tolist(), code.tolist(), strict=True))) == len(set(of.tolist()))


def test_taste_is_that_of_the_topic_that_the_cover_shows():
    world, code = clusters("covers")
    assert is_function(code, world.items.cover_topic)
    assert not is_function(code, world.items.topic)
    world, code = clusters("covers", image_noise=0.0)
    assert is_function(code, world.items.topic)


def test_taste_is_that_of_the_topic_that_tags_make_likeliest():
    """Two topics of one class: the video has the taste of the one with more of its tags' odds."""
    few = {"primary_classes": 1, "secondary_classes": 1, "topics": 2, "tags": 40}
    world, code = clusters("tags", tag_noise=0.3, **few)
    own, vocabulary = tags(world, np.arange(400)).slug, make_vocabulary(world)
    starts, share = vocabulary.tags[0].starts, np.diff(world.classes.share, prepend=0.0)
    likeliest = []
    for slug in own:
        odds = share.copy()
        for one in slug[(slug >= 0) & (slug < starts[-1])]:  # topics' tags come first
            odds *= [0.7 * (t == (one >= starts[1])) + 0.3 * share[t] for t in range(2)]
        likeliest.append(odds.argmax())
    assert is_function(code, np.array(likeliest))
    assert not is_function(code, world.items.topic)


def test_taste_that_follows_nothing_is_that_of_a_hidden_topic():
    world, code = clusters("nothing")
    assert len(set(code.tolist())) > 40  # of 60 topics
    for shown in (world.items.topic, world.items.cover_topic, world.items.title_topic):
        assert not is_function(code, shown)
    # As likely of a topic as another video's: no more alike within a topic than between two.
    cosine = world.items.taste @ world.items.taste.T
    same = (world.items.topic[:, None] == world.items.topic) & ~np.eye(400, dtype=bool)
    assert cosine[same].mean() == pytest.approx(cosine[~same].mean(), abs=0.05)


SMALL = SimulationSettings(users=700, videos=400, days=7, covers=False)


@pytest.fixture(scope="module")
def worth():
    """Gain by variant in a world of each kind, without intervals."""
    gain = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ceiling_gains, "DRAWS", 1)
        for kind in ("covers", "tags", "nothing"):
            world = World.build(SMALL.model_copy(update={"taste_follows": kind}), 7)
            rows = gains(Consumer(world, read_log(simulate(world))), modalities)
            gain[kind] = {row.variant: row.gain for row in rows}
    return gain


def test_topics_are_worth_what_their_source_has_of_taste(worth):
    covers, tags_ = of_noise("covers", 0.25), of_noise("tags", 0.2)
    assert worth["covers"][covers] > 2 * worth["covers"][tags_] > 0
    assert worth["covers"][covers] > worth["covers"][KERNEL] > 0
    assert worth["tags"][tags_] > 2 * worth["tags"][covers]
    assert worth["tags"][tags_] > worth["tags"][KERNEL] > 0
    best = worth["covers"][covers]
    for variant in (covers, tags_, KERNEL):
        # Features of nothing may cost in so small a world; they never gain.
        assert -0.3 * best < worth["nothing"][variant] < 0.1 * best
    for kind, gain in worth.items():
        assert -0.3 * best < gain[PERMUTED] < 0.1 * best, kind
        assert gain[TASTES] > 0.01, kind  # there is taste to be known in each
