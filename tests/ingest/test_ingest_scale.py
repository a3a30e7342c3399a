"""A log of two million impressions, 2% of them bad: staged right, in bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

ROWS = 2_000_000
MAX_PEAK = 1_200_000_000  # bytes: DuckDB's 512 MB, libraries, and a few batches
READ_AHEAD = 400_000_000  # bytes: batches of the stored tables that Arrow reads ahead

LOG = f"""
    SELECT 'user-' || (i * 7919) % 100003 AS user_id,
        CASE WHEN i % 100 = 7 THEN 'unknown' ELSE 'video-' || (i * 104729) % 5000 END AS video_id,
        make_timestamp(1767225600000000 + i * 1000003) AS event_timestamp,
        CASE WHEN i % 100 = 8 THEN 2 ELSE (i % 4 = 0)::INT END AS clicked,
        CASE WHEN i % 4 = 0 THEN i % 300 + 0.5 END AS watch_seconds,
        'request-' || i // 8 AS request_id, i % 8 + 1 AS position, 'event-' || i AS event_id
    FROM range({ROWS}) AS numbers(i)"""
VIDEOS = """
    SELECT 'video-' || i AS video_id, 'Title ' || i AS title, '' AS cover, 'a' AS primary_class,
        'b' AS secondary_class, 'x|y' AS tags, '' AS published_at FROM range(5000) AS numbers(i)"""
STAGE = """
import json, sys
from pathlib import Path
import pyarrow.dataset as ds
from vidtopics.ingest import Source, stage
from vidtopics.ingest.known import Known
from vidtopics.settings import IngestSettings
rows = dict(Known().rows)
if len(sys.argv) > 3:
    earlier = Path(sys.argv[3])
    rows |= {name: ds.dataset(earlier / f"{name}.parquet") for name in ("impressions", "clicks")}
folder, into = map(Path, sys.argv[1:3])
delivery = stage(Source("folder", folder), into, IngestSettings(), Known(rows))
# getrusage would count the parent's peak from before exec
status = Path("/proc/self/status").read_text()
peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
refused = {reason: tally.count for file in delivery.files for reason, tally in file.refused.items()}
print(json.dumps({"peak": peak, "refused": refused,
    "known": delivery.already_there}))
"""


def staged(*paths: Path) -> dict[str, Any]:
    """What a process says that stages the first path into the second, knowing the third."""
    done = subprocess.run(
        [sys.executable, "-c", STAGE, *map(str, paths)],
        check=True,
        stdout=subprocess.PIPE,  # its errors go to the test's
        text=True,
        timeout=900,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    print(f"{paths[1].name}: {result['peak'] / 1e6:.0f} MB")
    return result


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc"
)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_two_million_impressions_are_staged_in_bounded_memory(tmp_path: Path, kind: str) -> None:
    folder, into = tmp_path / "delivery", tmp_path / "staged"
    folder.mkdir()
    duckdb.execute(f"COPY ({LOG}) TO '{folder}/impressions.{kind}'")
    duckdb.execute(f"COPY ({VIDEOS}) TO '{folder}/videos.{kind}'")
    result = staged(folder, into)
    assert result["refused"] == {"unknown_video": ROWS // 100, "bad_clicked": ROWS // 100}
    assert pq.ParquetFile(into / "impressions.parquet").metadata.num_rows == ROWS * 98 // 100
    # of every 100 rows 25 are clicked, one of which (8) is refused
    assert pq.ParquetFile(into / "clicks.parquet").metadata.num_rows == ROWS * 24 // 100
    assert result["peak"] < MAX_PEAK
    again = staged(folder, tmp_path / "again", into)  # judged against all of it
    known = {"impressions": ROWS * 98 // 100, "clicks": ROWS * 24 // 100}
    assert again["known"] == known | {"video_catalog": 0, "video_tags": 0}
    assert again["peak"] < MAX_PEAK + READ_AHEAD
