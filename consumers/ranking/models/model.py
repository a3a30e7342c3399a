"""What every ranking model is: a batch in, log-odds out, and which inputs it may read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from consumers.ranking.examples import Batch

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
        base: numbers, user, video and the videos of the history: what a model without topics reads,
            and what the head that adds topics to it leaves out (`residual.py`).
    """

    ids: bool = False
    parents: bool = False
    match: bool = False
    attention: bool = False
    tiers: bool = False
    cover: bool = False
    base: bool = True

    @property
    def has_head(self) -> bool:
        """Whether it lets in anything of topics or covers.

        >>> Pieces().has_head, Pieces(match=True).has_head
        (False, True)
        """
        return replace(self, base=True) != Pieces()

    @property
    def reads_history(self) -> bool:
        """Whether it lets in anything of a history's impressions."""
        return self.base or self.reads_slots

    @property
    def reads_slots(self) -> bool:
        """Whether it lets in the topics of the candidate and of a history's videos."""
        return self.ids or self.parents or self.attention

    @property
    def head(self) -> Pieces:
        """The same without what a model without topics reads."""
        return replace(self, base=False)


TOPIC_PIECES = tuple(f.name for f in fields(Pieces) if f.name not in {"cover", "base"})
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

    shares_history = True
    """Whether it takes batches in which rows share a history (`SharedBatch`)."""

    def __init__(self, sizes: Sizes, pieces: Pieces, widths: Widths) -> None:
        super().__init__()
        self.sizes, self.pieces, self.widths = sizes, pieces, widths

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """Log-odds of a click, `(B,)`."""

    def zero_output(self) -> None:
        """Zeroes the last layer, so that a head adds nothing before it has learned something.

        A model whose log-odds are more than its last linear layer's output overrides it.
        """
        *_, last = (module for module in self.modules() if isinstance(module, nn.Linear))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
