"""Entity ids: from Feast's requests and rows to the bytes that Redis keys end with, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from feast import FeatureView, ValueType
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_NAME, DUMMY_ENTITY_VAL
from feast.infra.key_encoding_utils import deserialize_entity_key, serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value
from feast.type_map import python_values_to_proto_values
from feast.types import Int32, Int64, String
from pandas.api.types import is_scalar

from vidtopics.errors import ContractError, StoreError, explain

NULL_ID = b"\xff"
"""Stands for an id with a null in it: no text in UTF-8 and no serialized key, so no key has it."""
TEXT_VALUES = {"string_val", "int64_val", "int32_val"}
PLAIN_TYPES = {str, int, type(None)}
"""Python types of ids that Feast converts without a loss, or refuses."""
INTEGERS = {ValueType.INT32, ValueType.INT64}
REFUSED_TYPES: dict[ValueType, tuple[type, ...]] = {
    ValueType.INT32: (bool, bytes),
    ValueType.INT64: (bool, bytes),
    ValueType.STRING: (bytes,),
}
"""What Feast converts to another id: True to 1, b"a" to the text "b'a'"."""
EntityRows = Sequence[Mapping[str, Any]] | Mapping[str, Any]


class JoinKeyError(StoreError, KeyError):
    """A request lacks a join key of a view; a KeyError too, as Feast's own stores raise one."""

    __str__ = Exception.__str__  # a KeyError's would quote the message


class EntityIdError(StoreError, ValueError):
    """An id isn't of its entity's type; a ValueError too, as Feast raises one."""


def join_keys(view: FeatureView) -> tuple[str, ...]:
    """The join keys of a view, sorted; Feast's placeholder for a view without entities."""
    if view.entities in ([], [DUMMY_ENTITY_NAME]):
        return (DUMMY_ENTITY_ID,)
    return tuple(sorted(view.join_keys))


def check_join_keys(view: FeatureView, required: Iterable[str], given: Iterable[str]) -> None:
    """JoinKeyError names the required join keys that aren't given."""
    if missing := sorted(set(required) - set(given)):
        raise JoinKeyError(
            explain(
                f"view {view.name}",
                expected=f"the join key {', '.join(missing)}",
                found=", ".join(sorted(given)) or "no join key",
                mend="give every entity row all join keys",
            )
        )


def ids_of_columns(values: Mapping[str, Sequence[Value]], version: int) -> list[bytes]:
    """The id of each row of columns of join keys; :data:`NULL_ID` for a row with a null.

    A lone string or integer key is its text, anything else as Feast serializes entity keys.
    """
    keys = sorted(values)
    if len(keys) == 1:
        column = values[keys[0]]
        if {value.WhichOneof("val") for value in column} == {"string_val"}:
            return [value.string_val.encode() for value in column]
    rows = zip(*(values[key] for key in keys), strict=True)
    return [_id_of_row(keys, row, version) for row in rows]


def ids_of_keys(view: FeatureView, keys: Sequence[EntityKey], version: int) -> list[bytes]:
    """The same of entity keys.

    Those of a push to a view without entities are empty; Feast reads it by a placeholder.
    """
    for given in {tuple(key.join_keys) for key in keys}:
        check_join_keys(view, join_keys(view), given or (DUMMY_ENTITY_ID,))
    ids = []
    for key in keys:
        names = key.join_keys or [DUMMY_ENTITY_ID]
        values = key.entity_values or [Value(string_val=DUMMY_ENTITY_VAL)]
        pairs = dict(zip(names, values, strict=True))
        ids.append(_id_of_row(sorted(pairs), [pairs[name] for name in sorted(pairs)], version))
    return ids


def _id_of_row(keys: Sequence[str], values: Sequence[Value], version: int) -> bytes:
    kinds = [value.WhichOneof("val") for value in values]
    if None in kinds:
        return NULL_ID
    if len(keys) == 1 and kinds[0] in TEXT_VALUES:
        return str(getattr(values[0], str(kinds[0]))).encode()
    return serialize_entity_key(EntityKey(join_keys=keys, entity_values=values), version)


def check_not_null(view: FeatureView, ids: Sequence[bytes]) -> None:
    """ContractError for rows to be written of which one has a null in its id."""
    if NULL_ID in ids:
        raise ContractError(
            explain(
                f"view {view.name}, row {ids.index(NULL_ID)}",
                expected=f"a value in {', '.join(join_keys(view))}",
                found="null",
                mend="leave rows without an id out; none was written",
            )
        )


def entity_key_of(view: FeatureView, id_: bytes, version: int) -> EntityKey:
    """The entity key of an id, as :func:`ids_of_keys` made it."""
    types = {column.name: column.dtype for column in view.entity_columns}
    keys = join_keys(view)
    dtype = types.get(keys[0], String)
    if len(keys) > 1 or dtype not in {String, Int32, Int64}:
        return deserialize_entity_key(id_, version)
    text = id_.decode()
    value = (
        Value(string_val=text)
        if dtype == String
        else Value(int32_val=int(text))
        if dtype == Int32
        else Value(int64_val=int(text))
    )
    return EntityKey(join_keys=keys, entity_values=[value])


@contextmanager
def entity_rows_checked(
    entity_rows: EntityRows, types: Callable[[], Mapping[str, ValueType]]
) -> Iterator[None]:
    """Around a request: EntityIdError names the first row whose id isn't of its entity's type.

    Feast's own errors name no row, and it makes 1 of 1.5, 1 of True and null of a list.

    Args:
        entity_rows: rows, or columns, of join keys and request data.
        types: gives the type of each join key; asked only where a check is due.
    """
    columns = _columns(entity_rows)
    if not {type(value) for values in columns.values() for value in values} <= PLAIN_TYPES:
        _check_columns(columns, types())
    try:
        yield
    except (TypeError, ValueError):
        _check_columns(columns, types())
        raise


def _columns(entity_rows: EntityRows) -> dict[str, list[Any]]:
    if isinstance(entity_rows, Mapping):
        return {
            key: list(values.val if isinstance(values, RepeatedValue) else values)
            for key, values in entity_rows.items()
        }
    keys = dict.fromkeys(key for row in entity_rows for key in row)
    return {key: [row.get(key) for row in entity_rows] for key in keys}


def _check_columns(columns: Mapping[str, Sequence[Any]], types: Mapping[str, ValueType]) -> None:
    for key in columns.keys() & types.keys():
        for row, value in enumerate(columns[key]):
            if not _is_id(value, types[key]):
                raise EntityIdError(
                    explain(
                        f"entity row {row}, {key}",
                        expected=f"a value of type {types[key].name.lower()}",
                        found=f"{value!r} ({type(value).__name__})",
                        mend="give the row an id of that type, or null for none",
                    )
                )


def _is_id(value: Any, value_type: ValueType) -> bool:
    """Whether Feast makes an id, or a null, of a value without changing what it says."""
    if isinstance(value, Value) or (is_scalar(value) and pd.isna(value)):
        return True
    if isinstance(value, REFUSED_TYPES.get(value_type, ())) or _is_fraction(value, value_type):
        return False
    try:
        (proto,) = python_values_to_proto_values([value], value_type)
    except (TypeError, ValueError):
        return False
    return proto.WhichOneof("val") is not None


def _is_fraction(value: Any, value_type: ValueType) -> bool:
    return (
        value_type in INTEGERS
        and isinstance(value, float | np.floating)
        and not float(value).is_integer()
    )
