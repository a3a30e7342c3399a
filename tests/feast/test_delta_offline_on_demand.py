"""Features that are computed from others: without them, with them, and in another process."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from delta_shop import TIMES, USER, append, day, shop, spine
from feast import FeatureView, Field, FileSource, OnDemandFeatureView
from feast.data_format import DeltaFormat
from feast.transformation.pandas_transformation import PandasTransformation
from feast.types import Float64, Int64, String
from on_demand_result import columns_and_digest

PARTS = ["rent", "food", "heat", "books", "trips", "debts"]
"""Fields of each view, in its order, which is neither that of the alphabet nor its reverse."""
VIEWS = ["winter", "spring", "summer", "autumn"]


def total(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {"total": frame[[f"{view}_{part}" for view in VIEWS for part in PARTS]].sum(axis=1) * 1.0}
    )


@pytest.fixture
def store(tmp_path):
    """Four views of six fields; `sums:total` adds all 24 up.

    For user a 0 + 1 + ... + 23 = 276, for user b 24 more, so 300.
    """
    views = []
    for v, name in enumerate(VIEWS):
        fields = [f"{name}_{part}" for part in PARTS]
        rows = {field: pa.array([6 * v + i, 6 * v + i + 1]) for i, field in enumerate(fields)}
        times = pa.array([day(1), day(1)], pa.timestamp("us", "UTC"))
        append(
            tmp_path,
            pa.table({"user_id": ["a", "b"], **rows, **dict.fromkeys(TIMES.values(), times)}),
            name,
        )
        schema = [
            Field(name="user_id", dtype=String),
            *(Field(name=field, dtype=Int64) for field in fields),
        ]
        source = FileSource(path=name, file_format=DeltaFormat(), **TIMES)
        views.append(
            FeatureView(name=name, entities=[USER], schema=schema, source=source, ttl=timedelta(0))
        )
    sums = OnDemandFeatureView(
        name="sums",
        sources=views,
        schema=[Field(name="total", dtype=Float64)],
        mode="pandas",
        feature_transformation=PandasTransformation(total, "total"),
    )
    feature_store = shop(tmp_path, *views)
    feature_store.apply(sums)
    return feature_store


SPINE = spine(("a", 9), ("b", 3))
OTHERS = [f"{view}_{part}" for view in sorted(VIEWS) for part in PARTS]


@pytest.mark.parametrize(
    ("refs", "columns"),
    [
        (["sums:total"], OTHERS),
        # Named before the on-demand view: as the caller has them. The others of that view come
        # behind them.
        (
            ["winter:winter_trips", "winter:winter_food", "sums:total"],
            [
                "winter_trips",
                "winter_food",
                *(f"winter_{p}" for p in PARTS if p not in ("trips", "food")),
                *(name for name in OTHERS if "winter" not in name),
            ],
        ),
        # Named behind it they can't be told from those that Feast adds.
        (["sums:total", "winter:winter_trips", "winter:winter_food"], OTHERS),
    ],
    ids=["alone", "behind its sources", "before its sources"],
)
def test_columns_of_an_on_demand_feature(store, refs, columns):
    joined = store.get_historical_features(SPINE, refs).to_arrow()
    assert joined.column_names == ["user_id", "event_timestamp", *columns, "total"]
    assert joined["total"].to_pylist() == [276, 300]
    assert joined["winter_trips"].to_pylist() == [4, 5]


def test_another_process_gives_the_same_bytes(store, tmp_path):
    """Feast's order of an on-demand view's features and views is the process'.

    Features come from a set, ordered by PYTHONHASHSEED, views from a map, ordered by an address.
    """
    refs = ["summer:summer_heat", "sums:total", "spring:spring_books"]
    job = store.get_historical_features(SPINE, refs)
    first = columns_and_digest(job.to_arrow())
    (tmp_path / "pins.json").write_text(json.dumps(job.pins))
    # Feast imports torch where it finds it, which takes longer than the rest
    code = "import sys; sys.modules['torch'] = None; import on_demand_result as r; r.main()"
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path, tmp_path / "pins.json", *refs],
        env=os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": "1"},  # this process has another
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    assert json.loads(done.stdout.splitlines()[-1]) == first
