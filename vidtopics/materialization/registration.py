"""The rules of registering a view: whether a schema fits its live values, and the next numbers.

Pure functions; :mod:`vidtopics.materialization.generations` applies them inside a transaction.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from vidtopics.errors import StoreError, explain
from vidtopics.layout import Field, Schema, ViewEntry

Generation = tuple[int, int]
"""A view's number and the number of one of its generations."""


@dataclass(frozen=True)
class Registration:
    """One view as a transaction reads it.

    Attributes:
        live: the entry that readers see; None before the first registration.
        fields: the fields of that entry's schema; empty where the schema is missing.
        applied: the note of the last `feast apply` whose schema the live values don't fit.
        last_number: the greatest number that a view of this prefix ever had.
        entries: all views' entries.
        retired: generations that are not live and still have keys.
        last_generation: the greatest number that a generation of the view ever had.
    """

    live: ViewEntry | None
    fields: tuple[Field, ...]
    applied: bytes | None
    last_number: int
    entries: Sequence[ViewEntry]
    retired: Sequence[Generation]
    last_generation: int = 0

    def continued(self, schema: Schema) -> ViewEntry | None:
        """The live entry with this schema; None where its values don't fit.

        A schema of fewer fields changes nothing: its rows carry their own schema, and the other
        fields read as null there.
        """
        if self.live is None or not same_keys(self.live, schema):
            return None
        entry = replace(self.live, keys=schema.keys or self.live.keys)
        if schema.fields and not schema.widths:
            schema = schema.sized(Schema(self.fields).widths)
        if is_shorter(schema, self.fields):
            return entry
        return replace(entry, schema=schema.hash) if extends(schema, self.fields) else None

    def new_generation(self, schema: Schema, ttl_us: int) -> ViewEntry:
        """An empty generation of the view, or of a new view."""
        number = self.live.number if self.live else self.next_number()
        return ViewEntry(number, self.next_generation(number), ttl_us, schema.hash, schema.keys)

    def next_number(self) -> int:
        """A number that no view has or had."""
        return 1 + max(
            [
                self.last_number,
                *(entry.number for entry in self.entries),
                *(number for number, _ in self.retired),
            ]
        )

    def next_generation(self, number: int) -> int:
        """A generation that the view of this number doesn't have and never had."""
        live = (entry.generation for entry in self.entries if entry.number == number)
        retired = (generation for n, generation in self.retired if n == number)
        return 1 + max([self.last_generation, *live, *retired])


def same_keys(entry: ViewEntry, schema: Schema) -> bool:
    """Whether values are found by the same join keys, as far as both name them."""
    return not entry.keys or not schema.keys or entry.keys == schema.keys


def extends(schema: Schema, fields: Sequence[Field]) -> bool:
    """Whether values of `fields` can be read by a schema: it has those fields, more behind them.

    >>> a, b = (Field(name, "int64", "scalar", "int64") for name in "ab")
    >>> extends(Schema((a, b)), [a]), extends(Schema((a, b)), [b])
    (True, False)
    >>> extends(Schema((a, b), ordered=False), [b])
    True
    """
    return bool(fields) and _begins(schema.fields, fields, ordered=schema.ordered)


def is_shorter(schema: Schema, fields: Sequence[Field]) -> bool:
    """Whether a schema has the first of `fields` (any of them if it is unordered), and not all."""
    return 0 < len(schema.fields) < len(fields) and _begins(
        fields, schema.fields, ordered=schema.ordered
    )


def _begins(fields: Sequence[Field], first: Sequence[Field], *, ordered: bool) -> bool:
    if ordered:
        return len(first) <= len(fields) and all(map(_are_alike, fields, first))
    return all(any(_are_alike(field, other) for field in fields) for other in first)


def _are_alike(a: Field, b: Field) -> bool:
    """Whether values of two fields may lie in one generation: the same, or the width not known."""
    if a.kind == b.kind == "vector" and 1 in {a.width, b.width}:
        return replace(a, width=b.width) == b
    return a == b


def note_of(schema: Schema) -> str:
    """The note of an apply: what it registered and the live values don't fit."""
    return json.dumps({"keys": schema.keys, "fields": schema.to_json()})


def may_begin(note: bytes | None, schema: Schema) -> bool:
    """Whether a push by this schema may begin a generation: it is the applied one, or shorter."""
    if note is None:
        return False
    applied = json.loads(note)
    fields = Schema.from_json(applied["fields"]).fields
    return tuple(applied["keys"]) == schema.keys and _begins(
        fields, schema.fields, ordered=schema.ordered
    )


def stale_registry_error(view: str, schema: Schema) -> StoreError:
    """The error of a push whose fields or join keys fit neither live values nor the last apply."""
    fields = ", ".join(
        f"{f.name} {f.type}" + (f"[{f.width}]" if f.many else "") for f in schema.fields
    )
    return StoreError(
        explain(
            f"view {view}",
            expected="fields that its values in Redis fit, or that `feast apply` entered last",
            found=f"{fields} by {', '.join(schema.keys)}",
            mend="restart this process or refresh its registry, as the view has changed; "
            "if it has the newer view, run `feast apply`",
        )
    )


def retired_generations(names: Iterable[bytes]) -> list[Generation]:
    """From the fields of the hash of generations.

    >>> retired_generations([b"4:2"])
    [(4, 2)]
    """
    return [
        (int(number), int(generation))
        for number, _, generation in (name.partition(b":") for name in names)
    ]
