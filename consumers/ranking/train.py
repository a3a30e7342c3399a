"""Training a ranking model: one loop for all of them, with a seed, a checkpoint and a device."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from consumers.ranking.metrics import area_under_curve
from consumers.ranking.models import MODELS, Model, Pieces, Sizes, Widths
from consumers.ranking.models.layers import Numbers
from vidtopics.errors import SettingsError, explain
from vidtopics.files import write_whole
from vidtopics.settings import RankingSettings, digest

if TYPE_CHECKING:
    from consumers.ranking.inputs import Batch, Examples

HIDDEN_SHARE = 0.1
"""Share of users and videos that training hides, so that code 0 learns to mean unknown."""
PATIENCE = 2
"""Epochs without a better one on the validation rows, after which training ends."""
SCALE_ROWS = 50_000
"""Training rows at most that the numbers' scale is taken from."""
SEEDING = Lock()
"""First weights come from torch's one random state: a model at a time takes them."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A model, the epochs that it was trained for, and its validation AUC after each of them."""

    model: Model
    epochs: int
    auc: list[float]

    def predict(self, examples: Examples) -> NDArray[np.float32]:
        """float32[N], click probabilities."""
        return predict(self.model, examples)


@dataclass
class _State:
    """Where a training stands after some epochs."""

    model: Model
    optimizer: torch.optim.Optimizer
    auc: list[float] = field(default_factory=list)
    best: Mapping[str, Tensor] = field(default_factory=dict)
    epochs: int = 0


def widths_of(settings: RankingSettings) -> Widths:
    """The widths that settings name."""
    return Widths(
        settings.embedding_width,
        settings.topic_width,
        settings.hidden,
        settings.cross_layers,
        settings.table_rows,
    )


def build(name: str, sizes: Sizes, pieces: Pieces, widths: Widths, *, seed: int) -> Model:
    """A model with first weights that follow from the seed alone."""
    with SEEDING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MODELS[name](sizes, pieces, widths)


def train(
    name: str,
    pieces: Pieces,
    sizes: Sizes,
    examples: Examples,
    validation: Examples | None,
    settings: RankingSettings,
    *,
    seed: int,
    epochs: int | None = None,
    checkpoint: Path | None = None,
) -> Trained:
    """Trains on `examples` by Adam and log loss; keeps the epoch that is best on `validation`.

    The same arguments give the same model on one machine with the same number of torch threads.
    What an epoch draws follows from seed and epoch, so that a training that goes on from its
    checkpoint ends in the same bytes (docs/adr/0030).

    Args:
        name: in :data:`consumers.ranking.models.MODELS`.
        pieces: what the model reads.
        sizes: of the vocabulary that `examples` are coded in.
        examples: rows to train on.
        validation: rows to choose the epoch by (highest AUC); None: the last of `epochs`.
        settings: widths, epochs, batch size, Adam's learning rate and weight decay, device.
        seed: of weights, batches and hidden ids.
        epochs: instead of those in `settings`.
        checkpoint: a file written after each epoch, gone at the end; a training of the same goes on
            from it.

    Raises:
        SettingsError: torch has no such device here.
    """
    device = choose_device(settings.device)
    model = build(name, sizes, pieces, widths_of(settings), seed=seed)
    set_scale(model, examples)
    model.to(device)
    optimizer = torch.optim.Adam(
        model.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    state, limit = _State(model, optimizer), epochs or settings.epochs
    key = digest(name, pieces, sizes, len(examples), settings, seed, limit)
    _restore(state, checkpoint, key)
    while state.epochs < limit and not _is_overtrained(state.auc):
        _train_epoch(state, examples, settings.batch_size, device, seed)
        if validation is not None:
            _judge(state, validation)
        _save(state, checkpoint, key)
    if state.best:
        model.load_state_dict(state.best)
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    return Trained(
        model.cpu().eval(), best_epoch(state.auc) if state.auc else state.epochs, state.auc
    )


def predict(model: Model, examples: Examples, *, rows: int = 8_192) -> NDArray[np.float32]:
    """float32[N], click probabilities as the model sees them, `rows` at a time."""
    model.eval()
    scores = np.empty(len(examples), np.float32)
    device = next(model.parameters()).device
    with torch.inference_mode():
        for start in range(0, len(examples), rows):
            chosen = np.arange(start, min(start + rows, len(examples)))
            batch = examples.batch(chosen).to(device)
            scores[chosen] = torch.sigmoid(model(batch)).cpu().numpy()
    return scores


def choose_device(name: str) -> torch.device:
    """The device of a name; `auto`: CUDA where there is one, else the CPU.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    has_cuda = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if has_cuda else "cpu")
    if name == "cuda" and not has_cuda:
        raise SettingsError(
            explain(
                "setting ranking.device",
                expected="a device that torch has here",
                found=name,
                mend="set it to auto or cpu",
            )
        )
    return torch.device(name)


def best_epoch(auc: list[float]) -> int:
    """The epoch, from 1, with the highest AUC; the first of equal ones.

    >>> best_epoch([0.6, 0.7, 0.7])
    2
    """
    return 1 + int(np.argmax(auc))


def _is_overtrained(auc: list[float]) -> bool:
    return bool(auc) and len(auc) - best_epoch(auc) >= PATIENCE


def set_scale(model: Model, examples: Examples) -> None:
    """Numbers to one scale, by rows spread evenly over the examples."""
    rows = np.unique(np.linspace(0, len(examples) - 1, SCALE_ROWS).astype(np.int64))
    parts = [m for m in model.modules() if isinstance(m, Numbers)]
    batch = examples.batch(rows)
    for numbers in parts:
        numbers.set_scale(batch)


def _train_epoch(
    state: _State, examples: Examples, size: int, device: torch.device, seed: int
) -> None:
    state.model.train()
    random = np.random.default_rng([seed, state.epochs])
    order = random.permutation(len(examples))
    for start in range(0, len(order), size):
        batch = hide(examples.batch(order[start : start + size]), random).to(device)
        loss = binary_cross_entropy_with_logits(state.model(batch), batch.clicked)
        state.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        state.optimizer.step()
    state.epochs += 1


def hide(batch: Batch, random: np.random.Generator) -> Batch:
    """Some users and candidates as unknown ones."""
    hidden = torch.from_numpy(random.random((2, len(batch.clicked))) < HIDDEN_SHARE)
    return replace(
        batch,
        user=batch.user.masked_fill(hidden[0], 0),
        video=batch.video.masked_fill(hidden[1], 0),
    )


def _judge(state: _State, validation: Examples) -> None:
    """AUC of the epoch; its weights where it is the best."""
    state.auc.append(area_under_curve(validation.clicked, predict(state.model, validation)))
    if best_epoch(state.auc) == len(state.auc):
        weights = state.model.state_dict().items()
        state.best = {name: value.detach().clone() for name, value in weights}


def _save(state: _State, path: Path | None, key: str) -> None:
    if path is None:
        return
    plain = {
        "key": key,
        "model": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "auc": state.auc,
        "best": state.best,
        "epochs": state.epochs,
    }
    data = io.BytesIO()
    torch.save(plain, data)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, data.getvalue())


def _restore(state: _State, path: Path | None, key: str) -> None:
    """The checkpoint of the same training; of another one, or a broken one, nothing."""
    if path is None or not path.is_file():
        return
    try:
        plain: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    except Exception:
        return
    if plain.get("key") != key:
        return
    state.model.load_state_dict(plain["model"])
    state.optimizer.load_state_dict(plain["optimizer"])
    state.auc, state.best, state.epochs = plain["auc"], plain["best"], plain["epochs"]
