"""What the files of a delivery call their columns, for those whose exports have other names.

A YAML file says it, for each file of the folder format::

    videos: {fields: {video_id: item, title: name, cover: null}}
    impressions: {fields: {user_id: viewer, event_timestamp: shown_ms}, time_unit: ms}
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import ValidationInfo

from vidtopics.ingest import log, tags, videos
from vidtopics.ingest.columns import Columns
from vidtopics.ingest.field_maps import FieldMap, Text, read_map
from vidtopics.settings.section import Section

COLUMNS: Mapping[str, Columns] = {
    "videos": videos.COLUMNS,
    "impressions": log.COLUMNS,
    "tags": tags.COLUMNS,
}
"""Of each file of the folder format."""


class FileFields(FieldMap):
    """What one file calls its columns; those that aren't named have the format's names there.

    >>> FileFields(fields={"title": "name"}).of(Columns(["video_id", "title"])).names_in_file
    {'video_id': 'video_id', 'title': 'name'}
    """

    fields: dict[Text, Text | None] = Field(default_factory=dict)
    """Ours to theirs; null: the file has no such column, and its values are empty."""

    def of(self, columns: Columns) -> Columns:
        """The columns, as the file has them."""
        return replace(columns, delivered=self.fields, parts_of_a_second=self.parts_of_a_second)


class DeliveryMap(Section):
    """The fields of each file of a delivery.

    >>> fields = DeliveryMap(videos={"fields": {"video_id": "item"}})
    >>> fields.columns("videos").names_in_file["video_id"]
    'item'
    """

    videos: FileFields = FileFields()
    impressions: FileFields = FileFields()
    tags: FileFields = FileFields()

    @field_validator("videos", "impressions", "tags")
    @classmethod
    def _refuse_other_columns(cls, file: FileFields, info: ValidationInfo) -> FileFields:
        names = COLUMNS[str(info.field_name)].names
        for name in file.fields:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                hint = f" (did you mean {near[0]}?)" if near else ""
                message = f"columns of {info.field_name}: {', '.join(names)}; not {name!r}{hint}"
                raise PydanticCustomError("column", "{message}", {"message": message})
        return file

    def columns(self, file: str) -> Columns:
        """The columns of `videos`, `impressions` or `tags`, as the delivery has them."""
        fields: FileFields = getattr(self, file)
        return fields.of(COLUMNS[file])


def read_delivery_map(path: Path) -> DeliveryMap:
    """What a YAML file says of a delivery.

    Raises:
        SettingsError: the file can't be read, or a key or value is wrong.
    """
    return read_map(path, DeliveryMap, "docs/tables.md, Other names")
