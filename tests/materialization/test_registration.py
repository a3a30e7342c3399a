"""The rules of registering a view, without Redis."""

import json

import pytest

from vidtopics.errors import StoreError
from vidtopics.layout import Field, Schema, ViewEntry
from vidtopics.materialization.plans import LoadRecord
from vidtopics.materialization.registration import (
    Registration,
    extends,
    is_shorter,
    may_begin,
    note_of,
    stale_registry_error,
)

A, B, C = (Field(name, "int64", "scalar", "int64") for name in "abc")
WIDER = Field("a", "int64", "scalar", "int32")


def schema(*fields: Field, keys: tuple[str, ...] = ("k",), ordered: bool = True) -> Schema:
    return Schema(fields, keys, ordered)


def registration(*fields: Field, entry: ViewEntry | None = None) -> Registration:
    live = entry or ViewEntry(4, 2, 9, schema(*fields).hash, ("k",))
    return Registration(live, fields, None, 6, [live, ViewEntry(7, 1, 0, 0)], [(4, 3), (8, 1)])


@pytest.mark.parametrize(
    ("new", "stored", "ordered", "fits", "shorter"),
    [
        ((A, B), (A, B), True, True, False),
        ((A, B, C), (A, B), True, True, False),
        ((A,), (A, B), True, False, True),
        ((B, A), (A, B), True, False, False),
        ((B,), (A, B), True, False, False),
        ((WIDER, B), (A, B), True, False, False),
        ((B, A), (A, B), False, True, False),
        ((C, A, B), (A, B), False, True, False),
        ((B,), (A, B), False, False, True),
        ((WIDER, B), (A, B), False, False, False),
        ((A, C), (A, B), False, False, False),
    ],
)
def test_which_fields_go_on_in_a_generation(
    new: tuple[Field, ...], stored: tuple[Field, ...], ordered: bool, fits: bool, shorter: bool
) -> None:
    changed = schema(*new, ordered=ordered)
    assert (extends(changed, stored), is_shorter(changed, stored)) == (fits, shorter)


def test_a_longer_schema_is_entered_and_a_shorter_one_changes_nothing() -> None:
    live = registration(A, B).live
    longer = registration(A, B).continued(schema(A, B, C))
    assert longer is not None
    assert (longer.generation, longer.schema) == (2, schema(A, B, C).hash)
    assert registration(A, B).continued(schema(A)) == live


def test_other_join_keys_do_not_go_on_and_unknown_ones_are_taken() -> None:
    assert registration(A).continued(schema(A, keys=("other",))) is None
    unknown = registration(A, entry=ViewEntry(4, 2, 9, schema(A).hash))
    entry = unknown.continued(schema(A))
    assert entry is not None
    assert entry.keys == ("k",)


def test_numbers_are_new_whatever_is_live_retired_or_forgotten() -> None:
    state = registration(A)
    assert state.next_number() == 9  # 8 is retired, 7 live, 6 the last that was given
    assert state.next_generation(4) == 4  # 2 is live, 3 retired
    assert state.new_generation(schema(B), 5) == ViewEntry(4, 4, 5, schema(B).hash, ("k",))
    new = Registration(None, (), None, 6, [], [])
    assert new.new_generation(schema(B), 5).number == 7


def test_a_push_begins_a_generation_by_what_was_applied_alone() -> None:
    note = note_of(schema(A, B)).encode()
    assert may_begin(note, schema(A, B))
    assert may_begin(note, schema(A))
    assert not may_begin(note, schema(A, B, C))
    assert not may_begin(note, schema(A, B, keys=("other",)))
    assert not may_begin(note, schema(B, A))
    assert may_begin(note, schema(B, A, ordered=False))
    assert not may_begin(None, schema(A))


def test_the_error_of_a_stale_registry_names_fields_and_keys() -> None:
    error = stale_registry_error("facts", schema(A, B))
    assert isinstance(error, StoreError)
    assert "found a int64, b int64 by k. Mend: restart this process" in str(error)


def test_what_a_later_version_adds_to_the_directory_is_left_out() -> None:
    entry = ViewEntry(4, 2, 0, 7, ("user_id",))
    text = json.dumps(json.loads(entry.to_json()) | {"compressed": True})
    assert ViewEntry.from_json(text) == entry
    fields = json.loads(schema(A, B).to_json())
    assert Schema.from_json(json.dumps([f | {"unit": "s"} for f in fields])) == schema(A, B)
    record = LoadRecord(1, "t", {"3": "digest"}, 5)
    text = json.dumps(json.loads(record.to_json()) | {"engine": "spark"})
    assert LoadRecord.parse(text.encode()) == record
