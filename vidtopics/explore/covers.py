"""Small covers for the page, within a budget of bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, zip_longest
from pathlib import Path
from statistics import median

from PIL import Image

from vidtopics.explore.data import Covers, PageData, members
from vidtopics.images import decode_cover

BOX = (88, 112)
"""Pixels, width and height, that a thumbnail fits in."""
BUDGET = 5_500_000
"""Characters of all thumbnails: the page of ten thousand videos stays below 8 MB."""
MOSAIC = 8
"""Covers on a topic's card (overview.js)."""
BATCH = 128


def thumbnails(data: PageData, *, max_pixels: int, budget: int = BUDGET) -> Covers:
    """Small covers of the videos that are shown first.

    The covers of all cards come first, then those of topic pages and queues from their tops down,
    until the budget is used up. A video without a readable cover has none.
    """
    files: dict[int, str] = {}
    ratios: list[float] = []
    for place, (file, ratio) in _encoded(data, max_pixels):
        budget -= len(file)
        if budget < 0:
            break
        if file:
            files[place] = file
            ratios.append(ratio)
    return Covers(
        files, min(max(median(ratios or [1.0]), 0.6), 1.8)
    )  # covers of another shape are cropped


def _encoded(data: PageData, max_pixels: int) -> Iterator[tuple[int, tuple[str, float]]]:
    """Places and thumbnails in the order of :func:`first_shown`, a batch ahead at most."""
    order = list(first_shown(data))
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            yield from zip(
                batch,
                pool.map(lambda i: thumbnail(data.videos[i].cover, max_pixels), batch),
                strict=True,
            )


def first_shown(data: PageData) -> Iterator[int]:
    """Places of the videos that a topic or queue shows, each once.

    On cards all firsts, all seconds, ..., then elsewhere.
    """
    at = {video.video_id: place for place, video in enumerate(data.videos)}
    central = list(members(data).values())
    queues = [[at[queued.video_id] for queued in queue] for queue in (data.queues or {}).values()]
    cards = zip_longest(*(places[:MOSAIC] for places in central))
    ranks = chain.from_iterable(chain(cards, zip_longest(*central, *queues)))
    return iter(dict.fromkeys(place for place in ranks if place is not None))


def thumbnail(cover: str, max_pixels: int) -> tuple[str, float]:
    """Base64 of a WebP file that fits :data:`BOX`, and its width over height.

    `("", 1.0)` without a readable cover at that path.
    """
    try:
        file = Path(cover).read_bytes() if cover else None
    except OSError:  # moved away since it was ingested: shown as any video without a cover
        file = None
    pixels = decode_cover(file, max_pixels=max_pixels).pixels
    if pixels is None:
        return "", 1.0
    image = Image.fromarray(pixels)
    image.thumbnail(BOX)
    out = io.BytesIO()
    image.save(out, "WEBP", quality=52, method=4)
    return base64.b64encode(out.getvalue()).decode("ascii"), image.width / image.height
