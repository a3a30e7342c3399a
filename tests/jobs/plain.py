"""What jobs compute, said once more in plain Python over the rows of the input tables."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import combinations

import numpy as np

from producers.content.dataset import holdout
from vidtopics.contracts import CLICKS, IMPRESSIONS, VIDEO_CATALOG, VIDEO_TAGS

Rows = Iterable[dict]


def live_videos(home, at: int) -> dict[str, dict]:
    """The catalogue's last word on each video at `at`, without those that are taken down."""
    latest = {}
    for row in home.rows(VIDEO_CATALOG):  # in the order of time
        if row["event_timestamp"] <= at and row["created_timestamp"] <= at:
            latest[row["video_id"]] = row
    return {
        v: row
        for v, row in latest.items()
        if row["removed_at"] is None or row["removed_at"].timestamp() * 1e6 > at
    }


def tags(home, at: int) -> dict[str, set[str]]:
    """The tags that each live video has at `at`, as known then."""
    tags_of: dict[str, set[str]] = {v: set() for v in live_videos(home, at)}
    latest = {}
    for row in home.rows(VIDEO_TAGS):  # in the order of time
        if row["event_timestamp"] <= at and row["created_timestamp"] <= at:
            latest[row["video_id"], row["tag"]] = row["value_hash"]
    for (video, tag), value_hash in latest.items():
        if value_hash and video in tags_of:
            tags_of[video].add(tag)
    return tags_of


def videos_with(of_videos: dict[str, set[str]], at_least: int) -> dict[str, int]:
    """How many videos carry each tag, for tags that enough videos carry."""
    counts = Counter(tag for names in of_videos.values() for tag in names)
    return {tag: n for tag, n in counts.items() if n >= at_least}


def training_tags(home, at: int) -> dict[str, set[str]]:
    """The tags of the live videos that train: those whose content isn't held out."""
    live = live_videos(home, at)
    contents = [row["content_hash"] for row in live.values()]
    out = holdout(contents, home.settings.content.holdout_share)
    of_videos = tags(home, at)
    return {v: of_videos[v] for v, is_out in zip(live, out, strict=True) if not is_out}


def cooccurrence(home, at: int) -> dict[tuple[str, str], int]:
    """x_e: pairs among the most frequent tags of each video that trains."""
    of_videos, settings = training_tags(home, at), home.settings.tags
    counts = videos_with(of_videos, settings.min_videos)
    edges: Counter[tuple[str, str]] = Counter()
    for names in of_videos.values():
        most_frequent = sorted(
            (t for t in names if t in counts), key=lambda t: (-counts[t], t.encode())
        )
        edges.update(combinations(sorted(most_frequent[: settings.max_tags_per_video]), 2))
    return dict(edges)


def components(names: Iterable[str], edges: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Each tag's component, numbered by falling size, ties by the smallest tag."""
    groups = [{name} for name in names]
    for a, b in edges:
        ga, gb = (next(g for g in groups if x in g) for x in (a, b))
        if ga is not gb:
            ga |= gb
            groups.remove(gb)
    ordered = sorted(groups, key=lambda g: (-len(g), min(g)))
    return {name: i for i, group in enumerate(ordered) for name in group}


def statistics(home, at: int) -> dict[str, tuple[int, int]]:
    """Exposures and clicks of each live video, from what was known before `at`."""

    def before(row: dict) -> bool:
        return row["event_timestamp"] < at and row["created_timestamp"] <= at

    shown = [row for row in home.rows(IMPRESSIONS) if before(row)]
    clicked = {row["event_id"] for row in home.rows(CLICKS) if before(row)}
    exposures = Counter(row["video_id"] for row in shown)
    clicks = Counter(row["video_id"] for row in shown if row["event_id"] in clicked)
    return {v: (exposures[v], clicks[v]) for v in live_videos(home, at)}


def event_times(home, log, at: int) -> dict[str, list[int]]:
    """By video the times of a log's events before `at`, of those known by then."""
    times: dict[str, list[int]] = defaultdict(list)
    for row in home.rows(log):
        if row["event_timestamp"] < at and row["created_timestamp"] <= at:
            times[row["video_id"]].append(row["event_timestamp"])
    return times


def unit(vector: np.ndarray) -> np.ndarray:
    """The vector at length 1; zero stays zero."""
    length = np.linalg.norm(vector)
    return vector / length if length > 0 else vector


def tag_mean(tag_rows: Rows, videos: Iterable[str]) -> np.ndarray:
    """The mean of the tag blocks, at length 1, of those of some videos that have one."""
    chosen = set(videos)
    rows = [r for r in tag_rows if r["video_id"] in chosen and r["tag_count"]]
    return np.mean([unit(np.array(row["tag_embedding"], float)) for row in rows], axis=0)


def representations(tag_rows: Rows, joint_rows: Rows, mean: np.ndarray) -> dict[str, np.ndarray]:
    """Each video's [tag, joint]: both blocks at length 1, joined, and at length 1 (III-A3).

    `mean` is subtracted from the tag block, which has length 1 again.
    """
    joint = {row["video_id"]: np.array(row["joint_embedding"], float) for row in joint_rows}
    return {
        row["video_id"]: unit(
            np.concatenate(
                [centred(np.array(row["tag_embedding"], float), mean), unit(joint[row["video_id"]])]
            )
        )
        for row in tag_rows
        if row["video_id"] in joint
    }


def centred(tag: np.ndarray, mean: np.ndarray) -> np.ndarray:
    return unit(unit(tag) - mean) if tag.any() else tag


def assignment(
    a: np.ndarray, centroids: dict[int, np.ndarray], threshold: float
) -> tuple[list[int], list[float], bool]:
    """At most 8 topics within the threshold, or the nearest; their cosines; was none within."""
    if not a.any():
        return [], [], True
    cosines = sorted(((float(a @ c), -topic) for topic, c in centroids.items()), reverse=True)
    within = [(cos, -topic) for cos, topic in cosines if cos >= threshold][:8]
    chosen = within or [(cosines[0][0], -cosines[0][1])]
    return [topic for _, topic in chosen], [cos for cos, _ in chosen], not within
