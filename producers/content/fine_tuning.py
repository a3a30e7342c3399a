"""End to end, as in the paper: Eq. 2 trains f_C and f_T together with the MMoE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from producers.content.dataset import Targets
from producers.content.encoding import decoded_covers, present
from producers.content.image_encoder import ImageEncoder
from producers.content.joint_model import JointModel, JointShape
from producers.content.mmoe import cross_entropy
from producers.content.title_encoder import TitleEncoder
from producers.content.training import (
    Progress,
    TrainedModel,
    batches,
    check_finite,
    label_rows,
    new_model,
)
from vidtopics.settings import ContentSettings


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


def fine_tune(
    image_encoder: ImageEncoder,
    title_encoder: TitleEncoder,
    covers: Sequence[bytes | None],
    titles: Sequence[str],
    targets: Targets,
    settings: ContentSettings,
    *,
    seed: int,
    max_pixels: int,
    initial: JointModel | None = None,
    progress: Progress | None = None,
) -> TrainedModel:
    """Trains both encoders in place, on the device that they are on, and a joint model over them.

    A batch of Eq. 2 (paper: 300 videos) is worked through in pieces of `image_encoder.batch_size`
    videos, which bounds the memory; a piece's size changes the result by dropout's draws and
    rounding only. On a GPU the pieces run under autocast to bfloat16, whose range needs no scaling
    of the loss.

    Args:
        image_encoder: pre-trained f_C.
        title_encoder: pre-trained f_T, on the same device.
        covers: of the videos that train, as in :func:`encoding.encode_covers`.
        titles: of the same videos.
        targets: of the same videos.
        settings: as for :func:`training.train_joint`.
        seed: of the joint model's initial weights, the batches and dropout.
        max_pixels: above it a cover is a decompression bomb.
        initial: the last run's joint model, trained over these encoders' last weights.
        progress: called after each iteration.

    Raises:
        ContractError: no video is given.
        EncoderError: `initial` has another shape than `settings` ask for.
        SettingsError: the loss overflows, as the learning rate is too great.
    """
    steps = list(batches(len(covers), settings.batch_size, settings.iterations, seed=seed))
    shape = JointShape.of(
        settings,
        image_width=image_encoder.width,
        title_width=title_encoder.width,
        classes=targets.classes,
    )
    device = next(image_encoder.parameters()).device
    joint = new_model(shape, seed=seed, initial=initial).to(device)
    model = EndToEndModel(image_encoder, title_encoder, joint)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    pixels = decoded_covers(
        image_encoder.transform, covers, np.concatenate(steps).tolist(), max_pixels=max_pixels
    )
    losses: list[NDArray[np.float32]] = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model.train()
        for rows in steps:
            optimizer.zero_grad()
            loss = np.zeros(len(targets.classes), np.float32)
            for piece in _pieces(rows, settings.image_encoder.batch_size):
                images, has_image = present(
                    islice(pixels, len(piece)), image_encoder.transform.pixels
                )
                share = len(piece) / len(rows)
                words = [titles[i] for i in piece]
                part = (
                    _loss(model, images, has_image, words, label_rows(targets, piece), settings)
                    * share
                )
                part.sum().backward()  # type: ignore[no-untyped-call]
                loss += part.detach().cpu().numpy()
            optimizer.step()
            losses.append(check_finite(loss, settings, len(losses) + 1))
            if progress:
                progress(len(losses), len(steps))
    model.eval()
    return TrainedModel(joint.cpu(), np.stack(losses))


def _loss(
    model: EndToEndModel,
    images: Tensor,
    has_image: Tensor,
    titles: Sequence[str],
    labels: Sequence[Tensor],
    settings: ContentSettings,
) -> Tensor:
    """Eq. 2 per task, `(N,)`, on the model's device."""
    device = next(model.parameters()).device
    tokens = {name: x.to(device) for name, x in model.title_encoder.tokens(titles).items()}
    has_title = torch.tensor([bool(title.strip()) for title in titles])
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        logits = model(images.to(device), tokens, has_image.to(device), has_title.to(device))
    return cross_entropy(
        [x.float() for x in logits],
        [y.to(device) for y in labels],
        normalize_targets=settings.normalize_targets,
    )


def _pieces(rows: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]
