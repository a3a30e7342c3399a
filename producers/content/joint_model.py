"""Encoder outputs -> z = [f_C(x_I), f_T(x_W)] -> MMoE (Eq. 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from producers.content.dataset import Classes
from producers.content.mmoe import MMoE
from vidtopics.errors import EncoderError, explain
from vidtopics.settings import ContentSettings

DROPOUT = 0.5
"""Of encodings before a projection: without it 200 iterations learn 6,000 films by heart."""


@dataclass(frozen=True)
class JointShape:
    """How a :class:`JointModel` is built; `vars(shape)` is plain JSON, saved with the tensors."""

    image_width: int
    title_width: int
    projection_width: int
    experts: int
    expert_width: int
    tower_width: int
    classes: Classes

    @staticmethod
    def of(
        settings: ContentSettings, *, image_width: int, title_width: int, classes: Classes
    ) -> JointShape:
        """The shape that `settings` ask for with encoders of these widths."""
        return JointShape(
            image_width=image_width,
            title_width=title_width,
            projection_width=settings.projection_width,
            experts=settings.experts,
            expert_width=settings.expert_width,
            tower_width=settings.tower_width,
            classes=classes,
        )

    @staticmethod
    def parse(tree: Mapping[str, Any]) -> JointShape:
        """The shape again, after JSON made lists of its tuples."""
        return JointShape(**{**tree, "classes": tuple(tuple(names) for names in tree["classes"])})

    @property
    def block_widths(self) -> tuple[int, int]:
        """Widths of z's cover block and title block."""
        widths = (self.image_width, self.title_width)
        return widths if self.projection_width == 0 else (self.projection_width,) * 2


class JointModel(nn.Module):
    """Two blocks side by side, z, and the MMoE on top of them.

    A block is the encoder's output; or with `projection_width` dropout, a linear map and layer
    normalisation without parameters. What is trained must lie before z: where the encoders are
    frozen, the projection is what Eq. 2 fine-tunes. The normalisation gives both blocks of every
    video one length while the MMoE learns, as they have when z is clustered. A missing cover or
    title is a zero block.

    Args:
        shape: widths, experts and the class names of each task.

    >>> shape = JointShape(image_width=5, title_width=4, projection_width=3, experts=2,
    ...                    expert_width=4, tower_width=4,
    ...                    classes=(("music", "sport"), ("jazz",), ("sax", "live", "blue")))
    >>> model = JointModel(shape).eval()
    >>> flags = torch.tensor([True, False])
    >>> [tuple(p.shape) for p in model(torch.ones(2, 5), torch.ones(2, 4), flags, flags)]
    [(2, 2), (2, 1), (2, 3)]
    """

    def __init__(self, shape: JointShape) -> None:
        super().__init__()
        self.shape = shape
        self.dropout = nn.Dropout(DROPOUT)
        projected = shape.projection_width > 0
        image, title = shape.block_widths
        self.image_projection = nn.Linear(shape.image_width, image) if projected else nn.Identity()
        self.title_projection = nn.Linear(shape.title_width, title) if projected else nn.Identity()
        self.mmoe = MMoE(
            width=image + title,
            classes=[len(names) for names in shape.classes],
            experts=shape.experts,
            expert_width=shape.expert_width,
            tower_width=shape.tower_width,
        )

    @staticmethod
    def restore(state: Mapping[str, Tensor], shape: Mapping[str, Any]) -> JointModel:
        """A saved model again, ready to represent; `shape` is what `vars(model.shape)` was."""
        model = JointModel(JointShape.parse(shape))
        model.load_state_dict(state)
        return model.eval()

    def blocks(
        self, image: Tensor, title: Tensor, has_image: Tensor, has_title: Tensor
    ) -> tuple[Tensor, Tensor]:
        """f_C `(B, image)`, f_T `(B, title)`, flags `(B,)` -> z's two blocks, zero if missing."""
        cover, words = image, title
        if self.shape.projection_width > 0:
            cover = self.image_projection(self.dropout(image))
            words = self.title_projection(self.dropout(title))
            cover, words = layer_norm(cover, cover.shape[1:]), layer_norm(words, words.shape[1:])
        return cover * has_image.unsqueeze(1), words * has_title.unsqueeze(1)

    def forward(
        self, image: Tensor, title: Tensor, has_image: Tensor, has_title: Tensor
    ) -> list[Tensor]:
        """Encoder outputs -> per task the logits `(B, M^k)` of p^k."""
        z = torch.cat(self.blocks(image, title, has_image, has_title), dim=1)
        logits: list[Tensor] = self.mmoe(z)
        return logits


@torch.no_grad()
def carry_over(model: JointModel, initial: JointModel) -> None:
    """Start `model` from `initial`, so that z stays comparable; classes are matched by name.

    Raises:
        EncoderError: the two differ in more than their classes.
    """
    new, old = vars(model.shape), vars(initial.shape)
    changed = [key for key in new if key != "classes" and new[key] != old[key]]
    if changed:
        raise EncoderError(
            explain(
                f"warm start of the joint model, {changed[0]}",
                expected=str(old[changed[0]]),
                found=str(new[changed[0]]),
                mend="restore the setting, or train anew and open a new topic epoch",
            )
        )
    target, source = model.state_dict(), initial.state_dict()
    for key in target:
        if ".towers." not in key:
            target[key].copy_(source[key])
    for k, (names, known) in enumerate(
        zip(model.shape.classes, initial.shape.classes, strict=True)
    ):
        _carry_tower(model.mmoe.towers[k], initial.mmoe.towers[k], names, known)


def _carry_tower(
    tower: nn.Module, source: nn.Module, names: tuple[str, ...], known: tuple[str, ...]
) -> None:
    row = {name: j for j, name in enumerate(known)}
    shared = [(j, row[name]) for j, name in enumerate(names) if name in row]
    to, of = [j for j, _ in shared], [i for _, i in shared]
    target, old = tower.state_dict(), source.state_dict()
    for key in target:
        if key.startswith("0."):  # the hidden layer; "2." is the layer with one row per class
            target[key].copy_(old[key])
        else:
            target[key][to] = old[key][of]
