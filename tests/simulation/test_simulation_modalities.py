"""That joint representations stand above covers and titles follows from the noise of both.

Stand-ins for encoders: a cover and a title as vectors of the classes that they show, secondary
classes plain to see on covers and in titles, primary ones a little, as the real encoders find them.
"""

import numpy as np
import pyarrow as pa
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from producers.content.dataset import make_targets
from producers.content.training import joint_representation, train_joint
from producers.tags.graph import count_pairs
from producers.tags.pooling import pool_lists
from producers.tags.skipgram import embed_tags
from producers.topics.space import TopicSpace, mean_tag_block
from vidtopics.settings import ContentSettings, SimulationSettings, TagSettings
from vidtopics.simulation.titles import make_vocabulary, slugs, tags
from vidtopics.simulation.world import World

WIDTH, VIDEOS, HELD_OUT = 32, 1_500, 300
SETTINGS = ContentSettings(
    projection_width=32,
    experts=4,
    expert_width=32,
    tower_width=16,
    iterations=100,
    batch_size=150,
    learning_rate=3e-3,
)


def shown(classes, topics, seed, weights):
    """Vectors of the classes of `topics`, and noise of their own, float32[N, WIDTH]."""
    rng = np.random.default_rng(seed)
    levels = (classes.primary[topics], classes.secondary[topics], topics)
    total = rng.normal(size=(len(topics), WIDTH))
    for level, weight in zip(levels, weights, strict=True):
        total += weight * rng.normal(size=(level.max() + 1, WIDTH))[level]
    return total.astype(np.float32)


def tag_blocks(world, train):
    """Pooled tag vectors of the graph of the videos that train, and who has any."""
    vocabulary = make_vocabulary(world)
    own, names = tags(world, np.arange(VIDEOS)).slug, slugs(vocabulary).to_pylist()
    lists = [[names[place] for place in row if place >= 0] for row in own]
    column = pa.array(lists, pa.large_list(pa.large_string()))
    graph = count_pairs(column.take(pa.array(train)), min_videos=2, max_tags_per_video=8)
    vectors = embed_tags(graph, TagSettings(dimensions=32, walk_length=40), seed=0)
    pooled, count = pool_lists(column, vectors)
    return pooled, count > 0


def agreement(settings):
    """Adjusted Rand index with primary classes of videos that didn't train, by representation."""
    world = World.build(settings, 7)
    items, classes = world.items, world.classes
    image = shown(classes, items.cover_topic, 0, (0.5, 0.9, 0.4))
    title = shown(classes, items.title_topic, 1, (0.5, 0.7, 0.4))
    every, train = np.ones(VIDEOS, bool), np.arange(HELD_OUT, VIDEOS)
    primary, secondary = classes.primary[items.topic], classes.secondary[items.topic]
    names = (
        [[f"{level}{name}"] for name in of[train]]
        for level, of in (("p", primary), ("s", secondary), ("t", items.topic))
    )
    targets = make_targets(*names, min_tag_videos=2, max_tags=100)
    inputs = (image, title, every, every)
    model = train_joint(*inputs, targets, SETTINGS, seed=0, rows=train).model
    joint, _ = joint_representation(model, *inputs)
    tag, has_tag = tag_blocks(world, train)
    space = TopicSpace(mean_tag_block(tag[train], has_tag[train]), 1.0, 1.0)
    both = space.represent(tag, joint, has_tag, every)
    count = settings.primary_classes
    return {
        name: np.mean(
            [
                adjusted_rand_score(
                    primary[:HELD_OUT],
                    KMeans(count, n_init=4, random_state=seed).fit_predict(x[:HELD_OUT]),
                )
                for seed in range(3)
            ]
        )
        for name, x in (("image", image), ("title", title), ("joint", joint), ("joint + tag", both))
    }


def test_at_the_default_noise_joint_stands_above_both():
    index = agreement(SimulationSettings(users=1, videos=VIDEOS))
    assert index["joint"] > index["title"] + 0.05 > index["image"] + 0.1


def test_where_half_the_covers_are_wrong_joint_falls_below_titles():
    index = agreement(SimulationSettings(users=1, videos=VIDEOS, image_noise=0.5))
    assert index["joint"] < index["title"] - 0.05


def test_bad_tags_break_the_last_step():
    good, bad = (
        agreement(SimulationSettings(users=1, videos=VIDEOS, tag_noise=noise))
        for noise in (SimulationSettings().tag_noise, 0.45)
    )
    assert good["joint + tag"] > good["joint"] + 0.05
    assert bad["joint + tag"] < bad["joint"]
