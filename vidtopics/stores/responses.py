"""From a request of Feast to the ids that are read, and from their rows to its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from feast import FeatureView
from feast.protos.feast.serving.ServingService_pb2 import GetOnlineFeaturesResponse
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp

from vidtopics.errors import StoreError, explain
from vidtopics.layout import Directory
from vidtopics.online import Features, Status
from vidtopics.stores.entity_ids import check_join_keys, ids_of_columns, join_keys
from vidtopics.stores.feast_types import add_values, schema_of

FeatureVector = GetOnlineFeaturesResponse.FeatureVector
GroupedRefs = Sequence[tuple[FeatureView, Sequence[str]]]
"""Views with the features that a request asks of each."""
JoinKeyValues = Mapping[str, Sequence[Value]]
OnlineRow = tuple[datetime | None, dict[str, Value] | None]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parts_of(
    grouped_refs: GroupedRefs, join_key_values: JoinKeyValues, version: int
) -> list[tuple[str, list[bytes]]]:
    """The views of a request, each with the ids of its rows.

    Not by Feast's own choice of columns, which lets a view's alias and the plain key of another
    stand for each other.

    Raises:
        JoinKeyError: a join key of a view is missing.
    """
    return [
        (table.name, ids_of_columns(_key_columns(table, join_key_values), version))
        for table, _ in grouped_refs
    ]


def _key_columns(table: FeatureView, join_key_values: JoinKeyValues) -> dict[str, Sequence[Value]]:
    names = {key: table.projection.join_key_map.get(key, key) for key in join_keys(table)}
    check_join_keys(table, names.values(), join_key_values)
    return {key: join_key_values[name] for key, name in names.items()}


def requested_names(grouped_refs: GroupedRefs) -> list[str]:
    """The features to read, of whatever view; join keys aren't stored."""
    return list(
        dict.fromkeys(
            name
            for table, requested in grouped_refs
            for name in requested
            if name not in join_keys(table)
        )
    )


def check_fields(directory: Directory, table: FeatureView, requested: Sequence[str] | None) -> None:
    """Check that Redis holds the view by its join keys, and the requested fields with their types.

    Raises:
        StoreError: it doesn't: the view hasn't been loaded since it changed.
    """
    entry, schema = directory.view(table.name), schema_of(table)
    if entry.keys and schema.keys and entry.keys != schema.keys:
        raise StoreError(
            explain(
                f"view {table.name}, join keys",
                expected=f"{', '.join(schema.keys)} in Redis",
                found=", ".join(entry.keys),
                mend="load the view again (feast materialize), as its entities have changed",
            )
        )
    stored_fields = {f.name: f for f in directory.schemas[entry.schema].fields}
    for field in schema.fields:
        stored = stored_fields.get(field.name)
        if (requested is None or field.name in requested) and (
            stored is None or stored.shape != field.shape
        ):
            raise StoreError(
                explain(
                    f"view {table.name}, field {field.name}",
                    expected=f"{field.kind} of {field.type} in Redis",
                    found="none" if stored is None else f"{stored.kind} of {stored.type}",
                    mend="load the view again (feast materialize), as its fields have changed",
                )
            )


def fill_response(
    response: GetOnlineFeaturesResponse,
    grouped_refs: GroupedRefs,
    join_key_values: JoinKeyValues,
    views: Sequence[Features],
    *,
    full_names: bool,
    with_versions: bool,
) -> None:
    """Fill Feast's response, feature by feature; the statuses are Feast's own numbers.

    A value past its TTL has the status OUTSIDE_MAX_AGE, and the value if `views` has it. A join key
    that is asked for as a feature (of a stream view) is answered from the request.
    """
    for (table, requested), features in zip(grouped_refs, views, strict=True):
        name = table.projection.name_to_use()  # type: ignore[no-untyped-call]
        if with_versions:
            metadata = response.metadata.feature_view_metadata.add()
            metadata.name = table.projection.name_alias or table.projection.name
            metadata.version = table.current_version_number or 0
        # Rows share few event times.
        stamps = {us: _timestamp(us) for us in np.unique(features.event_us).tolist()}
        times = [stamps[us] for us in features.event_us.tolist()]
        fields = {field.name: field for field in schema_of(table).fields}
        for feature in requested:
            response.metadata.feature_names.val.append(
                f"{name}__{feature}" if full_names else feature
            )
            if feature not in fields:
                vector = response.results.add(
                    statuses=features.status.tolist(), event_timestamps=times
                )
                vector.values.extend(_key_columns(table, join_key_values)[feature])
                continue
            is_null = features.present & features.null[feature]
            statuses = np.where(is_null, Status.NULL, features.status)
            vector = response.results.add(statuses=statuses.tolist(), event_timestamps=times)
            add_values(vector.values, fields[feature], features[feature], ~features.null[feature])


def rows_of(
    table: FeatureView,
    features: Features,
    requested: Sequence[str] | None,
    *,
    with_expired: bool,
) -> list[OnlineRow]:
    """Rows as `online_read` gives them: event time and values; (None, None) without a value.

    `with_expired`: values past their TTL are values.
    """
    fields = [f for f in schema_of(table).fields if requested is None or f.name in requested]
    vectors = {field.name: FeatureVector() for field in fields}
    for field in fields:
        null = features.null[field.name]
        add_values(vectors[field.name].values, field, features[field.name], ~null)
    has_value = features.present
    if with_expired:
        has_value = has_value | (features.status == Status.OUTSIDE_MAX_AGE)
    rows: list[OnlineRow] = []
    for i, is_value in enumerate(has_value.tolist()):
        values = {name: vector.values[i] for name, vector in vectors.items()}
        time = EPOCH + timedelta(microseconds=int(features.event_us[i]))
        rows.append((time, values) if is_value else (None, None))
    return rows


def _timestamp(us: int) -> Timestamp:
    return Timestamp(seconds=us // 1_000_000, nanos=us % 1_000_000 * 1_000)
