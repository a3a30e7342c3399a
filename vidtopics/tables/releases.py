"""Releases: a row per run that changed something, with the versions that belong together.

Delta has no commit over several tables, so consumers move by release: until the row is there, they
stay where they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from vidtopics.contracts import RELEASES
from vidtopics.errors import ConflictError, TableError, explain
from vidtopics.failpoints import failpoint
from vidtopics.tables import deltalake_engine
from vidtopics.tables.commits import Commit, next_ordinal
from vidtopics.tables.schemas import TIMESTAMP, arrow_schema
from vidtopics.times import micros

if TYPE_CHECKING:
    from vidtopics.tables import Tables


def latest_release(tables: Tables) -> dict[str, Any]:
    """The latest release's row; TableError if there is none.

    `versions` and `quality` are mappings; `as_of_us` stands beside `as_of`.
    """
    row = next(tables.newest_rows(RELEASES), None)
    if row is None:
        raise TableError(
            explain(
                str(tables.path(RELEASES)),
                expected="a release",
                found="none",
                mend="run `vidtopics ingest` and `vidtopics run`",
            )
        )
    return {
        **row,
        "as_of_us": micros(row["as_of"]),
        "versions": dict(row["versions"]),
        "quality": dict(row["quality"]),
    }


@retry(
    retry=retry_if_exception_type(ConflictError),
    stop=stop_after_attempt(20),
    wait=wait_random(0, 0.2),
    reraise=True,
)
def release(
    tables: Tables, *, as_of_us: int, created_us: int, settings: str, quality: Mapping[str, float]
) -> int | None:
    """Append a release if any table changed since the last one; returns its id, or None.

    Safe to call again after a crash, and from two processes at once: the row is written against the
    version of `releases` that was read, and a repeated call finds nothing new.
    """
    delta = tables.delta(RELEASES, create=True)
    versions = tables.data_versions()
    last = next(
        tables.newest_rows(RELEASES), {"release_id": 0, "versions": [], "topic_epoch": 0}
    )
    failpoint("release.read")
    if dict(last["versions"]) == versions:
        return None
    epoch = int(quality.get("topic_epoch", last["topic_epoch"]))
    row = {
        "release_id": last["release_id"] + 1,
        "as_of": as_of_us,
        "versions": list(versions.items()),
        "topic_epoch": epoch,
        "settings_hash": settings,
        "quality": list(quality.items()),
        "event_timestamp": as_of_us,
        "created_timestamp": created_us,
    }
    schema = arrow_schema(RELEASES)
    plain = {
        f.name: pa.array([row[f.name]], pa.int64() if f.type == TIMESTAMP else f.type)
        for f in schema
    }
    table = pa.table({f.name: plain[f.name].cast(f.type) for f in schema}, schema=schema)
    job = "release"
    commit = Commit(
        job, as_of_us, created_us, settings=settings, ordinal=next_ordinal(delta, job)
    )
    deltalake_engine.publish_log(RELEASES, delta, ds.dataset(table), commit, {}, spill="")
    failpoint("release.committed")
    return int(row["release_id"])
