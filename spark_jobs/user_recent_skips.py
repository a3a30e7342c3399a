"""user_recent_skips: the newest N_1 impressions of each user that no click is known of."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from vidtopics.contracts import CLICKS, EVENT_TIME, IMPRESSIONS, USER_RECENT_SKIPS
from vidtopics.jobs.checks import require_live_videos
from vidtopics.jobs.increments import NO_ROW, Plan, plan
from vidtopics.jobs.job import Job, Run, main
from vidtopics.jobs.sql import Engine, Item, on_duckdb, on_spark
from vidtopics.jobs.user_events import name_new_events, since

LISTS = {"video_id": "skipped_video_ids", "us": "skipped_times", "position": "skipped_positions"}
ITEMS: Mapping[str, Item] = {"video_id": "STRING", "us": "BIGINT", "position": "BIGINT"}
COLUMNS = (
    f"i.event_id, i.user_id, i.video_id, unix_micros(i.{EVENT_TIME}) AS us,"
    " CAST(COALESCE(i.position, -1) AS BIGINT) AS position"
)
SAME = "PARTITION BY user_id, video_id, us, position ORDER BY us"
NEW_SKIPS = f"""
SELECT {COLUMNS} FROM {{new_impressions}} i LEFT JOIN {{clicks_since}} c ON i.event_id = c.event_id
WHERE c.event_id IS NULL
"""
CLICKED_LATER = f"""
SELECT {COLUMNS}
FROM {{older_impressions}} i JOIN {{new_clicks}} c ON i.event_id = c.event_id
"""
# An impression is told from its list by user, video, time and position: what is alike is one of a
# number, of which as many go as were clicked.
REMAINING = f"""
SELECT a.user_id, a.video_id, a.us, a.position
FROM (SELECT *, ROW_NUMBER() OVER ({SAME}) AS copy FROM {{base_rows}}) a
LEFT JOIN (SELECT *, ROW_NUMBER() OVER ({SAME}) AS copy FROM {{clicked_later}}) b
  ON a.user_id = b.user_id AND a.video_id = b.video_id AND a.us = b.us
  AND a.position = b.position AND a.copy = b.copy
WHERE b.user_id IS NULL
"""
# What lay behind a full list isn't known: where an impression of it was clicked, and too few newer
# than its last one are left, the user's list is made anew.
INCOMPLETE = """
SELECT f.user_id
FROM (SELECT user_id, MIN(us) AS last_us FROM {base_rows} GROUP BY user_id
  HAVING COUNT(*) >= %(limit)d) f
JOIN (SELECT DISTINCT user_id FROM {clicked_later}) c ON f.user_id = c.user_id
LEFT JOIN (SELECT user_id, us FROM {remaining} UNION ALL SELECT user_id, us FROM {new_skips}) s
  ON s.user_id = f.user_id AND s.us > f.last_us
GROUP BY f.user_id HAVING COUNT(s.us) < %(limit)d
"""
ANEW = f"""
SELECT i.user_id, i.video_id, unix_micros(i.{EVENT_TIME}) AS us,
  CAST(COALESCE(i.position, -1) AS BIGINT) AS position
FROM {{seen_impressions}} i JOIN {{incomplete}} u ON i.user_id = u.user_id
LEFT JOIN {{seen_clicks}} c ON i.event_id = c.event_id WHERE c.event_id IS NULL
"""
ENTRIES = """
SELECT e.user_id, video_id, us, position
FROM (SELECT user_id, video_id, us, position FROM {remaining}
  UNION ALL SELECT user_id, video_id, us, position FROM {new_skips}) e
LEFT JOIN {incomplete} u ON e.user_id = u.user_id WHERE u.user_id IS NULL
UNION ALL SELECT user_id, video_id, us, position FROM {anew}
"""
PLACED = """
SELECT *, ROW_NUMBER() OVER (
  PARTITION BY user_id ORDER BY us DESC, video_id DESC, position DESC) AS place FROM {entries}
"""


def build(run: Run, engine: Engine) -> tuple[str, Mapping[str, float | str]]:
    """Put new impressions before the earlier list, and take out what was clicked since."""
    limit = run.settings.recall.recent_clicks
    chosen = plan(run, JOB, IMPRESSIONS, CLICKS)
    name_new_events(engine, chosen)
    engine.base("base", USER_RECENT_SKIPS, chosen, of="SELECT user_id FROM {changed}")
    engine.view("base_rows", engine.as_rows("base", "user_id", LISTS), reused=True)
    _name_clicked(engine, chosen)
    engine.view("remaining", REMAINING)
    engine.view("incomplete", INCOMPLETE % {"limit": limit}, reused=True)
    is_any = engine.value("SELECT COUNT(*) FROM {incomplete}") > 0
    for log in (IMPRESSIONS, CLICKS):  # read only where a list is to be made anew
        engine.log(
            f"seen_{log.name}", log, chosen.seen, chosen.seen.rows(log) if is_any else NO_ROW
        )
    engine.view("anew", ANEW)
    engine.view("entries", ENTRIES)
    engine.view("placed", PLACED)
    lists = ", ".join(f"{engine.in_order(c, ITEMS[c])} AS {name}" for c, name in LISTS.items())
    rows = f"""
    SELECT user_id, {lists} FROM {{placed}} WHERE place <= {limit} GROUP BY user_id
    """
    return rows, chosen.facts


def _name_clicked(engine: Engine, chosen: Plan) -> None:
    """Name `new_skips`, and `clicked_later`: impressions of the earlier run that were clicked.

    A click is no earlier than its impression, so the logs are read from the first that counts: the
    first new impression, and the oldest one in the list of a user and video with a new click.
    """
    first_new = engine.value(f"SELECT MIN(unix_micros({EVENT_TIME})) FROM {{new_impressions}}")
    clicks = since(chosen.seen, CLICKS, first_new)
    engine.log("clicks_since", CLICKS, chosen.seen, clicks)
    oldest = engine.value(
        "SELECT MIN(b.us) FROM {base_rows} b"
        " JOIN {new_clicks} c ON b.user_id = c.user_id AND b.video_id = c.video_id"
    )
    older = since(chosen.seen, IMPRESSIONS, oldest)
    if chosen.base_seen is not None:
        older &= ~chosen.base_seen.later_rows(IMPRESSIONS)
    engine.log("older_impressions", IMPRESSIONS, chosen.seen, older)
    engine.view("new_skips", NEW_SKIPS, reused=True)
    engine.view("clicked_later", CLICKED_LATER, reused=True)


JOB = Job(
    USER_RECENT_SKIPS,
    inputs=(IMPRESSIONS, CLICKS),
    compute=partial(on_duckdb, build=build),
    distribute=partial(on_spark, build=build),
    settings=lambda s: s.recall.recent_clicks,
    code=(
        "spark_jobs.user_recent_skips",
        "vidtopics.jobs.increments",
        "vidtopics.jobs.sql",
        "vidtopics.jobs.user_events",
    ),
    check=require_live_videos,
    empty="no impression without a click",
)

if __name__ == "__main__":
    main(JOB)
