"""A home whose catalogue names the videos of `serving_world`, and events applied as they come."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import numpy as np
from PIL import Image
from recall_world import catalogue_row, put
from serving_world import VIDEOS, release, service_over, store_model

from consumers.live import LiveRules
from consumers.serving.catalogue import HomeCatalogue
from vidtopics.contracts import USER_RECENT_CLICKS, VIDEO_CATALOG
from vidtopics.events.applying import Applier
from vidtopics.events.generations import Generation, keys_of, open_generation
from vidtopics.online.event_rules import MAX_AHEAD
from vidtopics.settings import Settings
from vidtopics.tables import Tables

EVIL = "<img src=x onerror=\"document.title='owned'\"><b>"
MAX_PIXELS = 10_000


class InTheirOrder:
    """Scores fall by place."""

    def __init__(self, folder):
        """There is nothing to load."""

    def score(self, candidates, features):
        return 0.5 - np.arange(len(candidates.video_ids), dtype=np.float32) / 100


def live_service(store, folder, **values):
    """A service over a release, whose recommendations see events."""
    release(store, 1)
    store_model(folder, 1)
    rules = LiveRules.of(Settings())
    return service_over(store, folder, ranker=InTheirOrder, live_rules=rules, **values)


def catalogue(folder):
    """v0 has an evil title, v1 a cover, v2 one that is no image, v3 one that is gone."""
    tables = Tables(folder / "home")
    files = {f"v{number}": folder / f"{number}.png" for number in (1, 2, 3)}
    Image.new("RGB", (80, 60), (200, 30, 30)).save(files["v1"])
    files["v2"].write_text("no image")
    rows = [
        catalogue_row(video)
        | {"title": EVIL if video == "v0" else f"Title of {video}"}
        | {"cover": str(files.get(video, ""))}
        for video in VIDEOS
    ]
    put(tables, VIDEO_CATALOG, rows, 1)
    clicks = {"recent_video_ids": ["v0"], "recent_times": [1], "recent_watch_seconds": [-1.0]}
    put(tables, USER_RECENT_CLICKS, [{"user_id": name, **clicks} for name in ("ann", "bob")], 1)
    return HomeCatalogue(tables, MAX_PIXELS)


@contextmanager
def applying(store):
    """Events are applied within the block, as `vidtopics events apply` does."""
    keys, generation = keys_of(store, "vt"), Generation(0, 1)  # of values that no load brought
    assert open_generation(store, keys, generation)
    applier, ended = Applier(store, keys, recent=5, max_ahead=MAX_AHEAD), threading.Event()

    def apply():
        while not ended.wait(0.02):
            applier.apply(generation)

    thread = threading.Thread(target=apply)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
