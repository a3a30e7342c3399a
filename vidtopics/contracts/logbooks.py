"""What was released, what was loaded, and which events were refused."""

from __future__ import annotations

from vidtopics.contracts.table import Column, Table

RELEASES = Table(
    "releases",
    "log",
    ("release_id", "state"),
    engine="deltalake",
    doc="which versions of the tables belong together, and what became of each release",
    columns=(
        Column("release_id", "int64", "1, 2, 3, ..."),
        Column("state", "string", "candidate, released, rejected or rolled_back"),
        Column("as_of", "timestamp", "the run's as-of time"),
        Column("versions", "map<string,int64>", "Delta version of every table"),
        Column(
            "topic_epoch", "int64", "epoch of topics and video_topics; 0 before the first topics"
        ),
        Column("settings_hash", "string", "hash of the run's settings"),
        Column("quality", "map<string,float64>", "figures of the run's jobs, where they changed"),
        Column("figures", "map<string,float64>", "what the gates measured"),
        Column("verdicts", "map<string,string>", "what the gates said: ok, warn, block, allowed"),
        Column("by", "string", "who did it: user and host"),
        Column("why", "string", "the reason, where somebody gave one; empty otherwise"),
    ),
)

LOADS = Table(
    "loads",
    "log",
    ("release_id", "store", "load", "live_from"),
    engine="deltalake",
    doc="when each release went live in each online store",
    columns=(
        Column("release_id", "int64", "the release"),
        Column("store", "string", "address without password, and prefix"),
        Column("load", "int64", "number of the load under that prefix"),
        Column("live_from", "timestamp", "from when readers of the store see the release"),
    ),
)

DEAD_EVENTS = Table(
    "dead_events",
    "log",
    ("entry",),
    engine="deltalake",
    doc="events that were refused on their way into Redis, or from there into the log",
    columns=(
        Column("entry", "string", "stream and number of its entry in Redis"),
        Column("reason", "string", "why it was refused, one of the documented reasons"),
        Column("detail", "string", "what was expected and what was found"),
        Column("event", "string", "the event as JSON, 4,096 characters at most"),
    ),
)
