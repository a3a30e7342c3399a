"""A recommendation with titles and topic labels, as a report and on a terminal.

Features come from Redis, names from the tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from consumers.recommendation import Recommendation, Recommended
    from vidtopics.contracts import Table
    from vidtopics.settings import Settings
    from vidtopics.tables import Tables


def report(
    home: Path,
    settings: Settings,
    user_id: str,
    *,
    top: int,
    embedded: bool = False,
    log: Path | None = None,
) -> dict[str, Any]:
    """Recall and rank with the home's Redis and ranking model; plain values for JSON.

    With `log` the request is added to that file.

    Raises:
        StoreError: Redis can't be reached, or nothing was materialised.
        TableError: no ranking model was trained.
    """
    from consumers.live import LiveRules, LiveStore, ReleaseAlone
    from consumers.parity import request_log
    from consumers.parity.requests import Logged
    from consumers.ranking.serve import Ranker
    from consumers.recommendation import answer, best_of
    from consumers.retrieval import Recall
    from vidtopics.cli import stores
    from vidtopics.server import url_of
    from vidtopics.tables import Tables
    from vidtopics.tables.stamps import now_us

    tables = Tables(home)
    ranker = Ranker.load(tables.home / "models" / "ranking")
    url = url_of(home, embedded=embedded)
    with stores.reaching(url):
        client = stores.client(url, settings.online.prefix)
        rules = LiveRules.of(settings) if settings.recall.live else None
        store = LiveStore(client, rules) if rules else ReleaseAlone(client)
        answered = answer(Recall(store, settings.recall), ranker, user_id)
    if log:
        request_log.append(log, Logged.of(answered, now_us()))
    return named(tables, best_of(answered, answered.scores, top=top))


def active_user(tables: Tables) -> str:
    """The user with the most recent clicks, of equals the first in byte order.

    Raises:
        TableError: nobody clicked.
    """
    from vidtopics.contracts import USER_RECENT_CLICKS
    from vidtopics.errors import TableError, explain
    from vidtopics.tables import FOREVER

    rows = tables.as_of(USER_RECENT_CLICKS, FOREVER).to_pylist()
    if not rows:
        raise TableError(
            explain(
                "user_recent_clicks",
                expected="users with clicks",
                found="none",
                mend="ingest impressions with clicks",
            )
        )
    return str(min((-len(row["recent_video_ids"]), row["user_id"]) for row in rows)[1])


def named(tables: Tables, recommendation: Recommendation) -> dict[str, Any]:
    """The recommendation with what the tables say of its videos and topics."""
    from consumers.recommendation import report_of
    from vidtopics.contracts import PARENT, TOPIC, TOPICS, VIDEO_CATALOG

    reasons = [v.reason for v in recommendation.videos]
    titles = _latest(
        tables, VIDEO_CATALOG, "video_id", "title", [v.video_id for v in recommendation.videos]
    )
    terms = {
        TOPIC: ("topic_id", "label_terms"),
        PARENT: ("parent_topic_id", "parent_label_terms"),
    }
    labels = {
        level: _latest(tables, TOPICS, *columns, [r.topic_id for r in reasons if r.level == level])
        for level, columns in terms.items()
    }
    videos = [
        _row(rank, video, titles.get(video.video_id), labels, recommendation.popular)
        for rank, video in enumerate(recommendation.videos, 1)
    ]
    return report_of(recommendation, videos)


def _row(
    rank: int,
    video: Recommended,
    title: str | None,
    labels: Mapping[str, Mapping[int, list[str]]],
    popular: str,
) -> dict[str, Any]:
    from consumers.recommendation import row_of

    terms = labels.get(video.reason.level, {}).get(video.reason.topic_id) or []
    head = {"rank": rank, "video_id": video.video_id, "title": title or ""}
    return head | row_of(rank, video, terms, popular)


def show(report: Mapping[str, Any]) -> None:
    """Prints the report."""
    from rich.table import Column, Table

    from consumers.recommendation import in_words
    from vidtopics.cli.show import as_text, out
    from vidtopics.times import moment

    source = (
        f"popular topic groups ({report['popular']})"
        if report["popular"]
        else in_words(report["clicks"], "recent click")
    )
    counts = f"{len(report['videos'])} of {in_words(report['candidates'], 'candidate')}"
    head = f"{counts} for user {report['user_id']}, recalled from {source}"
    out.print(as_text(head))
    if live := report["live"]:
        events = f"{in_words(live['exposures'], 'impression')}, {in_words(live['clicks'], 'click')}"
        if live["damaged"]:
            events = "none of the user's, as their live value in Redis is damaged"
        out.print(as_text(f"With events since {moment(live['since_us'])}: {events}"))
    table = Table(
        Column("", justify="right"),
        "video",
        "title",
        Column("score", justify="right"),
        "reason",
        box=None,
    )
    for v in report["videos"]:
        table.add_row(
            str(v["rank"]),
            *map(as_text, (v["video_id"], v["title"], f"{v['score']:.3f}", v["reason"])),
        )
    if report["videos"]:
        out.print(table)
    for what, causes in report["left_out"].items():
        if causes:
            counts = ", ".join(f"{n} {cause}" for cause, n in causes.items())
            out.print(as_text(f"Left out of {what}: {counts}"))


def _latest(tables: Tables, table: Table, key: str, column: str, keys: list[Any]) -> dict[Any, Any]:
    """The latest value of one column of a history table, for some values of another."""
    import pyarrow.dataset as ds

    from vidtopics.contracts import CREATED_TIME, EVENT_TIME

    names = [key, column, EVENT_TIME, CREATED_TIME]
    rows = tables.read(table, columns=names, where=ds.field(key).isin(keys))
    rows = rows.sort_by([(EVENT_TIME, "ascending"), (CREATED_TIME, "ascending")])
    return dict(zip(rows[key].to_pylist(), rows[column].to_pylist(), strict=True))
