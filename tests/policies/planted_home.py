"""A home of a small simulated world whose learned topics are the planted ones, without Spark."""

import numpy as np
import pyarrow as pa

from benchmarks.homes import publish, release_tables
from consumers.ranking.home import train_ranking
from vidtopics.cli import homes
from vidtopics.contracts import (
    CLICKS,
    IMPRESSIONS,
    TOPICS,
    VIDEO_CATALOG,
    VIDEO_CONTENT_ENCODING,
    VIDEO_JOINT_REPRESENTATION,
    VIDEO_TOPICS,
)
from vidtopics.settings import parse
from vidtopics.simulation import World
from vidtopics.simulation.identifiers import numbered
from vidtopics.simulation.items import start_of
from vidtopics.simulation.loop import simulate
from vidtopics.tables import Commit, Tables
from vidtopics.tables.schemas import arrow_schema

EPOCH = 4
SETTINGS = parse(
    {
        "simulation": {
            "users": 300,
            "videos": 240,
            "days": 6,
            "topics": 12,
            "tags": 200,
            "primary_classes": 3,
            "secondary_classes": 6,
        },
        "ranking": {"history": 30, "hidden": [8], "embedding_width": 4, "epochs": 3},
    },
    where="test",
)


def make_home(folder):
    """The log of the world, topics and vectors of its first videos, and a trained ranker."""
    world, tables = World.build(SETTINGS.simulation, SETTINGS.seed), Tables(folder)
    tables.home.mkdir()
    homes.keep(tables.home, SETTINGS)
    before_us = start_of(SETTINGS.simulation) - 1
    shown, clicked = log_of(world)
    for table, rows in ((IMPRESSIONS, shown), (CLICKS, clicked)):
        end = max(row["event_timestamp"] for row in rows)
        log = pa.Table.from_pylist(rows, arrow_schema(table))
        tables.publish(table, log, Commit("ingest", end, end, live=True))
    items, classes = world.items, world.classes
    videos = numbered("v", np.arange(240), 240).to_pylist()
    topics, catalogue, joint, encodings = [], [], [], []
    for video, topic, sem in zip(videos, items.topic.tolist(), items.sem.tolist(), strict=True):
        # Topic ids are not those of the world: 100 more, backwards.
        topics.append(
            {
                "video_id": video,
                "topic_ids": [111 - topic] + [-1] * 7,
                "topic_weights": [1.0] + [0.0] * 7,
                "below_threshold": False,
                "parent_topic_ids": [int(classes.primary[topic]) + 1] + [-1] * 7,
                "topic_count": 1,
                "topic_epoch": EPOCH,
            }
        )
        catalogue.append(
            {
                "video_id": video,
                "title": video,
                "cover": "",
                "primary_classes": [],
                "secondary_classes": [],
                "published_at": before_us,
                "removed_at": None,
                "content_hash": video,
            }
        )
        joint.append(
            {"video_id": video, "joint_embedding": sem, "content_blocks": 3, "encoder_version": "e"}
        )
        encodings.append(
            {
                "content_hash": video,
                "encoder": "e",
                "image_encoding": sem,
                "title_encoding": sem,
                "has_image": True,
                "has_title": True,
            }
        )
    centres = [
        {
            "topic_id": 111 - topic,
            "centroid": centre,
            "size": 9,
            "label_terms": [],
            "topic_epoch": EPOCH,
            "born": 0,
            "parent_topic_id": int(classes.primary[topic]) + 1,
        }
        for topic, centre in enumerate(classes.centres.tolist())
    ]
    for table, rows in (
        (VIDEO_TOPICS, topics),
        (VIDEO_CATALOG, catalogue),
        (TOPICS, centres),
        (VIDEO_JOINT_REPRESENTATION, joint),
        (VIDEO_CONTENT_ENCODING, encodings),
    ):
        put(tables, table, rows, before_us)
    release_tables(tables, as_of_us=before_us, quality={"topic_epoch": EPOCH})
    train_ranking(tables, SETTINGS)
    return tables


def put(tables, table, rows, at_us):
    """Rows known from a time on."""
    schema = arrow_schema(table)
    blank = dict.fromkeys(schema.names)
    times = {"event_timestamp": at_us, "created_timestamp": at_us, "value_hash": 1}
    filled = [blank | {k: v for k, v in times.items() if k in blank} | row for row in rows]
    publish(tables, table, pa.Table.from_pylist(filled, schema))


def log_of(world):
    shown, clicked = [], []
    for part in simulate(world):
        answers = part.responses
        for i, user in enumerate(part.users.tolist()):
            for k, video in enumerate(part.slates[i].tolist()):
                at = int(answers.shown_at[i, k])
                row = {
                    "event_id": f"e{len(shown):07d}",
                    "user_id": f"u{user:07d}",
                    "video_id": f"v{video:07d}",
                    "position": k + 1,
                    "watch_seconds": None,
                    "request_id": f"{user}/{part.day}/{part.refresh}",
                }
                shown.append(row | {"event_timestamp": at, "created_timestamp": at})
                if answers.clicked[i, k]:
                    at = int(answers.clicked_at[i, k])
                    clicked.append(row | {"event_timestamp": at, "created_timestamp": at})
    return shown, clicked
