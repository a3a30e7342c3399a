"""Small covers of the videos that are shown first."""

from __future__ import annotations

import base64
import io
import json
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from PIL import Image

from vidtopics.explore.released import Workspace
from vidtopics.images import decode_cover, read_cover

BOX = (88, 112)
"""Pixels, width and height, that a thumbnail fits in."""
COVERS = 100_000
"""Thumbnails of a page, at most."""
OTHERS = 10_000
"""Up to so many thumbnails, videos that no list shows first have one too."""

# Cards show eight from the centre out; a topic's page a dozen, six at the rim, ten of the queue.
_SHOWN_FIRST = f"""
CREATE TABLE cover AS
  SELECT v, part, cover FROM (
    SELECT v, rank, row_number() OVER (ORDER BY rank, v) AS number FROM (
      SELECT v, min(rank) AS rank FROM (
        SELECT start + i AS v, i AS rank FROM shelf, range(12) ranks(i) WHERE i < videos
        UNION ALL
        SELECT start + videos - 1 - i, 8 + 2 * i FROM shelf, range(6) ranks(i) WHERE i < videos
        UNION ALL SELECT v, rank - 1 FROM central WHERE rank <= 12
        UNION ALL SELECT v, 8 + 2 * (position - 1) FROM queue WHERE position <= 10
        UNION ALL SELECT v, 1000 FROM video)
      GROUP BY v))
  JOIN video USING (v)
  WHERE cover <> '' AND number <= {COVERS} AND (rank < 1000 OR number <= {OTHERS})
  ORDER BY v"""


class Covers:
    """Thumbnails by part of videos, made when a slab of parts is written."""

    def __init__(self, work: Workspace, max_pixels: int) -> None:
        work.execute(_SHOWN_FIRST)
        self._work, self._max_pixels = work, max_pixels
        self._ratios: list[float] = []

    @property
    def ratio(self) -> float:
        """Width over height of most covers so far; those of another shape are cropped."""
        return min(max(median(self._ratios or [1.0]), 0.6), 1.8)

    def of_parts(self, first: int, last: int) -> dict[int, str]:
        """The member `covers` of the parts from `first` up to before `last`, by part.

        Base64 of WebP files by place. A video without a readable cover has none.
        """
        sql = "SELECT part, v, cover FROM cover WHERE part >= $first AND part < $last ORDER BY v"
        rows = self._work.con.execute(sql, {"first": first, "last": last}).fetchall()
        with ThreadPoolExecutor() as pool:
            files = pool.map(lambda row: thumbnail(row[2], self._max_pixels), rows)
            covers: defaultdict[int, dict[int, str]] = defaultdict(dict)
            for (part, place, _), (file, ratio) in zip(rows, files, strict=True):
                if file:
                    covers[part][place] = file
                    self._ratios.append(ratio)
        return {part: f'"covers":{json.dumps(files)}' for part, files in covers.items()}


def thumbnail(cover: str, max_pixels: int) -> tuple[str, float]:
    """Base64 of a WebP file that fits :data:`BOX`, and its width over height.

    `("", 1.0)` without a readable cover at that path.
    """
    # One that was moved away or replaced since it was ingested is shown as any without a cover.
    file = read_cover(cover, max_pixels=max_pixels) if cover else "missing"
    pixels = decode_cover(file, max_pixels=max_pixels).pixels if isinstance(file, bytes) else None
    if pixels is None:
        return "", 1.0
    image = Image.fromarray(pixels)
    image.thumbnail(BOX)
    out = io.BytesIO()
    image.save(out, "WEBP", quality=52, method=4)
    return base64.b64encode(out.getvalue()).decode("ascii"), image.width / image.height
