"""What is known of a user, in plain Python over all events that a run sees."""

from __future__ import annotations

from collections import defaultdict

from event_logs import DAY, microseconds, visible

from vidtopics.contracts import CLICKS, IMPRESSIONS
from vidtopics.jobs.job import Run

TOPICS = {"v": {1: 0.8, 2: 0.4}, "w": {2: 0.6}, "y": {3: 0.5}, "z": {1: 0.3, 3: 0.6, 4: 0.1}}
"""Topics of each video with their weights; `x` has none."""
PARENTS = {1: 100, 2: 100, 3: 200}
"""Topic 4 has no parent."""


def half(run: Run, since_us: int, at_us: int) -> float:
    """What is left at a time of an event of 1 before it."""
    life = run.settings.users.half_life.total_seconds() * 1e6
    return 0.5 ** ((at_us - since_us) / life)


def expected_clicks(run: Run, already: dict[str, float]) -> dict[str, float]:
    """By impression; one that was counted before is as it was then."""
    shown, clicked = visible(run, IMPRESSIONS), visible(run, CLICKS)
    w = run.settings.statistics.prior_exposures
    rates = {}
    for row in shown:
        start = microseconds(row) // DAY * DAY
        before = [
            [e for e in log if microseconds(e) < start and video in ("", e["video_id"])]
            for video in ("", row["video_id"])
            for log in (shown, clicked)
        ]
        all_shown, all_clicked, own_shown, own_clicked = map(len, before)
        rate = all_clicked / all_shown if all_shown else 0.0
        rates[row["event_id"]] = (own_clicked + w * rate) / (own_shown + w)
    return {**rates, **already}


def statistics(run: Run, expected: dict[str, float]) -> dict[str, dict]:
    """Rows of user_statistics."""
    by_user = defaultdict(list)
    for row in visible(run, IMPRESSIONS):
        values = (1, 0, expected[row["event_id"]])
        by_user[row["user_id"]].append((microseconds(row), *values))
    for row in visible(run, CLICKS):
        by_user[row["user_id"]].append((microseconds(row), 0, 1, 0.0))
    rows = {}
    for user, events in by_user.items():
        at = max(us for us, *_ in events)
        sums = [sum(e[i] for e in events) for i in (1, 2, 3)]
        decayed = [sum(e[i] * half(run, e[0], at) for e in events) for i in (1, 2, 3)]
        rows[user] = {
            "user_exposures": sums[0],
            "user_clicks": sums[1],
            "user_expected_clicks": sums[2],
            "user_decayed_exposures": decayed[0],
            "user_decayed_clicks": decayed[1],
            "user_decayed_expected": decayed[2],
            "user_decayed_at": at,
        }
    return rows


def topic_sums(
    run: Run, expected: dict[str, float], topics: dict[str, dict[int, float]]
) -> dict[str, dict[int, list[float]]]:
    """By user and topic: exposures, clicks, expected clicks, exposures decayed to the last."""
    parts = defaultdict(lambda: defaultdict(list))
    for log in (IMPRESSIONS, CLICKS):
        for row in visible(run, log):
            weights = topics.get(row["video_id"], {})
            for topic, weight in weights.items():
                share, us = weight / sum(weights.values()), microseconds(row)
                one = (share, 0.0, share * expected[row["event_id"]])
                parts[row["user_id"]][topic].append(
                    (us, *(one if log is IMPRESSIONS else (0.0, share, 0.0)))
                )
    sums = {}
    for user, by_topic in parts.items():
        at = max(us for events in by_topic.values() for us, *_ in events)
        sums[user] = {
            topic: [
                *(sum(e[i] for e in events) for i in (1, 2, 3)),
                sum(e[1] * half(run, e[0], at) for e in events),
            ]
            for topic, events in by_topic.items()
        }
    return sums


def recent_clicks(run: Run) -> dict[str, dict]:
    """Rows of user_recent_clicks."""
    by_user = defaultdict(dict)
    for row in visible(run, CLICKS):
        watch = -1.0 if row["watch_seconds"] is None else row["watch_seconds"]
        entry, entries = (microseconds(row), watch), by_user[row["user_id"]]
        entries[row["video_id"]] = max(entry, entries.get(row["video_id"], entry))
    rows = {}
    for user, entries in by_user.items():
        newest = sorted(((us, video, w) for video, (us, w) in entries.items()), reverse=True)
        newest = newest[: run.settings.recall.recent_clicks]
        rows[user] = {
            "recent_video_ids": [video for _, video, _ in newest],
            "recent_times": [us for us, *_ in newest],
            "recent_watch_seconds": [watch for *_, watch in newest],
        }
    return rows


def recent_skips(run: Run) -> dict[str, dict]:
    """Rows of user_recent_skips."""
    clicked = {row["event_id"] for row in visible(run, CLICKS)}
    by_user = defaultdict(list)
    for row in visible(run, IMPRESSIONS):
        if row["event_id"] not in clicked:
            position = -1 if row["position"] is None else row["position"]
            by_user[row["user_id"]].append((microseconds(row), row["video_id"], position))
    rows = {}
    for user, entries in by_user.items():
        newest = sorted(entries, reverse=True)[: run.settings.recall.recent_clicks]
        rows[user] = {
            "skipped_video_ids": [video for _, video, _ in newest],
            "skipped_times": [us for us, *_ in newest],
            "skipped_positions": [position for *_, position in newest],
        }
    return rows
