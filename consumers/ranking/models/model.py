"""What every ranking model is: a batch in, log-odds out, and which inputs it may read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from consumers.ranking.inputs import Batch

TIERS = "_tier_"
"""What the names of the similarity tiers among a batch's `topic_numbers` have in them."""


@dataclass(frozen=True)
class Pieces:
    """The ways in which topics, or the paper's cover features, enter a model.

    Attributes:
        ids: topics of the candidate and of the clicked videos, embedded, with their weights.
        parents: the same one level up: coarse to fine.
        match: counts and residuals of the user in the candidate's topics, and the kernel residual.
        attention: topic overlap as a bias of the attention over the history (DIN alone).
        tiers: histogram of the history's similarity to the candidate, clicked and not.
        cover: 128 principal components of the cover's encoding, instead of topics in the paper.
    """

    ids: bool = False
    parents: bool = False
    match: bool = False
    attention: bool = False
    tiers: bool = False
    cover: bool = False


TOPIC_PIECES = tuple(field.name for field in fields(Pieces) if field.name != "cover")
VARIANTS: Mapping[str, Pieces] = MappingProxyType(
    {
        "none": Pieces(),
        "cover": Pieces(cover=True),
        "topics": Pieces(**dict.fromkeys(TOPIC_PIECES, True)),
        "topics + cover": Pieces(**dict.fromkeys(TOPIC_PIECES, True), cover=True),
    }
)
"""The columns of the paper's Table II, and both together."""


@dataclass(frozen=True)
class Sizes:
    """What a model's parameters are shaped by.

    Attributes:
        users, videos, topics, parents: codes of each, code 0 (unknown, or none) included.
        numbers: F, width of a batch's `numbers`.
        topic_numbers: names of the G columns of `topic_numbers`.
        cover: width of a batch's `cover`.
    """

    users: int
    videos: int
    topics: int
    parents: int
    numbers: int
    topic_numbers: tuple[str, ...]
    cover: int


@dataclass(frozen=True)
class Widths:
    """What is chosen of a model's shape; the search may vary it.

    Attributes:
        embedding: of a user and of a video.
        topic: of a topic (paper, IV-D: 8).
        hidden: of the hidden layers.
        crosses: cross layers of DCN.
        rows: of an embedding table at most; more codes than that share rows by a hash.
    """

    embedding: int = 16
    topic: int = 8
    hidden: tuple[int, ...] = (64, 32)
    crosses: int = 2
    rows: int = 2**18


class Model(nn.Module):
    """A click-through rate model; one file a model, named in `consumers.ranking.models.MODELS`."""

    def __init__(self, sizes: Sizes, pieces: Pieces, widths: Widths) -> None:
        super().__init__()
        self.sizes, self.pieces, self.widths = sizes, pieces, widths

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """Log-odds of a click, `(B,)`."""
