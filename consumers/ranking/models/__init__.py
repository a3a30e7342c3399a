"""Ranking models, one file each: to add one, write the file and name it here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from consumers.ranking.models.dcn import DCN
from consumers.ranking.models.din import DIN
from consumers.ranking.models.emlp import EMLP
from consumers.ranking.models.lr import LR
from consumers.ranking.models.model import VARIANTS, Model, Pieces, Sizes, Widths
from consumers.ranking.models.wide_and_deep import WideAndDeep

MODELS: Mapping[str, type[Model]] = MappingProxyType(
    {"lr": LR, "emlp": EMLP, "wide_and_deep": WideAndDeep, "dcn": DCN, "din": DIN}
)
"""By the name that settings and reports use."""

__all__ = ["MODELS", "VARIANTS", "Model", "Pieces", "Sizes", "Widths"]
