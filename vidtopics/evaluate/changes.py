"""What changed between two releases: topics born, split, merged, retired, and videos that moved."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vidtopics.contracts import TOPICS, VIDEO_CATALOG, VIDEO_TAGS, VIDEO_TOPICS, Table
from vidtopics.errors import TableError, explain
from vidtopics.jobs.inputs import vectors
from vidtopics.tables.releases import Release, in_force, read_log
from vidtopics.times import moment

if TYPE_CHECKING:
    from producers.topics.changes import TopicChanges, TopicState
    from vidtopics.tables import Tables

EXAMPLES = 6
"""Videos that a topic is shown by, the nearest ones."""
MOVED = 100
"""Videos with another first topic that a report names."""


def find_release(tables: Tables, number: int | None) -> Release:
    """The release of that number, or the one in force; TableError if there is none."""
    log = read_log(tables)
    numbered = {row.release_id: row for row in log if row.topic_epoch}
    release = in_force(log) if number is None else numbered.get(number)
    if release is None or not release.topic_epoch:
        raise _missing("release" if number is None else f"release {number}", "release", numbered)
    return release


def find_releases_of_models(tables: Tables, old: int, new: int) -> tuple[Release, Release]:
    """The last release of one topic model version and the first of another.

    Raises:
        TableError: nothing was released with one of them.
    """
    rows = {row.release_id: row for row in read_log(tables) if row.state == "released"}
    of_model: dict[int, list[Release]] = {}
    for row in rows.values():
        of_model.setdefault(row.topic_model, []).append(row)
    of_model.pop(0, None)
    for number in (old, new):
        if number not in of_model:
            raise _missing(f"topic model {number}", "released version", of_model)
    return of_model[old][-1], of_model[new][0]


def _missing(where: str, what: str, numbers: Iterable[int]) -> TableError:
    known = ", ".join(map(str, sorted(numbers)[-10:])) or "none"
    return TableError(
        explain(
            where,
            expected=f"a {what} with topics",
            found=f"none; those with topics are {known}",
            mend="name one of them, or run `vidtopics run`",
        )
    )


def topic_changes(tables: Tables, old: Release, new: Release) -> TopicChanges:
    """Topics and videos of one release against those of another."""
    from producers.topics.changes import compare

    return compare(read_state(tables, old), read_state(tables, new))


def changes_report(tables: Tables, old: Release, new: Release) -> dict[str, Any]:
    """The changes as plain values, with labels, titles and covers; for people, JSON and HTML."""
    changes = topic_changes(tables, old, new)
    after, before = _Describer(tables, new), _Describer(tables, old)
    videos = changes.moved.slice(0, MOVED).to_pylist()
    catalog = after.videos(row["video_id"] for row in videos)

    def topic(topic_id: int) -> dict[str, Any]:
        side = after if topic_id in after.labels else before
        size = changes.sizes[topic_id]
        return side.topic(topic_id) | {"before": size.before, "after": size.after}

    return {
        "from": _side(old) | changes.before._asdict(),
        "to": _side(new) | changes.after._asdict(),
        "same_epoch": changes.same_epoch,
        "unchanged_videos": changes.unchanged,
        "first_kept": changes.first_kept,
        "set_kept": changes.set_kept,
        "born": [topic(i) for i in changes.born],
        "split": [topic(s.topic_id) | {"split_from": topic(s.split_from)} for s in changes.split],
        "merged": [
            {"topics": [topic(i) for i in m.topic_ids], "into": topic(m.into)}
            for m in changes.merged
        ],
        "retired": [topic(i) for i in changes.retired],
        "moved_videos": len(changes.moved),
        "moved": [
            catalog[row["video_id"]]
            | {side: row[side] for side in ("before", "after")}
            | {
                "label_before": before.labels.get(row["before"], []),
                "label_after": after.labels.get(row["after"], []),
            }
            for row in videos
        ],
    }


def read_state(tables: Tables, release: Release) -> TopicState:
    """Topics and videos' topics as a release has them."""
    from producers.topics.changes import TopicState

    topics = _living(tables, release)
    rows = read_at(tables, release, VIDEO_TOPICS).sort_by("video_id").combine_chunks()
    return TopicState(
        topics["topic_id"].to_numpy(),
        pc.fill_null(topics["split_from"], 0).to_numpy(),
        release.topic_epoch,
        rows["video_id"].combine_chunks(),
        _content(tables, release, rows["video_id"]),
        vectors(rows["topic_ids"]).astype(np.int64),
        vectors(rows["topic_weights"]),
        rows["below_threshold"].to_numpy(),
    )


def read_at(tables: Tables, release: Release, table: Table, *columns: str) -> pa.Table:
    """The rows of a history table as of a release, as far as its version knew them."""
    version = release.versions.get(table.name, 0)
    known = [c.created_us for c in tables.commits(table) if c.version <= version]
    return tables.as_of(table, release.as_of_us, max(known, default=0), columns=columns or None)


class _Describer:
    """Labels, titles and covers of a release."""

    def __init__(self, tables: Tables, release: Release) -> None:
        topics = _living(tables, release)
        ids, terms = (topics[name].to_pylist() for name in ("topic_id", "label_terms"))
        self.labels: dict[int, list[str]] = dict(zip(ids, terms, strict=True))
        self.catalog = read_at(tables, release, VIDEO_CATALOG, "video_id", "title", "cover")
        rows = read_at(tables, release, VIDEO_TOPICS, "video_id", "topic_ids", "topic_weights")
        self.assigned = pa.table(
            {
                "video_id": rows["video_id"],
                "topic_id": pc.list_element(rows["topic_ids"], 0),
                "weight": pc.list_element(rows["topic_weights"], 0),
            }
        )

    def topic(self, topic_id: int) -> dict[str, Any]:
        """A topic with its label and its nearest videos."""
        members = self.assigned.filter(pc.equal(self.assigned["topic_id"], topic_id))
        order = [("weight", "descending"), ("video_id", "ascending")]
        ids = members.sort_by(order)["video_id"].slice(0, EXAMPLES).to_pylist()
        return {
            "topic_id": topic_id,
            "label_terms": self.labels.get(topic_id, []),
            "videos": list(self.videos(ids).values()),
        }

    def videos(self, video_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Title and cover of each, in the order that they are asked for."""
        ids = list(video_ids)
        rows = self.catalog.filter(pc.is_in(self.catalog["video_id"], pa.array(ids, pa.string())))
        known = {row["video_id"]: row for row in rows.to_pylist()}
        return {i: known.get(i, {"video_id": i, "title": "", "cover": ""}) for i in ids}


def _living(tables: Tables, release: Release) -> pa.Table:
    topics = read_at(tables, release, TOPICS)
    return topics.filter(pc.is_null(topics["retired"])).sort_by("topic_id").combine_chunks()


def _content(tables: Tables, release: Release, video_ids: pa.ChunkedArray) -> pa.Array:
    """What each video is: hash of cover and title, and its tags in byte order."""
    catalog = read_at(tables, release, VIDEO_CATALOG, "video_id", "content_hash")
    tags = read_at(tables, release, VIDEO_TAGS, "video_id", "tag")
    tags = tags.sort_by([("video_id", "ascending"), ("tag", "ascending")])
    lists = tags.group_by("video_id", use_threads=False).aggregate([("tag", "list")])
    texts = pc.binary_join(lists["tag_list"], "\x1f")
    parts = []
    for keys, values in (
        (catalog["video_id"], catalog["content_hash"]),
        (lists["video_id"], texts),
    ):
        at = pc.index_in(video_ids, value_set=keys.combine_chunks())
        parts.append(pc.fill_null(values.take(at), ""))
    return pc.binary_join_element_wise(*parts, "\x1e").combine_chunks()


def _side(release: Release) -> dict[str, Any]:
    return {
        "release": release.release_id,
        "as_of": moment(release.as_of_us),
        "topic_epoch": release.topic_epoch,
    }
