"""Training on stored encoder outputs: only the projections and the MMoE learn (Eq. 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from producers.content.dataset import Targets
from producers.content.joint_model import JointModel, JointShape, carry_over
from producers.content.mmoe import cross_entropy
from producers.content.representation import represent
from vidtopics.errors import ContractError, SettingsError, explain
from vidtopics.settings import ContentSettings

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A model and how it learned.

    * `losses`: float32 `(iterations, N)`, Eq. 2 per batch and task of :data:`dataset.TASKS`.
    """

    model: JointModel
    losses: NDArray[np.float32]


def train_joint(
    image_encodings: NDArray[np.float32],
    title_encodings: NDArray[np.float32],
    has_image: NDArray[np.bool_],
    has_title: NDArray[np.bool_],
    targets: Targets,
    settings: ContentSettings,
    *,
    seed: int,
    rows: NDArray[np.int64] | None = None,
    initial: JointModel | None = None,
    progress: Progress | None = None,
) -> TrainedModel:
    """A joint model of the videos that train.

    The same arguments give the same model on one machine with the same number of torch threads.

    Args:
        image_encodings: f_C(x_I), `(videos, image width)`; like the titles' it may be a memory map,
            of which a batch's rows alone are read.
        title_encodings: f_T(x_W), `(videos, title width)`.
        has_image: `(videos,)`; false: no readable cover.
        has_title: `(videos,)`; false: no title.
        targets: labels of the videos that train, in the order of `rows`.
        settings: learning rate, iterations and batch size of Adam (paper, IV-A: 0.001, 200, 300),
            and the model's shape.
        seed: of the initial weights and the batches.
        rows: int64 `(learners,)`, the videos that train; None: all, so that none is held out.
        initial: the last run's model to go on from; classes may have come and gone.
        progress: called after each iteration.

    Raises:
        ContractError: no video is given.
        EncoderError: `initial` has another shape than `settings` ask for.
        SettingsError: the loss overflows, as the learning rate is too great.
    """
    rows = np.arange(len(has_image)) if rows is None else rows
    steps = batches(len(rows), settings.batch_size, settings.iterations, seed=seed)
    shape = JointShape.of(
        settings,
        image_width=image_encodings.shape[1],
        title_width=title_encodings.shape[1],
        classes=targets.classes,
    )
    model = new_model(shape, seed=seed, initial=initial)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    losses: list[NDArray[np.float32]] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # dropout's draws
        for learners in steps:
            videos = rows[learners]
            inputs = (
                image_encodings[videos],
                title_encodings[videos],
                has_image[videos],
                has_title[videos],
            )
            logits = model(*(torch.from_numpy(x) for x in inputs))
            loss = cross_entropy(
                logits, label_rows(targets, learners), normalize_targets=settings.normalize_targets
            )
            optimizer.zero_grad()
            loss.sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(check_finite(loss.detach().numpy(), settings, len(losses) + 1))
            if progress:
                progress(len(losses), settings.iterations)
    return TrainedModel(model.eval(), np.stack(losses))


def joint_representation(
    model: JointModel,
    image_encodings: NDArray[np.float32],
    title_encodings: NDArray[np.float32],
    has_image: NDArray[np.bool_],
    has_title: NDArray[np.bool_],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Returns z of any videos and `content_blocks`: :func:`represent` with a model's weights."""
    weights = {name: x.cpu().numpy() for name, x in model.state_dict().items()}
    return represent(weights, image_encodings, title_encodings, has_image, has_title)


def new_model(shape: JointShape, *, seed: int, initial: JointModel | None) -> JointModel:
    """A model with seeded weights, or those of `initial`; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = JointModel(shape)
    if initial is not None:
        carry_over(model, initial)
    return model


def batches(videos: int, size: int, count: int, *, seed: int) -> Iterator[NDArray[np.int64]]:
    """`count` batches of `size` rows: every video once in random order, then all again in another.

    Raises:
        ContractError: at once, where there are no videos to fill a batch with.

    >>> [rows.tolist() for rows in batches(5, 3, 3, seed=1)]
    [[4, 0, 1], [2, 3, 3], [0, 1, 4]]
    """
    if videos < 1:
        raise ContractError(
            explain(
                "training",
                expected="at least 1 video to learn from",
                found="0",
                mend="add videos that are not held out (content.holdout_share)",
            )
        )
    return _batches(videos, size, count, np.random.default_rng(seed))


def check_finite(
    losses: NDArray[np.float32], settings: ContentSettings, iteration: int
) -> NDArray[np.float32]:
    """The losses of one iteration as they are; SettingsError where one is NaN or infinite."""
    if not np.isfinite(losses).all():
        raise SettingsError(
            explain(
                f"content.learning_rate, iteration {iteration}",
                expected="a finite loss",
                found=f"{losses.tolist()} at {settings.learning_rate:g}",
                mend="lower content.learning_rate",
            )
        )
    return losses


def _batches(
    videos: int, size: int, count: int, random: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    waiting = np.empty(0, np.int64)
    for _ in range(count):
        while len(waiting) < size:
            waiting = np.concatenate([waiting, random.permutation(videos)])
        yield waiting[:size]
        waiting = waiting[size:]


def label_rows(targets: Targets, rows: NDArray[np.int64]) -> list[Tensor]:
    """y^k of some videos, dense: per task `(len(rows), M^k)`."""
    return [torch.from_numpy(labels[rows].toarray()) for labels in targets.labels]
