"""What every section of the settings is: a typed, immutable part of one tree."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import ValidationInfo

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """A part of the tree: immutable, no unknown keys, every number finite."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth_values(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML's `yes`, `on` and `true` are no numbers and no durations, which pydantic reads."""
        values = value if isinstance(value, list) else [value]
        annotation = cls.model_fields[str(info.field_name)].annotation
        if annotation is not bool and any(isinstance(item, bool) for item in values):
            raise PydanticCustomError("truth_value", "no truth value")
        return value
