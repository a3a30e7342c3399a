"""What topic queues are made of: every live video with its topics, counts, rate and age."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa

from vidtopics.rates import Prior, halved, smoothed_ctr
from vidtopics.settings import QueueSettings, StatisticsSettings
from vidtopics.tables.scratch import scratch

CLICKS, EXPOSURES = "video_clicks", "video_exposures"
VIDEOS = """
SELECT video_id, coalesce(topic_ids, []) AS topic_ids,
  coalesce(parent_topic_ids, []) AS parent_topic_ids, epoch.topic_epoch,
  coalesce(video_exposures, 0) AS video_exposures, coalesce(video_clicks, 0) AS video_clicks,
  coalesce({decayed_clicks}, 0) AS decayed_clicks,
  coalesce(epoch_us(published_at) > $youngest_us, false) AS young
FROM live CROSS JOIN (SELECT max(topic_epoch) AS topic_epoch FROM topics) epoch
LEFT JOIN topics USING (video_id, topic_epoch)  -- queues never mix epochs
LEFT JOIN statistics USING (video_id)
WHERE epoch.topic_epoch IS NOT NULL ORDER BY video_id
"""


def decayed_clicks(as_of_us: int, half_life: timedelta) -> str:
    """SQL for a video's decayed clicks as of a time; null where it was never shown."""
    return f"video_decayed_clicks * {halved('video_decayed_at', str(as_of_us), half_life)}"


def queue_videos(
    live: pa.Table,
    topics: pa.Table,
    statistics: pa.Table,
    settings: QueueSettings,
    rates: StatisticsSettings,
    *,
    as_of_us: int,
) -> tuple[pa.Table, Prior]:
    """The videos, as :func:`producers.queues.rules.queues` takes them, and their rates' prior.

    The prior is that of all videos with statistics: equal counts make equal queues. A video without
    topics of the newest epoch is in the catalogue's queue alone. Without any topic there are none.

    Args:
        live: video_id, published_at of the videos that are not taken down.
        topics: video_id, topic_ids, parent_topic_ids, topic_epoch.
        statistics: as the table of that name.
        settings: `fresh_age` says who is young.
        rates: weight of the prior; half-life, by which clicks are decayed to `as_of_us`.
        as_of_us: to when ages are taken.
    """
    total = {name: int(np.sum(statistics[name].to_numpy())) for name in (CLICKS, EXPOSURES)}
    prior = Prior.of_totals(total[CLICKS], total[EXPOSURES], exposures=rates.prior_exposures)
    with scratch() as con:
        for name, table in (("live", live), ("topics", topics), ("statistics", statistics)):
            con.register(name, table)
        youngest = as_of_us - settings.fresh_age // timedelta(microseconds=1)
        query = VIDEOS.format(decayed_clicks=decayed_clicks(as_of_us, rates.half_life))
        videos = con.sql(query, params={"youngest_us": youngest}).to_arrow_table().combine_chunks()
    clicks, exposures = (videos[name].to_numpy().astype(float) for name in (CLICKS, EXPOSURES))
    rates = smoothed_ctr(clicks, exposures, prior)
    return videos.append_column("video_ctr", pa.array(rates)), prior
