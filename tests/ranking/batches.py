"""Batches of random numbers in the shapes that models read."""

import torch

from consumers.ranking.examples import Batch
from consumers.ranking.models import Sizes

NAMES = ("topic_exposures", "topic_residual_2", "clicked_tier_0", "skipped_tier_0")
SIZES = Sizes(users=5, videos=7, topics=6, parents=4, numbers=3, topic_numbers=NAMES, cover=128)


def make_batch(rows=6, places=5, seed=0):
    """Some rows have no history, some no topics, some places of a history are padding."""
    g = torch.Generator().manual_seed(seed)

    def codes(most, *shape):
        return torch.randint(0, most, shape, generator=g)

    def floats(*shape):
        return torch.rand(shape, generator=g)

    mask = torch.arange(places)[None] < codes(places + 1, rows, 1)
    history = (rows, places, 8)
    return Batch(
        clicked=codes(2, rows).float(),
        user=codes(SIZES.users, rows),
        video=codes(SIZES.videos, rows),
        numbers=floats(rows, SIZES.numbers),
        topic_numbers=floats(rows, len(NAMES)),
        topics=codes(SIZES.topics, rows, 8),
        topic_weights=floats(rows, 8),
        parents=codes(SIZES.parents, rows, 8),
        cover=floats(rows, 128),
        history_videos=codes(SIZES.videos, rows, places) * mask,
        history_clicked=(codes(2, rows, places) > 0) & mask,
        history_ages=floats(rows, places),
        history_topics=codes(SIZES.topics, *history) * mask[..., None],
        history_weights=floats(*history) * mask[..., None],
        history_parents=codes(SIZES.parents, *history) * mask[..., None],
        history_mask=mask,
    )
