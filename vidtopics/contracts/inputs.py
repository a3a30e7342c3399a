"""What deliveries bring: catalogue, tags, impressions and clicks; and their refused rows."""

from __future__ import annotations

from vidtopics.contracts.table import USER_ID, VIDEO_ID, Column, Table

VIDEO_CATALOG = Table(
    "video_catalog",
    "history",
    ("video_id",),
    engine="deltalake",
    doc="every video as its source describes it",
    columns=(
        VIDEO_ID,
        Column("title", "string", "the title; empty if there is none"),
        Column("cover", "string", "absolute path of the cover image; empty if there is none"),
        Column("primary_classes", "list<string>", "coarse classes (paper: 50)"),
        Column("secondary_classes", "list<string>", "fine classes (paper: 367)"),
        Column("published_at", "timestamp", "when the video was published"),
        Column("removed_at", "timestamp", "when it was taken down", optional=True),
        Column("content_hash", "string", "hash of cover bytes and title: what the encoders see"),
    ),
)

VIDEO_TAGS = Table(
    "video_tags",
    "history",
    ("video_id", "tag"),
    engine="deltalake",
    doc="which tags each video has",
    columns=(
        VIDEO_ID,
        Column("tag", "string", "the tag, folded: spellings of one tag are equal"),
        Column("spelling", "string", "the tag as it was first delivered, for display"),
        Column("source", "string", "catalogue: listed with the video; tags: from the tags file"),
    ),
    provenance=("spelling",),
)

IMPRESSIONS = Table(
    "impressions",
    "log",
    ("event_id",),
    engine="deltalake",
    by_day=True,
    doc="videos shown to users",
    columns=(
        Column("event_id", "string", "the impression"),
        USER_ID,
        VIDEO_ID,
        Column(
            "request_id", "string", "the refresh that the impression was part of", optional=True
        ),
        Column("position", "int32", "rank in the refresh, first is 1", optional=True),
    ),
)

CLICKS = Table(
    "clicks",
    "log",
    ("event_id",),
    engine="deltalake",
    by_day=True,
    doc="clicks, each on one impression; the event time is the click's",
    columns=(
        Column("event_id", "string", "the impression that was clicked"),
        USER_ID,
        VIDEO_ID,
        Column("watch_seconds", "float32", "watch time", unit="s", optional=True),
    ),
)


def rejected(table: Table) -> Table:
    """The contract of a table's refused input rows (`<table>_rejected`).

    >>> rejected(IMPRESSIONS).name
    'impressions_rejected'
    """
    return Table(
        f"{table.name}_rejected",
        "log",
        ("file_hash", "row", "reason"),
        engine="deltalake",
        doc=f"rows refused on their way into {table.name}",
        columns=(
            Column("file_hash", "string", "hash of the file that was delivered"),
            Column(
                "row", "int64", "row in the file, the first after the header is 1; 0 means the file"
            ),
            Column("reason", "string", "why it was refused, one of the documented reasons"),
            Column("file", "string", "name of the file"),
            Column("detail", "string", "column, what was expected and what was found"),
        ),
    )
