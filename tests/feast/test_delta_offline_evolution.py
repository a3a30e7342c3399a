"""Tables that changed their shape, and tables that Arrow would read wrong."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from delta_shop import TIMES, append, income_view, incomes, shop, spine, values
from deltalake import DeltaTable, convert_to_deltalake, write_deltalake
from feast.types import Float64, String

from vidtopics.errors import TableError
from vidtopics.stores.delta import pinned

SPINE = spine(("a", 9), ("b", 9), ("a", 2))


def actions(uri: str, version: int = 0) -> list[dict]:
    return [json.loads(line) for line in log(uri, version).read_text().splitlines()]


def log(uri: str, version: int) -> Path:
    return Path(uri) / "_delta_log" / f"{version:020d}.json"


def rewrite(uri: str, changed: list[dict], version: int = 0) -> None:
    log(uri, version).write_text("\n".join(json.dumps(action) for action in changed))


def joined(folder, *views, feature="income", frame=SPINE):
    return shop(folder, *views).get_historical_features(frame, [f"incomes:{feature}"])


def test_a_column_that_was_added_is_null_in_old_rows(tmp_path):
    append(tmp_path, incomes(("a", 1, 1, 1), ("b", 2, 1, 1)))
    new = (
        incomes(("a", 3, 5, 5))
        .append_column("city", pa.array(["Köln"]))
        .append_column("tags", pa.array([["x", "y"]]))
    )
    append(tmp_path, new, schema_mode="merge")
    assert values(
        joined(tmp_path, income_view(feature="city", dtype=String), feature="city"), "city"
    ) == [
        "Köln",
        None,
        None,
    ]
    assert values(
        joined(tmp_path, income_view(feature="tags", dtype=String), feature="tags"), "tags"
    ) == [
        ["x", "y"],
        None,
        None,
    ]
    assert values(joined(tmp_path)) == [3, 2, 1]


def test_a_pin_from_before_the_column_gives_the_same_bytes(tmp_path):
    append(tmp_path, incomes(("a", 1, 1, 1), ("b", 2, 1, 1)))
    first = joined(tmp_path).to_arrow()
    append(
        tmp_path,
        incomes(("a", 3, 5, 20)).append_column("city", pa.array(["Köln"])),
        schema_mode="merge",
    )
    delta = DeltaTable(tmp_path / "incomes")
    delta.optimize.compact()
    delta.vacuum(0, dry_run=False, enforce_retention_duration=False)
    with pinned(first):
        assert joined(tmp_path).to_arrow().equals(first, check_metadata=True)


@pytest.mark.parametrize(
    ("narrow", "wide", "delta_names", "old", "new"),
    [
        (pa.int32(), pa.int64(), ("integer", "long"), -(2**31), 2**40),
        (pa.float32(), pa.float64(), ("float", "double"), 0.5, 0.1),
    ],
    ids=["int32 to int64", "float to double"],
)
def test_a_column_that_was_widened_keeps_its_old_rows(
    tmp_path, narrow, wide, delta_names, old, new
):
    """Old files stay narrow.

    delta-rs can't widen, so its log is written by hand, as engines do that change the metadata
    alone.
    """

    def row(value, kind, event):
        return incomes(("a", 0, event, event)).set_column(1, "income", pa.array([value], kind))

    uri = append(tmp_path, row(old, narrow, 1))
    (meta,) = (a for a in actions(uri) if "metaData" in a)
    meta["metaData"]["schemaString"] = meta["metaData"]["schemaString"].replace(
        f'"{delta_names[0]}"', f'"{delta_names[1]}"'
    )
    rewrite(uri, [meta], version=1)
    append(tmp_path, row(new, wide, 5))
    view = income_view(dtype=Float64 if wide == pa.float64() else income_view().schema[1].dtype)
    joined_rows = joined(tmp_path, view).to_arrow()
    assert joined_rows["income"].type == wide
    assert joined_rows["income"].to_pylist() == [new, None, old]


def test_keys_and_values_of_partitions(tmp_path):
    """Neither lies in the files."""
    table = incomes(("a", 1, 1, 1), ("b", 2, 1, 1), ("a", 3, 5, 5)).append_column(
        "city", pa.array(["Köln", "Bonn", "Ulm"])
    )
    append(tmp_path, table, partition_by=["city", "user_id"])
    view = income_view(feature="city", dtype=String)
    assert values(joined(tmp_path, view, feature="city"), "city") == ["Ulm", "Bonn", "Köln"]
    assert values(joined(tmp_path)) == [3, 2, 1]


def test_files_of_both_timestamp_forms_in_one_table(tmp_path):
    """Spark's INT96 beside TIMESTAMP_MICROS: the same instants, as join keys and as features."""
    old = incomes(("a", 1, 1, 1), ("b", 2, 9, 9))
    uri = append(tmp_path, old)
    (file,) = Path(uri).glob("*.parquet")
    pq.write_table(old, file, use_deprecated_int96_timestamps=True)
    assert pq.ParquetFile(file).schema.column(2).physical_type == "INT96"
    plain = actions(uri)
    next(a for a in plain if "add" in a)["add"]["size"] = file.stat().st_size
    rewrite(uri, plain)
    append(tmp_path, incomes(("a", 3, 5, 5)))
    assert values(
        joined(tmp_path, frame=spine(("a", 4.999), ("a", 5), ("a", 0.999), ("b", 9), ("b", 8.999)))
    ) == [
        1,
        3,
        None,
        2,
        None,
    ]
    view = income_view(feature="created_timestamp")
    created = joined(tmp_path, view, feature="created_timestamp").to_arrow()["created_timestamp"]
    assert created.type == pa.timestamp("us", "UTC")
    assert created.to_pylist() == list(
        incomes(("a", 0, 5, 5), ("b", 0, 9, 9), ("a", 0, 1, 1))["event_timestamp"].to_pylist()
    )


def mapped(uri: str, protocol: dict) -> None:
    """The table under other names in its files, as column mapping has it."""
    plain = actions(uri)
    for action in plain:
        if "protocol" in action:
            action["protocol"] = protocol
        if "metaData" in action:
            schema = json.loads(action["metaData"]["schemaString"])
            for number, field in enumerate(schema["fields"]):
                field["metadata"] = {
                    "delta.columnMapping.id": number + 1,
                    "delta.columnMapping.physicalName": f"col-{number}",
                }
            configuration = {
                "delta.columnMapping.mode": "name",
                "delta.columnMapping.maxColumnId": "4",
            }
            action["metaData"] |= {
                "schemaString": json.dumps(schema),
                "configuration": configuration,
            }
    rewrite(uri, plain)


FEATURES = {"minReaderVersion": 3, "minWriterVersion": 7}


@pytest.mark.parametrize(
    ("protocol", "feature"),
    [
        ({"minReaderVersion": 2, "minWriterVersion": 5}, "columnMapping"),
        (
            {**FEATURES, "readerFeatures": ["columnMapping"], "writerFeatures": ["columnMapping"]},
            "columnMapping",
        ),
    ],
    ids=["by version", "by feature"],
)
def test_column_mapping_is_refused_by_name(tmp_path, protocol, feature):
    uri = append(tmp_path, incomes(("a", 1, 1, 1)).rename_columns([f"col-{n}" for n in range(4)]))
    mapped(uri, protocol)
    rename = dict(
        zip([f"col-{n}" for n in range(4)], ["user_id", "income", *TIMES.values()], strict=True)
    )
    plain = actions(uri)
    for action in plain:
        if "metaData" in action:
            schema = json.loads(action["metaData"]["schemaString"])
            for field in schema["fields"]:
                field["name"] = rename[field["name"]]
            action["metaData"]["schemaString"] = json.dumps(schema)
    rewrite(uri, plain)
    with pytest.raises(
        TableError,
        match="incomes/: expected a table whose files alone say what its rows are, "
        f"found the reader features {feature}",
    ):
        joined(tmp_path)


def test_deletion_vectors_and_unknown_features_are_refused_by_name(tmp_path):
    for feature in ("deletionVectors", "typeWidening"):
        uri = append(tmp_path, incomes(("a", 1, 1, 1)), name=feature)
        plain = actions(uri)
        next(a for a in plain if "protocol" in a)["protocol"] = {
            **FEATURES,
            "readerFeatures": [feature],
            "writerFeatures": [feature],
        }
        rewrite(uri, plain)
        store = shop(tmp_path, income_view(feature))
        with pytest.raises(
            TableError, match=f"{feature}/: expected a table .* found the reader features {feature}"
        ):
            store.get_historical_features(SPINE, [f"{feature}:income"])
        with pytest.raises(TableError, match=feature):
            store._get_provider().validate_data_source(
                store.config, store.get_feature_view(feature).batch_source
            )
        with pytest.raises(TableError, match=feature):
            store.get_historical_features(
                f"SELECT user_id, event_timestamp FROM {feature}", [f"{feature}:income"]
            )


def test_a_restored_and_rewritten_table_is_read_at_its_newest_version(tmp_path):
    write_deltalake(tmp_path / "incomes", incomes(("a", 1, 1, 1)))
    write_deltalake(tmp_path / "incomes", incomes(("a", 2, 1, 1)), mode="overwrite")
    assert values(joined(tmp_path)) == [2, None, 2]
    DeltaTable(tmp_path / "incomes").restore(0)
    assert values(joined(tmp_path)) == [1, None, 1]


def test_a_folder_of_parquet_files_becomes_a_table_where_it_lies(tmp_path):
    """How a team with Parquet sources switches; pandas writes nanoseconds."""
    (tmp_path / "incomes").mkdir()
    frame = incomes(("a", 1, 1, 1), ("a", 3, 5, 5), ("b", 2, 1, 1)).to_pandas()
    frame.astype(dict.fromkeys(TIMES.values(), "datetime64[ns, UTC]")).to_parquet(
        tmp_path / "incomes" / "all.parquet"
    )
    convert_to_deltalake(tmp_path / "incomes")
    assert values(joined(tmp_path)) == [3, 2, 1]
    assert [file.name for file in (tmp_path / "incomes").glob("*.parquet")] == ["all.parquet"]
