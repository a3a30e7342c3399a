"""The engines that answer a point-in-time question, as `engine(tables, world, known_by)`.

Each gives the features of every spine row, in the spine's order.
"""

import numpy as np
import pyarrow as pa
from contract_worlds import PAIRS, TTL, VIDEOS, VIEWS, features, spine_table, view_table

from consumers.training import join_stream
from vidtopics.contracts import CREATED_TIME, EVENT_TIME
from vidtopics.joins import matches

NAMES = [c.name for view in VIEWS for c in view.values]


def kernel(tables, world, known_by):
    spine = spine_table(world)
    at = micros(spine, EVENT_TIME)
    features_by_view = []
    for view, rows, ttl in ((VIDEOS, world.videos, 0), (PAIRS, world.pairs, TTL)):
        held = view_table(view, rows)
        row = matches(
            spine.select(list(view.key)),
            at,
            held,
            micros(held, EVENT_TIME),
            micros(held, CREATED_TIME),
            known_by=at if known_by else None,
            ttl_us=ttl,
        )
        features_by_view.append([features(view, rows[i].value if i >= 0 else None) for i in row])
    return [a | b for a, b in zip(*features_by_view, strict=True)]


def stream(tables, world, known_by):
    """In batches of three and chunks of four."""
    spine = spine_table(world)
    batches = pa.RecordBatchReader.from_batches(spine.schema, spine.to_batches(max_chunksize=3))
    return plain(
        join_stream(tables, batches, VIEWS, known_by=known_by, chunk_rows=4).read_all(), spine
    )


def feast(tables, world, known_by):
    spine = spine_table(world)
    frame = spine.to_pandas(types_mapper={pa.int64(): _int64()}.get)
    refs = [f"{view.name}:{c.name}" for view in VIEWS for c in view.values]
    job = feast_store(tables).get_historical_features(
        frame, refs, filter_by_created_timestamp=known_by
    )
    return plain(job.to_arrow(), spine)


def feast_store(tables):
    """A project over the two tables, applied once."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.data_format import DeltaFormat
    from feast.types import Array, Float32, Float64, Int64, String

    config = RepoConfig(
        project="contract",
        provider="local",
        registry=str(tables.home / "registry.db"),
        entity_key_serialization_version=3,
        offline_store={
            "type": "vidtopics.stores.delta.DeltaOfflineStore",
            "root": str(tables.home / "tables"),
        },
        online_store=None,
    )
    store = FeatureStore(config=config)
    if store.list_feature_views():
        return store
    kinds = {
        "string": String,
        "int64": Int64,
        "float64": Float64,
        "list<int64>": Array(Int64),
        "list<float32>": Array(Float32),
    }
    types = {"string": ValueType.STRING, "int64": ValueType.INT64}
    keys = {c.name: c for view in VIEWS for c in view.columns if c.name in view.key}
    entities = {
        name: Entity(name=name, join_keys=[name], value_type=types[c.type])
        for name, c in keys.items()
    }
    views = [
        FeatureView(
            name=view.name,
            entities=[entities[k] for k in view.key],
            ttl=view.view.ttl,
            schema=[Field(name=c.name, dtype=kinds[c.type]) for c in view.columns],
            source=FileSource(
                path=view.name,
                file_format=DeltaFormat(),
                timestamp_field=EVENT_TIME,
                created_timestamp_column=CREATED_TIME,
            ),
        )
        for view in VIEWS
    ]
    store.apply([*entities.values(), *views])
    return store


def spark(tables, world, known_by):
    from spark_jobs.training_set import join, read
    from vidtopics.jobs.session import session

    engine = session("contract")
    spine = spine_table(world)
    views = [(view, read(engine, tables.delta(view))) for view in VIEWS]
    return plain(
        join(engine.createDataFrame(spine), views, known_by=known_by).toArrow().sort_by("row_no"),
        spine,
    )


ENGINES = {"kernel": kernel, "stream": stream, "feast": feast, "spark": spark}


def plain(joined, spine):
    """The features of each row; the rows must be the spine's, one for one and in order."""
    assert joined["row_no"].to_pylist() == spine["row_no"].to_pylist()
    assert micros(joined, EVENT_TIME).tolist() == micros(spine, EVENT_TIME).tolist()
    assert joined["video_id"].to_pylist() == spine["video_id"].to_pylist()
    return joined.select(NAMES).to_pylist()


def micros(table, name):
    return table[name].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy().astype(np.int64)


def _int64():
    import pandas as pd

    return pd.Int64Dtype()
