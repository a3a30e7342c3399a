"""The topic page: what the topics of the release in force look like, for a browser.

`write_page` numbers topics and videos (:mod:`.numbering`), writes what the page asks for as parts
(:mod:`.parts`), and the page itself last. A small catalogue's parts lie in the page, a large one's
in a folder beside it (docs/adr/0035).
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidtopics.explore.blocks import FindPairs, read_blocks
from vidtopics.explore.changes import changes, history
from vidtopics.explore.contents import list_members, write_topics, write_videos
from vidtopics.explore.covers import Covers
from vidtopics.explore.findings import duplicates, misplaced
from vidtopics.explore.html import render
from vidtopics.explore.index import (
    classify_topics,
    groups,
    release_figures,
    shelf_columns,
    topic_columns,
)
from vidtopics.explore.numbering import number_topics, number_videos
from vidtopics.explore.parts import Parts, parts_beside, publish_folder
from vidtopics.explore.released import Workspace, opened
from vidtopics.explore.search import write_search
from vidtopics.files import write_whole
from vidtopics.settings import IngestSettings, StatisticsSettings
from vidtopics.tables import Tables

__all__ = ["Page", "write_page"]

INLINE = 24_000_000
"""Up to so many bytes, parts lie in the page itself: one file that can be sent."""


@dataclass(frozen=True)
class Page:
    """What was written: the page's absolute path, its bytes, and those of the parts beside it."""

    path: Path
    size: int
    folder: Path | None
    folder_size: int


def write_page(
    tables: Tables,
    output: Path,
    *,
    max_pixels: int = IngestSettings().max_image_pixels,
    prior_exposures: float = StatisticsSettings().prior_exposures,
    inline: int = INLINE,
    find_pairs: FindPairs | None = None,
) -> Page:
    """Write the page of the release in force to `output`, and its parts beside it if they are many.

    The same tables give the same bytes. The old page and its parts stay until the new page has its
    place.

    Args:
        tables: the home's tables.
        output: the file; folders above it are made. A device takes the page with all its parts.
        max_pixels: a cover that claims more is not decoded, as in ingestion.
        prior_exposures: w of the smoothed click-through rates.
        inline: bytes of parts that the page holds itself; more lie in `<output's stem>.parts`.
        find_pairs: finds near copies; None: the page has none.

    Raises:
        TableError: nothing was released, or its tables don't belong together.
        MachineError: a link in `output` leads nowhere.
        OSError: `output` can't be written; what was there stays.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    place = output.with_name(f"{output.stem}.parts")
    is_device = output.exists() and not output.is_file()
    with (
        opened(tables) as work,
        parts_beside(work.scratch / "page.html" if is_device else output) as parts,
    ):
        index = _write_parts(work, parts, max_pixels, prior_exposures, find_pairs)
        if is_device or parts.total <= inline:
            write_whole(output, render(index | {"folder": None}, parts.inline()))
            folder = None
        else:
            folder = place / parts.name
            publish_folder(parts, folder)
            write_whole(output, render(index | {"folder": f"{place.name}/{parts.name}/"}, ()))
    _remove_others(place, folder)
    size = output.stat().st_size
    return Page(output.absolute(), size, folder, parts.total if folder else 0)


def _write_parts(
    work: Workspace,
    parts: Parts,
    max_pixels: int,
    prior_exposures: float,
    find_pairs: FindPairs | None,
) -> dict[str, Any]:
    """Write all parts; what the page itself holds."""
    centroids = number_topics(work)
    number_videos(work)
    classify_topics(work)
    index = {
        "release": release_figures(work, prior_exposures),
        "topics": topic_columns(work, centroids),
        "shelves": shelf_columns(work),
        "groups": groups(work),
        "queues": list_members(work),
        "history": history(work),
        "firsts": write_search(work, parts),
    }
    parts.write("changes", changes(work))
    covers, blocks = Covers(work, max_pixels), read_blocks(work, centroids, work.scratch)
    write_topics(work, parts)
    write_videos(work, parts, [covers.of_parts, *([blocks.of_parts] if blocks else [])])
    alike = blocks.alike(find_pairs) if blocks and find_pairs else None
    parts.write("duplicates", duplicates(work, alike))
    parts.write("misplaced", misplaced(work, blocks.disagreeing if blocks else ()))
    return index | {"ratio": round(covers.ratio, 3)}


def _remove_others(place: Path, folder: Path | None) -> None:
    """Remove the parts of pages that this one has replaced."""
    if not place.is_dir():
        return
    for old in place.iterdir():
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)
    if folder is None:
        shutil.rmtree(place, ignore_errors=True)
