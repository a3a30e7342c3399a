"""Recall of many users gives each the candidates of the online path, place by place."""

import numpy as np
import pytest
from platforms import PlainStore, catalog_of, platform_of, world_of

from consumers.policies.recall import DRAWS, ManyRecall
from consumers.retrieval import Recall
from vidtopics.settings import parse

CASES = [
    {},
    {"candidates": 30, "topics": 2},
    {"candidates": 8, "floor": 0.4, "fresh_share": 0.5},
    {"popular_share": 0},
    {"popular_share": 1, "parent_prior": 1},
    {"popular_share": 0.5, "recent_clicks": 5, "leave_out": "clicked"},
    {"candidates": 100, "popular_share": 0.2, "fresh_share": 0},
]


def compared(platform, catalog, settings, users):
    """Candidates of the twin, and of the online path over plain dicts."""
    many, store = ManyRecall(catalog, settings, settings.recall), None
    many.open_day(2, platform)
    store = PlainStore(platform, catalog, settings)
    recall = Recall(store, settings.recall)
    given = many.recall_users(np.array(users), platform)
    for row, user in enumerate(users):
        online = recall.recall_from(store, f"u{user:07d}", at_us=0, seed=many.seeds[user % DRAWS])
        ids = catalog.ids.to_pylist()
        ours = [ids[v] for v in given.videos[row, : given.counts[row]]]
        yield ours, online


@pytest.fixture(scope="module", params=[7, 8])
def platform(request):
    world = world_of(seed=request.param)
    return world, platform_of(world)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_candidates_are_those_of_the_online_path(platform, case):
    world, state = platform
    queues = {"min_exposures": 4, "fresh_pool": 12}
    settings = parse({"queues": queues, "recall": {"candidates": 25} | CASES[case]}, where="test")
    catalog = catalog_of(world, seed=case)
    levels = set()
    for ours, online in compared(state, catalog, settings, list(range(40))):
        assert ours == online.video_ids
        levels |= {reason.level for reason in online.reasons.values()}
        levels |= {"fresh" for reason in online.reasons.values() if reason.fresh}
    if not CASES[case]:
        assert levels == {"topic", "parent", "catalogue", "fresh"}
