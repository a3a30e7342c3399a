"""The whole of Eq. 1 as one model, from pixels and words, and Eq. 2 on a piece of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from producers.content.device import trains_in_bfloat16
from producers.content.image_encoder import ImageEncoder
from producers.content.joint_model import JointModel
from producers.content.mmoe import cross_entropy
from producers.content.title_encoder import TitleEncoder


class EndToEndModel(nn.Module):
    """Eq. 1 from pixels and words to the logits of p^k.

    Batch normalisation keeps its pre-trained statistics in training too: a video's output then
    depends on no other video, and gradients of pieces of a batch add up to the batch's.
    """

    def __init__(
        self, image_encoder: ImageEncoder, title_encoder: TitleEncoder, joint: JointModel
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.title_encoder = title_encoder
        self.joint = joint

    def train(self, mode: bool = True) -> Self:
        """Dropout on; batch normalisation stays as in evaluation."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def forward(
        self, images: Tensor, tokens: Mapping[str, Tensor], has_image: Tensor, has_title: Tensor
    ) -> list[Tensor]:
        """`(B, 3, pixels, pixels)`, `(B, T)` each, `(B,)`, `(B,)` -> per task `(B, M^k)`."""
        logits: list[Tensor] = self.joint(
            self.image_encoder(images), self.title_encoder(tokens), has_image, has_title
        )
        return logits


@dataclass(frozen=True, eq=False)
class Piece:
    """Some videos of a batch as the model takes them, on its device.

    * `images`: float32 `(B, 3, pixels, pixels)`; `has_image`: bool `(B,)`.
    * `tokens`: the tokenizer's tensors, `(B, T)` each; `has_title`: bool `(B,)`.
    * `labels`: y^k, per task float32 `(B, M^k)`.
    """

    images: Tensor
    tokens: Mapping[str, Tensor]
    has_image: Tensor
    has_title: Tensor
    labels: Sequence[Tensor]


def piece_loss(model: nn.Module, piece: Piece, *, normalize_targets: bool) -> Tensor:
    """Eq. 2 per task, averaged over the piece, `(N,)`; bfloat16 on a GPU."""
    device = piece.images.device
    with torch.autocast(device.type, torch.bfloat16, enabled=trains_in_bfloat16(device)):
        logits = model(piece.images, piece.tokens, piece.has_image, piece.has_title)
    return cross_entropy(
        [x.float() for x in logits], piece.labels, normalize_targets=normalize_targets
    )
