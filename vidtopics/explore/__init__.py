"""The topic page: what the latest release's topics look like, in one file for a browser.

`write_page` is collect (tables to plain values), thumbnails (covers to small images) and render
(values to HTML).
"""

from __future__ import annotations

from pathlib import Path

from vidtopics.explore.covers import thumbnails
from vidtopics.explore.data import Covers, PageData, Queued, Release, Topic, Video
from vidtopics.explore.html import render
from vidtopics.explore.reading import collect
from vidtopics.files import write_whole
from vidtopics.settings import IngestSettings, StatisticsSettings
from vidtopics.tables import Tables

__all__ = [
    "Covers",
    "PageData",
    "Queued",
    "Release",
    "Topic",
    "Video",
    "collect",
    "render",
    "thumbnails",
    "write_page",
]


def write_page(
    tables: Tables,
    output: Path,
    *,
    max_pixels: int = IngestSettings().max_image_pixels,
    prior_exposures: float = StatisticsSettings().prior_exposures,
) -> Path:
    """Write the page of the latest release to `output`; its absolute path.

    The same tables give the same bytes.

    Args:
        tables: the home's tables.
        output: the file; folders above it are made.
        max_pixels: a cover that claims more is not decoded, as in ingestion.
        prior_exposures: w of the smoothed click-through rates.

    Raises:
        TableError: nothing was released, or its tables don't belong together.
        MachineError: a link in `output` leads nowhere.
        OSError: `output` can't be written; what was there stays.
    """
    data = collect(tables, prior_exposures=prior_exposures)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(output, render(data, thumbnails(data, max_pixels=max_pixels)))
    return output.absolute()
