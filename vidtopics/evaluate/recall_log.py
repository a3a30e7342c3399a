"""The log of impressions as arrays, and what of it was known at a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vidtopics.contracts import CLICKS, CREATED_TIME, EVENT_TIME, IMPRESSIONS
from vidtopics.tables import FOREVER, Tables

_LOG = f"""
WITH c AS (
  SELECT event_id, epoch_us(min({EVENT_TIME})) AS click_us,
    greatest(epoch_us(min({EVENT_TIME})) + 1, epoch_us(min({CREATED_TIME}))) AS click_known_us
  FROM clicks GROUP BY event_id)
SELECT user_id, video_id, epoch_us({EVENT_TIME}) AS shown_us,
  greatest(epoch_us({EVENT_TIME}) + 1, epoch_us({CREATED_TIME})) AS known_us,
  coalesce(click_us, {FOREVER}) AS click_us, coalesce(click_known_us, {FOREVER}) AS click_known_us
FROM impressions LEFT JOIN c USING (event_id) ORDER BY shown_us, event_id"""


@dataclass(frozen=True, eq=False)
class Log:
    """N impressions by time; users and videos are places in `user_ids` and `video_ids`.

    Attributes:
        user_ids, video_ids: the names.
        user, video: int64[N].
        shown_us: int64[N], when; `known_us` from when that was known.
        click_us: int64[N], when it was clicked, FOREVER: never; `click_known_us` likewise.
    """

    user_ids: pa.Array
    video_ids: pa.Array
    user: NDArray[np.int64]
    video: NDArray[np.int64]
    shown_us: NDArray[np.int64]
    known_us: NDArray[np.int64]
    click_us: NDArray[np.int64]
    click_known_us: NDArray[np.int64]

    @classmethod
    def read(cls, tables: Tables, video_ids: pa.Array) -> Log:
        """The whole log of the videos that the catalogue ever named."""
        with duckdb.connect() as con:
            con.register("impressions", tables.read(IMPRESSIONS))
            con.register(
                "clicks", tables.read(CLICKS, columns=["event_id", EVENT_TIME, CREATED_TIME])
            )
            rows = con.sql(_LOG).to_arrow_table().combine_chunks()
        users = rows["user_id"].combine_chunks().dictionary_encode()
        videos = pa.compute.index_in(rows["video_id"], value_set=video_ids)
        known = videos.is_valid().to_numpy()
        times = ("shown_us", "known_us", "click_us", "click_known_us")
        return cls(
            users.dictionary,
            video_ids,
            users.indices.to_numpy().astype(np.int64)[known],
            videos.drop_null().to_numpy().astype(np.int64),
            *(rows[name].to_numpy()[known] for name in times),
        )

    def before(self, at_us: int) -> NDArray[np.int64]:
        """Places of the impressions that were known at a time."""
        return np.flatnonzero(self.known_us <= at_us)

    def clicked(self, rows: NDArray[np.int64], at_us: int) -> NDArray[np.bool_]:
        """Of some impressions, whether a click was known at a time."""
        return self.click_known_us[rows] <= at_us


@dataclass(frozen=True, eq=False)
class Known:
    """What was known of users and videos at a time.

    Attributes:
        exposures, clicks: int64[V].
        rows: places in the log, ascending by user and then by time.
        is_clicked: bool of those.
        first: int64[U + 1], where each user's rows begin.
    """

    log: Log
    at_us: int
    exposures: NDArray[np.int64]
    clicks: NDArray[np.int64]
    rows: NDArray[np.int64]
    is_clicked: NDArray[np.bool_]
    first: NDArray[np.int64]

    @classmethod
    def of(cls, log: Log, at_us: int) -> Known:
        """By replay of the log."""
        rows = log.before(at_us)
        rows = rows[np.argsort(log.user[rows], kind="stable")]
        is_clicked = log.clicked(rows, at_us)
        count = len(log.video_ids)
        return cls(
            log,
            at_us,
            np.bincount(log.video[rows], minlength=count),
            np.bincount(log.video[rows[is_clicked]], minlength=count),
            rows,
            is_clicked,
            np.searchsorted(log.user[rows], np.arange(len(log.user_ids) + 1)),
        )

    def statistics(self, half_life: timedelta) -> pa.Table:
        """What `video_statistics` says as of the time, decayed to it."""
        log, clicked = self.log, self.rows[self.is_clicked]
        events = ((self.rows, log.shown_us), (clicked, log.click_us))
        half_us = half_life / timedelta(microseconds=1)
        exposures, clicks = (
            np.bincount(
                log.video[rows], 0.5 ** ((self.at_us - us[rows]) / half_us), len(log.video_ids)
            )
            for rows, us in events
        )
        columns = {
            "video_id": log.video_ids,
            "video_exposures": self.exposures,
            "video_clicks": self.clicks,
            "video_decayed_exposures": exposures,
            "video_decayed_clicks": clicks,
            "video_decayed_at": np.full(len(log.video_ids), self.at_us),
        }
        return pa.table(columns)

    def recent(self, user: int, number: int, *, clicked: bool) -> list[int]:
        """The user's newest clicked videos, each once at its last click; or the newest skips."""
        own = slice(self.first[user], self.first[user + 1])
        rows = self.rows[own][self.is_clicked[own] == clicked]
        times = (self.log.click_us if clicked else self.log.shown_us)[rows]
        newest = self.log.video[rows[np.argsort(times, kind="stable")]][::-1].tolist()
        return list(dict.fromkeys(newest))[:number] if clicked else newest[:number]

    def ever_clicked(self, user: int) -> set[int]:
        """All videos that the user is known to have clicked."""
        own = slice(self.first[user], self.first[user + 1])
        return set(self.log.video[self.rows[own][self.is_clicked[own]]].tolist())
