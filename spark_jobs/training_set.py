"""The training set of a spine that is too large for one machine, as a Delta table.

Feature rows and spine rows of a key lie in one window, each at the time from which it is seen; the
latest (event, created) so far is a running maximum. One shuffle, no join, and a spine row can be
neither lost nor doubled (docs/adr/0017).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, cast

import numpy as np
import pandas as pd
from deltalake import DeltaTable
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import pandas_udf

from vidtopics.contracts import CREATED_TIME, EVENT_TIME, SERVICES, Table
from vidtopics.errors import TableError, explain
from vidtopics.jobs.place import home_folder
from vidtopics.jobs.session import session
from vidtopics.joins.serving import NEVER_US, Serving
from vidtopics.paths import is_url, to_spark, to_uri
from vidtopics.releases.served import ANY, servings
from vidtopics.tables import Tables
from vidtopics.tables.joined import check_columns, output_name, rules_of, ttl_us
from vidtopics.tables.pins import METADATA as PINS
from vidtopics.tables.pins import Pin, Pins
from vidtopics.tables.spark_reader import read
from vidtopics.tables.spark_writer import create
from vidtopics.tables.whole import whole

Rows = tuple[Table, DataFrame]
ROW, SINCE, IS_SPINE = "_row", "_since_us", "_is_spine"
STRETCH, SERVED = "_stretch", "_served_us"


def join(
    spine: DataFrame,
    views: Sequence[Rows],
    *,
    known_by: bool = True,
    served: Mapping[str, Serving] | None = None,
    full_feature_names: bool = False,
) -> DataFrame:
    """The spine's rows, one for one and in no order, with the views' features.

    The rules are those of `consumers.training.join_stream`.

    Args:
        spine: the views' keys, `event_timestamp`, and any further columns.
        views: each view's contract and rows, all that it ever had.
        known_by: rows that became known after the spine's time don't exist.
        served: a row is known while a release that has it was live; as
            :func:`vidtopics.releases.served.servings` gives it.
        full_feature_names: `video_topics__topic_ids` for `topic_ids`.

    Raises:
        TableError: the spine lacks a column, names collide, or times are no timestamps.
    """
    contracts = [view for view, _ in views]
    check_columns(spine.columns, contracts, full=full_feature_names)
    joined = spine
    for key in dict.fromkeys(view.key for view in contracts):
        alike = [(view, rows) for view, rows in views if view.key == key]  # they share the shuffle
        joined = _join_views_of_key(joined, alike, key, known_by, served or {}, full_feature_names)
    names = [
        output_name(view, c.name, full=full_feature_names)
        for view in contracts
        for c in view.values
    ]
    return joined.select(*(F.col(f"`{name}`") for name in (*spine.columns, *names)))


def _join_views_of_key(
    spine: DataFrame,
    views: Sequence[Rows],
    key: tuple[str, ...],
    known_by: bool,
    served: Mapping[str, Serving],
    full_names: bool,
) -> DataFrame:
    """The spine with the features of views that have one key."""
    asked = spine.select(
        *key,
        _micros(spine, EVENT_TIME).alias(SINCE),
        _stretch(_micros(spine, EVENT_TIME), served).alias(STRETCH),
        F.lit(True).alias(IS_SPINE),
        F.struct("*").alias(ROW),
    )
    held = [_feature_timeline(view, rows, known_by, served.get(view.name)) for view, rows in views]
    together = reduce(
        lambda left, right: left.unionByName(right, allowMissingColumns=True), [asked, *held]
    )
    # Of what is seen from one time on, feature rows come first: an event at the spine's time
    # counts.
    so_far = (
        Window.partitionBy(*key, STRETCH)
        .orderBy(SINCE, IS_SPINE)
        .rowsBetween(Window.unboundedPreceding, Window.currentRow)
    )
    seen = together.withColumns(
        {_packed_column(view): F.max(_packed_column(view)).over(so_far) for view, _ in views}
    )
    features = [
        F.when(_fresh(view), F.col(f"{_packed_column(view)}.{c.name}")).alias(
            output_name(view, c.name, full=full_names)
        )
        for view, _ in views
        for c in view.values
    ]
    return seen.filter(IS_SPINE).select(f"{ROW}.*", *features)


def _feature_timeline(
    view: Table, rows: DataFrame, known_by: bool, serving: Serving | None
) -> DataFrame:
    """Rows with a key: from when each is seen, and its values behind what makes it the latest.

    With `serving`, once in each stretch of time in which the row was served.
    """
    event, created = _micros(rows, EVENT_TIME), _micros(rows, CREATED_TIME)
    packed = F.struct(
        event.alias("event_us"), created.alias("created_us"), *(c.name for c in view.values)
    )
    columns = [F.lit(False).alias(IS_SPINE), packed.alias(_packed_column(view))]
    with_key = rows.dropna(subset=list(view.key))  # a window takes null for a key
    if serving is None:
        since = F.greatest(event, created) if known_by else event
        return with_key.select(*view.key, since.alias(SINCE), F.lit(0).alias(STRETCH), *columns)
    timeline = with_key.select(
        *view.key,
        event.alias(SINCE),
        *columns,
        F.posexplode(_served_us(serving)(created)).alias(STRETCH, SERVED),
    )
    since = F.greatest(SINCE, SERVED)
    return timeline.filter(F.col(SERVED) < NEVER_US).withColumn(SINCE, since).drop(SERVED)


def _served_us(serving: Serving) -> Callable[[Column], Column]:
    """Of created times: from when their rows were served in each stretch."""

    def served(created_us: pd.Series) -> pd.Series:
        times = created_us.to_numpy()
        columns = [stretch.served_us(times) for stretch in serving.stretches]
        return pd.Series(list(np.stack(columns, axis=1)))

    as_column: Any = pandas_udf  # the stubs know functions that give numbers alone
    return cast("Callable[[Column], Column]", as_column(served, "array<bigint>"))


def _stretch(at: Column, served: Mapping[str, Serving]) -> Column:
    """The number of the stretch in which a time lies; those of all views are the same."""
    starts: list[int] = next((s.starts_us.tolist() for s in served.values()), [])
    begun = [F.when(at >= start, 1).otherwise(0) for start in starts]
    return reduce(lambda left, right: left + right, begun) - 1 if begun else F.lit(0)


def _packed_column(view: Table) -> str:
    return f"_{view.name}"


def _fresh(view: Table) -> Column:
    ttl = ttl_us(view)
    return F.col(f"{_packed_column(view)}.event_us") >= F.col(SINCE) - ttl if ttl else F.lit(True)


def _micros(rows: DataFrame, name: str) -> Column:
    """Microseconds since 1970, never null.

    Times without a zone are UTC, as which Spark reads them only in a session of that zone.
    """
    kind = rows.schema[name].dataType.simpleString()
    zone = str(rows.sparkSession.conf.get("spark.sql.session.timeZone"))
    if kind != "timestamp" and (kind != "timestamp_ntz" or zone != "UTC"):
        raise TableError(
            explain(
                name,
                expected="timestamp, or timestamp_ntz in a session whose zone is UTC",
                found=f"{kind} in {zone}",
                mend="convert it before the join",
            )
        )
    column = F.col(name).cast("timestamp")
    null = explain(name, expected="a time in every row", found="null", mend="leave such rows out")
    return F.when(column.isNull(), F.raise_error(F.lit(null)).cast("bigint")).otherwise(
        F.unix_micros(column)
    )


def main() -> None:
    """Write the training set of a spine at the last release's versions.

    `spark-submit spark_jobs/training_set.py --home H --spine PATH --out PATH [--service S]
    [--served]`
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", default=".vidtopics")
    parser.add_argument(
        "--spine", required=True, help="Parquet if it ends in .parquet, else a Delta table"
    )
    parser.add_argument("--out", required=True, help="the Delta table to write; a new one")
    parser.add_argument("--service", default="training_v1", choices=sorted(SERVICES))
    parser.add_argument(
        "--served", action="store_true", help="only what a live release could have served then"
    )
    options = parser.parse_args()
    started, views = time.monotonic(), SERVICES[options.service]
    tables = Tables(home_folder(options.home))
    versions = tables.latest_release()["versions"]
    deltas = {
        view.name: whole(tables.delta(view, version=versions.get(view.name))) for view in views
    }
    spark = session("training_set")
    result = join(
        _read_spine(spark, options.spine),
        [(view, read(spark, deltas[view.name])) for view in views],
        served=servings(tables, views) if options.served else None,
    )
    pins = Pins(
        {
            view.name: Pin.of_table(d, rules_of(d, view, served=ANY if options.served else ""))
            for view, d in zip(views, deltas.values(), strict=True)
        }
    )
    metadata = json.dumps({PINS.decode(): json.dumps(pins.plain())})
    count = create(result, _delta_uri(options.out), metadata)
    print(f"training_set: {count} rows, {time.monotonic() - started:.1f} s")  # noqa: T201


def _read_spine(spark: SparkSession, place: str) -> DataFrame:
    if place.rstrip("/").endswith(".parquet"):
        return spark.read.option("__globPaths__", "false").parquet(to_spark(place))
    return read(spark, DeltaTable(_delta_uri(place)))


def _delta_uri(place: str) -> str:
    return place if is_url(place) else to_uri(place)


if __name__ == "__main__":
    main()
