"""Feast data sources as Delta snapshots: which version is read, how a view calls its columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.dataset as ds
from deltalake import DeltaTable
from feast import FeatureView, FileSource, RepoConfig
from feast.data_format import DeltaFormat
from feast.data_source import DataSource
from feast.feature_view import DUMMY_ENTITY_ID

from vidtopics.contracts import TABLES
from vidtopics.errors import TableError, explain
from vidtopics.joins import Serving
from vidtopics.paths import from_uri, is_url
from vidtopics.releases.served import ANY, servings
from vidtopics.stores.delta.pins import reopen_at
from vidtopics.stores.delta.rows import SnapshotRows, require
from vidtopics.stores.delta.tables import Place, dataset_of, open_table, place_of
from vidtopics.stores.feast_types import ttl_us
from vidtopics.tables import FOREVER, Tables
from vidtopics.tables.pins import Pin, Pins, Rules, Snapshot, beyond_pin, rows_seen, same_rules


def table_of(config: RepoConfig, source: DataSource | None) -> Place:
    """Where a source's Delta table lies; TableError where it is none."""
    if not isinstance(source, FileSource) or not isinstance(source.file_format, DeltaFormat):
        raise TableError(
            explain(
                f"source {getattr(source, 'name', source)!r}",
                expected="FileSource(..., file_format=DeltaFormat())",
                found=type(source).__name__,
                mend="give the view such a source, or use another offline store",
            )
        )
    return place_of(config, source.path, source)


@dataclass(frozen=True)
class ViewSource:
    """One view's table at one version.

    `columns`: what the view calls a column, and what the table calls it, where they differ. `pin`:
    of the result that is made again, if one is; `gone`: its version is, and the newest is read up
    to the pin's cut. `serving`: when its rows were served, where that counts.
    """

    view: FeatureView
    place: Place
    dataset: ds.FileSystemDataset
    snapshot: Snapshot
    columns: Mapping[str, str]
    version: int
    pin: Pin | None = None
    gone: bool = False
    serving: Serving | None = None

    @property
    def name(self) -> str:
        """The view's name."""
        return str(self.view.name)

    @property
    def keys(self) -> list[str]:
        """The join keys' names in the view; none for a view without entities."""
        return [c.name for c in self.view.entity_columns if c.name != DUMMY_ENTITY_ID]

    def column(self, name: str) -> str:
        """The table's column of a field of the view."""
        return self.columns.get(name, name)

    def rows(
        self, until_us: int, *, known: bool, columns: Iterable[str] = ()
    ) -> tuple[SnapshotRows, Pin]:
        """Keys and times of the rows with event <= until, and what names them.

        `known`: only those with a created time.

        `columns`: those of the table that features are taken from.
        """
        source = self.view.batch_source
        assert source is not None
        event, created = (
            self.column(source.timestamp_field),
            self.column(source.created_timestamp_column or ""),
        )
        keys = {key: self.column(key) for key in self.keys}
        require(
            self.dataset, [*keys.values(), event, *filter(None, [created])], f"view {self.name}"
        )
        types = {name: str(self.dataset.schema.field(name).type) for name in columns}
        store = ANY if self.serving else ""
        rules = Rules(known and bool(created), ttl_us(self.view), types, store)
        if self.pin:
            same_rules(self.pin, rules, f"view {self.name}")
        rows = SnapshotRows.read(
            self.dataset, keys, event, created or None, until_us=self._until(until_us)
        )
        if self.pin and self.gone:
            where = f"view {self.name}"
            seen = rows_seen(rows.event, rows.created, self.pin, self.version, where)
            pin, rows = self.pin, rows.restricted_to(seen)
        elif self.pin and self.pin.covers(until_us, rules):
            pin = self.pin
        else:
            pin = Pin.of(self.snapshot, rows.event, rows.created, until_us, rules)
        return (rows.with_created() if known else rows), pin

    def _until(self, until_us: int) -> int:
        """A pin's count is of the rows up to its own time."""
        if self.pin is None or not self.gone:
            return until_us
        if until_us > self.pin.until_us:
            raise beyond_pin(self.pin, until_us, f"view {self.name}")
        return self.pin.until_us


def open_sources(
    config: RepoConfig, views: list[FeatureView], pins: Pins | None, *, served: bool = False
) -> list[ViewSource]:
    """The views' tables, at their pins if there are any; with `served`, when rows were served.

    Each is opened once, so that two views of one table see one version.
    """
    tables: dict[Place, DeltaTable] = {}
    sources = [_open(config, view, pins, tables) for view in views]
    return [replace(s, serving=_serving(s)) for s in sources] if served else sources


def _serving(source: ViewSource) -> Serving:
    """When the rows of a view's table were served; TableError where it is no table of a home."""
    name = Path(from_uri(source.place.uri)).name
    home = Path(from_uri(source.place.uri)).parent.parent
    if is_url(source.place.uri) or name not in TABLES:
        raise TableError(
            explain(
                f"view {source.name}, known_by: served",
                expected="a table of a home, whose load log says what was served",
                found=source.place.uri,
                mend="join with known_by: true",
            )
        )
    until_us = source.pin.pinned_us if source.pin else FOREVER
    return servings(Tables(home), [TABLES[name]], until_us=until_us)[name]


def _open(
    config: RepoConfig, view: FeatureView, pins: Pins | None, tables: dict[Place, DeltaTable]
) -> ViewSource:
    place = table_of(config, view.batch_source)
    assert view.batch_source is not None
    columns = {new: old for old, new in (view.batch_source.field_mapping or {}).items()}
    if pins is None:
        if place not in tables:
            tables[place] = open_table(place, f"view {view.name}")
        delta = tables[place]
        return ViewSource(
            view, place, dataset_of(delta), Snapshot.of_delta(delta), columns, delta.version()
        )
    pin = pins.views.get(view.name)
    if pin is None:
        raise TableError(
            explain(
                f"view {view.name}",
                expected="a pin, as the join is made on pins",
                found=f"pins of {', '.join(pins.views) or 'no view'}",
                mend="ask for the views of the pinned result, or leave pinned()",
            )
        )
    delta, gone = reopen_at(place, pin, f"view {view.name}")
    return ViewSource(view, place, dataset_of(delta), pin, columns, delta.version(), pin, gone)
