"""Files that say what others call their fields: their units of time, and how a file is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError

from vidtopics.errors import SettingsError, explain
from vidtopics.settings.section import Section
from vidtopics.yaml_files import read_mapping

Text = Annotated[str, Field(min_length=1)]
Map = TypeVar("Map", bound=Section)
TimeUnit = Literal["s", "ms", "us", "ns"]
PARTS_OF_A_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


class FieldMap(Section):
    """What every map says beside `fields` (ours: theirs), whose names are those of its subclass."""

    time_unit: TimeUnit = "s"
    """Of times that are numbers."""

    @property
    def parts_of_a_second(self) -> int:
        """How many units a second has.

        >>> FieldMap(time_unit="ms").parts_of_a_second
        1000
        """
        return PARTS_OF_A_SECOND[self.time_unit]


def read_map(path: Path, model: type[Map], page: str) -> Map:
    """The map that a YAML file says; errors name `page` of the documentation.

    Raises:
        SettingsError: the file can't be read, or a key or value is wrong.
    """
    try:
        return model.model_validate(dict(read_mapping(path)))
    except ValidationError as error:
        raise SettingsError("\n".join(_messages(path, error, page))) from None


def _messages(path: Path, error: ValidationError, page: str) -> Iterator[str]:
    for detail in error.errors():
        key = ".".join(map(str, detail["loc"]))
        yield explain(
            f"{path}, {key}" if key else str(path),
            expected=detail["msg"].removeprefix("Value error, "),
            found=ascii(detail["input"])[:80],
            mend=f"correct the key or value ({page})",
        )
