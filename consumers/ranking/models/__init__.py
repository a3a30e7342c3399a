"""Ranking models, one file each: to add one, write the file and name it here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from consumers.ranking.models.dcn import DCN
from consumers.ranking.models.din import DIN
from consumers.ranking.models.emlp import EMLP
from consumers.ranking.models.lr import LR
from consumers.ranking.models.model import VARIANTS, Model, Pieces, Sizes, Widths
from consumers.ranking.models.residual import Residual
from consumers.ranking.models.wide_and_deep import WideAndDeep

MODELS: Mapping[str, type[Model]] = MappingProxyType(
    {"lr": LR, "emlp": EMLP, "wide_and_deep": WideAndDeep, "dcn": DCN, "din": DIN}
)
"""By the name that settings and reports use."""


def compose(name: str, sizes: Sizes, pieces: Pieces, widths: Widths) -> Model:
    """A model without topics, or with a head for the pieces beside it.

    >>> sizes = Sizes(3, 5, 2, 2, numbers=4, topic_numbers=("topic_clicks",), cover=128)
    >>> type(compose("lr", sizes, Pieces(), Widths())).__name__
    'LR'
    >>> model = compose("lr", sizes, Pieces(match=True), Widths())
    >>> model.base.numbers.width, model.head.numbers.width, model.head.fields.width
    (4, 1, 0)
    """
    base = MODELS[name](sizes, Pieces(), widths)
    return Residual(base, MODELS[name](sizes, pieces.head, widths)) if pieces.has_head else base


__all__ = ["MODELS", "VARIANTS", "Model", "Pieces", "Residual", "Sizes", "Widths", "compose"]
