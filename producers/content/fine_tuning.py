"""End to end, as in the paper: Eq. 2 trains f_C and f_T together with the MMoE."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from producers.content.dataset import TASKS, Targets
from producers.content.device import choose_device, compile_on_gpu, describe_device
from producers.content.encoding import Decoded, decoded_covers, present
from producers.content.end_to_end import EndToEndModel, Piece, piece_loss
from producers.content.image_encoder import ImageEncoder
from producers.content.joint_model import JointModel, JointShape
from producers.content.processes import Processes
from producers.content.title_encoder import TitleEncoder
from producers.content.training import batches, check_finite, label_rows, new_model
from producers.content.training_state import (
    Checkpoint,
    TrainingState,
    pack_tensors,
    unpack_tensors,
)
from vidtopics.settings import ContentSettings


@dataclass(frozen=True)
class StepFacts:
    """One iteration of fine-tuning; as text, a line of progress.

    * `losses`: Eq. 2 per task of :data:`dataset.TASKS`.
    * `validation_loss`: their sum on the validation part; None where this iteration has no check.
    * `videos_per_second`: of all processes, checks and checkpoints included.

    >>> print(StepFacts(20, 200, (3.5, 5.25, 8.0), 16.5, 41.3, "CPU, threads: 2"))
    iteration 20/200: loss primary 3.500, secondary 5.250, tags 8.000; validation 16.500;
    41.3 videos/s (CPU, threads: 2)
    """

    step: int
    steps: int
    losses: tuple[float, ...]
    validation_loss: float | None
    videos_per_second: float
    device: str

    def __str__(self) -> str:
        losses = ", ".join(f"{t} {x:.3f}" for t, x in zip(TASKS, self.losses, strict=True))
        check = "" if self.validation_loss is None else f"; validation {self.validation_loss:.3f}"
        return (
            f"iteration {self.step}/{self.steps}: loss {losses}{check}; "
            f"{self.videos_per_second:.1f} videos/s ({self.device})"
        )


Log = Callable[[StepFacts], None]


@dataclass(frozen=True, eq=False)
class FineTuned:
    """A joint model over encoders that were trained with it, and how they learned.

    * `losses`: float32 `(iterations, N)`, Eq. 2 per batch and task.
    * `checks`: validation loss by iteration; empty where none was asked for.
    * `best_step`: the iteration whose weights these are.
    * `stopped_early`: the loss had not improved for `content.patience` checks.
    """

    joint: JointModel
    losses: NDArray[np.float32]
    checks: Mapping[int, float]
    best_step: int
    stopped_early: bool


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
    validation: NDArray[np.bool_] | None = None,
    device: str = "auto",
    initial: JointModel | None = None,
    checkpoint: Checkpoint | None = None,
    log: Log = lambda facts: None,
) -> FineTuned:
    """Trains both encoders in place and a joint model over them; they end on the device.

    A batch of Eq. 2 (paper: 300 videos) is worked through in pieces of `image_encoder.batch_size`
    videos, which bounds the memory; a piece's size changes the result by dropout's draws and
    rounding only. Where torch.distributed has several processes, all call this with the same
    arguments: each takes its part of every batch, and the gradients are the batch's.

    Each iteration's random draws (dropout) follow from `seed`, its number and the process's rank
    alone, so that a run that goes on from a state ends with the same weights, bit for bit on a CPU.

    Args:
        image_encoder: pre-trained f_C.
        title_encoder: pre-trained f_T.
        covers: of the videos that train, as in :func:`encoding.encode_covers`.
        titles: of the same videos.
        targets: of the same videos.
        settings: as for :func:`training.train_joint`; `patience` and `check_every`.
        seed: of the joint model's initial weights, the batches and dropout.
        max_pixels: above it a cover is a decompression bomb.
        validation: bool `(videos,)`, those that training is judged on (:func:`validation_part`);
            used where `settings.patience` is above 0.
        device: a name of :func:`device.choose_device`.
        initial: the last run's joint model, trained over these encoders' last weights.
        checkpoint: where states go to, and the one to go on from.
        log: called after each iteration, in each process.

    Raises:
        ContractError: no video is given to learn from.
        EncoderError: `initial` has another shape than `settings` ask for.
        SettingsError: the loss overflows, as the learning rate is too great, or a batch has fewer
            videos than there are processes.
    """
    judged = np.zeros(len(covers), np.bool_)
    if validation is not None and settings.patience:
        judged = validation
    learning = np.flatnonzero(~judged)
    steps = [
        learning[rows]
        for rows in batches(len(learning), settings.batch_size, settings.iterations, seed=seed)
    ]
    shape = JointShape.of(
        settings,
        image_width=image_encoder.width,
        title_width=title_encoder.width,
        classes=targets.classes,
    )
    model = EndToEndModel(
        image_encoder, title_encoder, new_model(shape, seed=seed, initial=initial)
    )
    trainer = Trainer(
        model, Videos(covers, titles, targets, max_pixels), settings, seed, choose_device(device)
    )
    with torch.random.fork_rng():
        return trainer.run(steps, np.flatnonzero(judged), checkpoint, log)


@dataclass(frozen=True, eq=False)
class Videos:
    """Covers, titles and labels of the same videos."""

    covers: Sequence[bytes | None]
    titles: Sequence[str]
    targets: Targets
    max_pixels: int


class Trainer:
    """Adam on an :class:`EndToEndModel`, in this process's part of every batch.

    Args:
        model: moved to `device`.
        videos: that rows are of.
        settings: learning rate, piece, patience.
        seed: of dropout.
        device: to train on.
    """

    def __init__(
        self,
        model: EndToEndModel,
        videos: Videos,
        settings: ContentSettings,
        seed: int,
        device: torch.device,
    ) -> None:
        self.model = model.to(device)
        self.videos = videos
        self.settings = settings
        self.seed = seed
        self.device = device
        self.processes = Processes.of_group(settings.batch_size)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
        self.losses: list[NDArray[np.float32]] = []
        self.checks: dict[int, float] = {}
        self.best: dict[str, Tensor] = {}

    def run(
        self,
        steps: Sequence[NDArray[np.int64]],
        judged: NDArray[np.int64],
        checkpoint: Checkpoint | None,
        log: Log,
    ) -> FineTuned:
        """All iterations, or until the loss on `judged` no longer falls; then the best weights."""
        done = self._go_on_from(checkpoint.last if checkpoint else None)
        own = [self.processes.part(rows) for rows in steps]
        pixels = self._decoded(np.concatenate([np.empty(0, np.int64), *own[done:]]))
        compile_on_gpu(self.model.image_encoder, self.device)
        compile_on_gpu(self.model.title_encoder, self.device)
        network = self.processes.wrap(self.model)
        name, began = describe_device(self.device), time.perf_counter()
        for step in range(done + 1, len(steps) + 1):
            if self._stops():
                break
            rows = steps[step - 1]
            self.losses.append(self._step(step, network, rows, own[step - 1], pixels))
            if len(judged) and step % self.settings.check_every == 0:
                self._check(step, judged)
            if checkpoint and step % checkpoint.every == 0 and self.processes.rank == 0:
                checkpoint.save(self._state(step))
            ended = time.perf_counter()
            losses = tuple(self.losses[-1].tolist())
            rate = len(rows) / (ended - began)
            log(StepFacts(step, len(steps), losses, self.checks.get(step), rate, name))
            began = ended
        return self._result(len(steps))

    def _step(
        self,
        step: int,
        network: torch.nn.Module,
        rows: NDArray[np.int64],
        own: NDArray[np.int64],
        pixels: Iterator[Decoded],
    ) -> NDArray[np.float32]:
        """One iteration of Adam on a batch, of which `own` is this process's part; its losses."""
        self.model.train()
        entropy = np.random.SeedSequence([self.seed, step, self.processes.rank])
        torch.manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> 1))
        self.optimizer.zero_grad()
        loss = torch.zeros(len(TASKS), device=self.device)
        pieces = self._pieces(own)
        for i, piece in enumerate(pieces, 1):
            with self.processes.summed_gradients(network, now=i == len(pieces)):
                of_piece = self._loss(network, piece, pixels) * (len(piece) / len(rows))
                # Gradients of processes are averaged, and here have to be summed.
                (of_piece.sum() * self.processes.count).backward()  # type: ignore[no-untyped-call]
            loss += of_piece.detach()
        losses = check_finite(self.processes.sum(loss).cpu().numpy(), self.settings, step)
        self.optimizer.step()
        return losses

    def _check(self, step: int, judged: NDArray[np.int64]) -> None:
        """The validation loss of these weights, which are kept where none were better."""
        self.model.eval()
        own = self.processes.part(judged)
        pixels = self._decoded(own)
        loss = torch.zeros(len(TASKS), device=self.device)
        with torch.no_grad():
            for piece in self._pieces(own):
                loss += self._loss(self.model, piece, pixels) * (len(piece) / len(judged))
        best = min(self.checks.values(), default=float("inf"))
        self.checks[step] = float(self.processes.sum(loss).sum())
        if self.checks[step] < best:
            self.best = {k: x.detach().cpu().clone() for k, x in self.model.state_dict().items()}

    def _loss(
        self, network: torch.nn.Module, rows: NDArray[np.int64], pixels: Iterator[Decoded]
    ) -> Tensor:
        """Eq. 2 per task of some videos, whose covers are the next of `pixels`."""
        images, has_image = present(
            islice(pixels, len(rows)), self.model.image_encoder.transform.pixels
        )
        titles = [self.videos.titles[i] for i in rows]
        tokens = self.model.title_encoder.tokens(titles)
        piece = Piece(
            images.to(self.device),
            {name: x.to(self.device) for name, x in tokens.items()},
            has_image.to(self.device),
            torch.tensor([bool(title.strip()) for title in titles], device=self.device),
            [y.to(self.device) for y in label_rows(self.videos.targets, rows)],
        )
        return piece_loss(network, piece, normalize_targets=self.settings.normalize_targets)

    def _decoded(self, rows: NDArray[np.int64]) -> Iterator[Decoded]:
        return decoded_covers(
            self.model.image_encoder.transform,
            self.videos.covers,
            rows.tolist(),
            max_pixels=self.videos.max_pixels,
        )

    def _pieces(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        size = self.settings.image_encoder.batch_size
        return [rows[i : i + size] for i in range(0, len(rows), size)]

    def _best_step(self) -> int:
        return min(self.checks, key=lambda step: (self.checks[step], step))

    def _stops(self) -> bool:
        """Whether as many checks as `patience` have passed without a better one."""
        if not self.checks:
            return False
        since_best = (max(self.checks) - self._best_step()) // self.settings.check_every
        return since_best >= self.settings.patience

    def _state(self, step: int) -> TrainingState:
        tensors = pack_tensors(self.model, self.best, self.optimizer)
        return TrainingState(step, tensors, np.stack(self.losses), dict(self.checks))

    def _go_on_from(self, state: TrainingState | None) -> int:
        """Take over a state; returns the iterations that it has behind it."""
        if state is None:
            return 0
        self.best = unpack_tensors(state.tensors, self.model, self.optimizer)
        self.losses, self.checks = list(state.losses), dict(state.checks)
        return state.step

    def _result(self, steps: int) -> FineTuned:
        done = len(self.losses)
        if self.best:
            self.model.load_state_dict(self.best)
        self.model.eval()
        return FineTuned(
            self.model.joint.cpu(),
            np.stack(self.losses),
            self.checks,
            self._best_step() if self.checks else done,
            done < steps,
        )
