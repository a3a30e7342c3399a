"""Classes, covers, titles and tags: what carries which class, and how noise spoils it."""

import math

import numpy as np
import pytest

from vidtopics.errors import SettingsError
from vidtopics.settings import SimulationSettings
from vidtopics.simulation import tags as tag_draws
from vidtopics.simulation import titles as text
from vidtopics.simulation.covers import covers
from vidtopics.simulation.items import DAY, start_of
from vidtopics.simulation.philox import uniforms
from vidtopics.simulation.world import World

CLEAN = {"image_noise": 0.0, "title_noise": 0.0, "tag_noise": 0.0}


def build(seed=7, **settings):
    return World.build(SimulationSettings(**{"users": 1, "videos": 2_000, **settings}), seed)


def pixels(world, rows):
    return [np.asarray(image) for image in covers(world, np.asarray(rows))]


@pytest.mark.parametrize(
    "counts",
    [{"topics": 30}, {"secondary_classes": 9}, {"primary_classes": 51, "secondary_classes": 60}],
)
def test_counts_that_cannot_be_nested_are_refused(counts):
    with pytest.raises(SettingsError, match="simulation"):
        build(**counts)


def test_a_tag_for_every_class_is_wanted():
    with pytest.raises(
        SettingsError, match=r"simulation\.tags: expected at least one tag for each of 110"
    ):
        build(tags=109)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_has_32_bits(seed):
    with pytest.raises(SettingsError, match="seed"):
        build(seed)


def test_classes_nest():
    classes = build(primary_classes=50, secondary_classes=367, topics=1_000, tags=12_000).classes
    assert len(set(classes.secondary.tolist())) == 367
    assert len(set(classes.primary.tolist())) == 50
    parents = {
        (s, p) for s, p in zip(classes.secondary.tolist(), classes.primary.tolist(), strict=True)
    }
    assert len(parents) == 367


def test_content_is_closest_to_its_own_classes():
    world = build()
    same = world.items.sem @ world.items.sem.T
    topic = world.items.topic
    secondary, primary = world.classes.secondary[topic], world.classes.primary[topic]
    off = ~np.eye(2_000, dtype=bool)
    nested = [
        same[off & (topic[:, None] == topic)].mean(),
        same[(secondary[:, None] == secondary) & (topic[:, None] != topic)].mean(),
        same[(primary[:, None] == primary) & (secondary[:, None] != secondary)].mean(),
        same[primary[:, None] != primary].mean(),
    ]
    assert nested[0] > nested[1] + 0.1 > nested[2] + 0.2 > nested[3] + 0.3


def test_appeal_and_satisfaction_and_duration():
    items = build(videos=50_000).items
    assert np.corrcoef(items.appeal, items.satisfaction)[0, 1] == pytest.approx(0.5, abs=0.02)
    log = np.log(items.duration)
    assert (log.mean(), log.std()) == (pytest.approx(4.23, abs=0.02), pytest.approx(1.03, abs=0.02))


def test_a_video_does_not_depend_on_how_many_there_are():
    few, many = build(videos=100).items, build(videos=2_000).items
    for name in (
        "topic",
        "cover_topic",
        "title_topic",
        "sem",
        "hidden",
        "taste",
        "appeal",
        "satisfaction",
        "duration",
    ):
        assert np.array_equal(getattr(few, name), getattr(many, name)[:100]), name


def test_publication_is_a_pool_in_balance_and_five_percent_a_day():
    settings = SimulationSettings()
    published = build().items.published - start_of(settings)
    before = published < 0
    # 2,000 = n (1 + 13 * .05)
    assert before.sum() == pytest.approx(2_000 / 1.65, abs=1)
    assert -published[before].mean() / DAY == pytest.approx(20, rel=0.1)
    assert np.bincount(published[~before] // DAY).tolist() == pytest.approx([61] * 13, abs=1)


def test_noise_swaps_covers_and_titles_independently():
    items = build(videos=50_000, topics=1_000, tags=2_000).items
    cover, title = items.cover_topic != items.topic, items.title_topic != items.topic
    # .25 and .12, less the chance of drawing the same topic again; together as if independent.
    assert cover.mean() == pytest.approx(0.25, abs=0.01)
    assert title.mean() == pytest.approx(0.12, abs=0.01)
    assert (cover & title).mean() == pytest.approx(0.25 * 0.12, abs=0.006)


def test_a_cover_is_a_pure_function_of_seed_video_and_settings():
    world = build(cover_pixels=64)
    many = pixels(world, range(40))
    assert all(np.array_equal(many[i], pixels(world, [i])[0]) for i in (3, 39))
    assert np.array_equal(pixels(build(videos=100, users=9, cover_pixels=64), [3])[0], many[3])
    assert not np.array_equal(pixels(build(seed=8, cover_pixels=64), [3])[0], many[3])
    assert len({image.tobytes() for image in many}) == 40
    assert many[0].shape == (64, 64, 3)


def test_covers_of_a_primary_class_share_their_hue():
    world = build(**CLEAN, cover_pixels=64)
    primary = world.classes.primary[world.items.topic]
    corner = np.array(
        [image[[0, 0, -1, -1], [0, -1, 0, -1]].mean(axis=0) for image in pixels(world, range(400))]
    )
    centres = np.array([np.median(corner[primary[:400] == c], axis=0) for c in range(10)])
    nearest = np.linalg.norm(corner[:, None] - centres, axis=2).argmin(axis=1)
    assert (nearest == primary[:400]).mean() > 0.6


def words_of(world):
    vocabulary = text.make_vocabulary(world)
    made = text.titles(world, vocabulary, np.arange(world.settings.videos))
    return vocabulary, [title.split() for title in made.to_pylist()]


def own_words(pools, of):
    return set(pools.words[pools.starts[of] : pools.starts[of + 1]])


def test_title_words_come_from_the_video_classes_in_the_stated_shares():
    world = build(**CLEAN)
    vocabulary, titles = words_of(world)
    assert {len(title) for title in titles} == set(range(6, 14))
    counts, total = np.zeros(3), 0
    for topic, title in zip(world.items.topic, titles, strict=True):
        of = (topic, world.classes.secondary[topic], world.classes.primary[topic])
        owned = [own_words(pools, c) for pools, c in zip(vocabulary.words, of, strict=True)]
        counts += [sum(word in words for word in title) for words in owned]
        total += len(title)
    assert counts / total == pytest.approx([0.22, 0.24, 0.04], abs=0.012)


def test_a_swapped_title_is_about_another_topic():
    world = build(title_noise=1.0)
    vocabulary, titles = words_of(world)

    def share(topics):
        about = world.classes.secondary[topics]
        owned = [own_words(vocabulary.words[1], s) for s in about]
        return np.mean(
            [bool(words & set(title)) for words, title in zip(owned, titles, strict=True)]
        )

    assert (world.items.title_topic == world.items.topic).mean() < 0.05
    # 6 to 13 words, each of the secondary class with probability .24: 1 - mean of .76^n is .91.
    assert share(world.items.title_topic) == pytest.approx(0.91, abs=0.04)
    assert share(world.items.topic) < 0.3


def tag_table(world):
    vocabulary = text.make_vocabulary(world)
    return vocabulary, text.tags(world, np.arange(world.settings.videos))


def test_every_slug_is_one_tag_of_one_class():
    for settings in (
        {},
        {"primary_classes": 50, "secondary_classes": 367, "topics": 1_000, "tags": 12_000},
    ):
        world = build(**settings)
        names = text.slugs(text.make_vocabulary(world)).to_pylist()
        assert len(names) == len(set(names)) == world.settings.tags
        assert not any(set(name) & set("| ,") or name != name.lower() for name in names)


def test_how_many_tags_a_video_has():
    u = uniforms(7, 1, np.arange(200_000), 2)
    counts = tag_draws._tag_counts(u[:, 0], u[:, 1])
    assert (counts == 0).mean() == pytest.approx(0.013, rel=0.1)
    assert counts.max() == 8
    # 1 + Poisson(2) of those who have any: share of one tag is exp(-2).
    assert (counts == 1).mean() == pytest.approx(0.987 * math.exp(-2), rel=0.03)
    tag_counts = (tag_table(build(videos=20_000))[1].slug >= 0).sum(axis=1)
    assert tag_counts.mean() == pytest.approx(0.987 * 3, rel=0.1)


def test_tags_are_distinct_and_without_noise_the_videos_own():
    world = build(**CLEAN)
    vocabulary, tags = tag_table(world)
    names = text.slugs(vocabulary).to_pylist()
    levels = np.zeros(3)
    for topic, slug in zip(world.items.topic, tags.slug, strict=True):
        tags_of_video = [names[i] for i in slug if i >= 0]
        assert len(tags_of_video) == len(set(tags_of_video))
        of = (topic, world.classes.secondary[topic], world.classes.primary[topic])
        owned = [own_words(pools, c) for pools, c in zip(vocabulary.tags, of, strict=True)]
        assert set(tags_of_video) <= set().union(*owned)
        levels += [sum(tag in words for tag in tags_of_video) for words in owned]
    # A topic has but three tags here; what it would give twice is drawn again, from any level.
    assert levels / levels.sum() == pytest.approx([0.30, 0.35, 0.35], abs=0.04)


def test_the_share_of_wrong_tags_is_the_tag_noise():
    world = build(tag_noise=0.4, videos=5_000)
    vocabulary, tags = tag_table(world)
    starts = [p.starts for p in vocabulary.tags]
    offsets = np.cumsum([0, *(len(p.words) for p in vocabulary.tags)])
    video, place = np.nonzero(tags.slug >= 0)
    slug, topic = tags.slug[video, place], world.items.topic[video]
    level = np.searchsorted(offsets, slug, side="right") - 1
    of = np.array([topic, world.classes.secondary[topic], world.classes.primary[topic]])
    owner = np.array(
        [
            np.searchsorted(starts[k], s - offsets[k], side="right") - 1
            for k, s in zip(level, slug, strict=True)
        ]
    )
    right = owner == of[level, np.arange(len(slug))]
    # A wrong tag comes from any topic, so by chance it is right for one primary class in ten.
    assert right.mean() == pytest.approx(0.6 + 0.4 * (0.30 / 120 + 0.35 / 40 + 0.35 / 10), abs=0.03)


def test_two_fifths_of_the_tags_after_the_first_come_later():
    world = build(videos=5_000)
    _, tags = tag_table(world)
    delay = tags.given - world.items.published[:, None]
    assert (delay[:, 0] == 0).all()
    assert (delay[:, 1:] > 0).mean() == pytest.approx(0.4, abs=0.02)
    assert delay[delay > 0].mean() / DAY == pytest.approx(2, rel=0.1)
