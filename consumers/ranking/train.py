"""Training a ranking model: one loop for all of them, with a seed, a checkpoint and a device."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from consumers.ranking.metrics import area_under_curve
from consumers.ranking.models import MODELS, Model, Pieces, Residual, Sizes, Widths
from consumers.ranking.models.layers import Numbers
from vidtopics.errors import SettingsError, explain
from vidtopics.files import write_whole
from vidtopics.settings import RankingSettings, digest

if TYPE_CHECKING:
    from consumers.ranking.examples import Batch, Examples

HIDDEN_SHARE = 0.1
"""Share of users and videos that training hides, so that code 0 learns to mean unknown."""
PATIENCE = 2
"""Epochs without a better one on the validation rows, after which training ends."""
SCALE_ROWS = 50_000
"""Training rows at most that the numbers' scale is taken from."""
SEEDING = Lock()
"""First weights come from torch's one random state: a model at a time takes them."""


Floats = NDArray[np.float32]
Epochs = tuple[int, ...]
"""Of the model without topics and, with them, of its head; 0: no epoch of the head helped."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A model, the epochs that it was trained for, and the validation AUC after each of them.

    Attributes:
        model: with its weights.
        epochs: of each of its parts.
        auc: of the part that was trained last; of a head it begins with the AUC without it.
        base: the model that `model` adds a head to.
    """

    model: Model
    epochs: Epochs
    auc: list[float]
    base: Trained | None = None
    _odds: WeakKeyDictionary[Examples, Floats] = field(default_factory=WeakKeyDictionary)
    _hidden_odds: WeakKeyDictionary[Examples, Floats] = field(default_factory=WeakKeyDictionary)

    def predict(self, examples: Examples) -> Floats:
        """float32[N], click probabilities."""
        return torch.sigmoid(torch.from_numpy(self.log_odds(examples))).numpy()

    def log_odds(self, examples: Examples) -> Floats:
        """float32[N]; remembered, as every head is trained on those of the same base."""
        if examples not in self._odds:
            if self.base is not None and isinstance(self.model, Residual):
                odds = self.base.log_odds(examples) + log_odds(self.model.head, examples)
            else:
                odds = log_odds(self.model, examples)
            self._odds[examples] = odds
        return self._odds[examples]

    def hidden_log_odds(self, examples: Examples) -> Floats:
        """float32[N], with user and candidate unknown; remembered likewise.

        What a head learns from: the embeddings of users and videos know their training rows by
        heart, so that with them little would be left over there, unlike on later rows.
        """
        if examples not in self._hidden_odds:
            nobody = np.zeros(len(examples), np.int32)
            hidden = replace(examples, user=nobody, video=nobody)
            self._hidden_odds[examples] = log_odds(self.model, hidden)
        return self._hidden_odds[examples]


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows to train on and rows to choose the epoch by, with the log-odds to start from."""

    train: Examples
    train_odds: Floats
    judge: Examples | None
    judge_odds: Floats


@dataclass
class _State:
    """Where a training stands after some epochs; `start`: the first epoch that `auc` is of."""

    model: Model
    optimizer: torch.optim.Optimizer
    start: int
    auc: list[float] = field(default_factory=list)
    best: Mapping[str, Tensor] = field(default_factory=dict)
    epochs: int = 0

    @property
    def best_epoch(self) -> int:
        """The epoch with the highest AUC; the first of equal ones."""
        return self.start + int(np.argmax(self.auc))


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
    with SEEDING, torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")  # no numbers: a head
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
    epochs: Epochs | None = None,
    checkpoint: Path | None = None,
    base: Trained | None = None,
) -> Trained:
    """Trains on `examples` by Adam and log loss; keeps the epoch that is best on `validation`.

    First the model without topics; where the pieces let something more in, then a head on what that
    leaves over (:mod:`consumers.ranking.models.residual`).

    The same arguments give the same model on one machine with the same number of torch threads.
    What an epoch draws follows from seed and epoch, so that a training that goes on from its
    checkpoint ends in the same bytes (docs/adr/0030).

    Args:
        name: in :data:`consumers.ranking.models.MODELS`.
        pieces: what the model reads.
        sizes: of the vocabulary that `examples` are coded in.
        examples: rows to train on.
        validation: rows to choose the epoch by (highest AUC); None: the last of `epochs`.
        settings: widths, epochs, batch size, Adam's learning rate and weight decay (the head has
            its own), device.
        seed: of weights, batches and hidden ids.
        epochs: of each part, instead of those in `settings`.
        checkpoint: a file written after each epoch (beside it one of the head), gone at the end; a
            training of the same goes on from it.
        base: the model without topics, already trained on the same rows.

    Raises:
        SettingsError: torch has no such device here.
    """
    files = [checkpoint, checkpoint and checkpoint.with_name(f"{checkpoint.name}.head")]
    zero = [
        np.zeros(0 if rows is None else len(rows), np.float32) for rows in (examples, validation)
    ]
    rows = _Rows(examples, zero[0], validation, zero[1])
    limits = epochs or (settings.epochs, settings.epochs)
    if base is None:
        model = build(name, sizes, Pieces(), widths_of(settings), seed=seed)
        base = _train_part(model, rows, settings, seed, limits[0], files[0])
    trained = base
    if pieces.has_head:
        head = build(name, sizes, pieces.head, widths_of(settings), seed=seed)
        head.zero_output()
        judge_odds = zero[1] if validation is None else base.log_odds(validation)
        rows = _Rows(examples, base.hidden_log_odds(examples), validation, judge_odds)
        part = _train_part(head, rows, settings, seed, limits[1], files[1])
        model = Residual(base.model, head)
        trained = Trained(model.eval(), base.epochs + part.epochs, part.auc, base)
    for file in files:
        if file:
            file.unlink(missing_ok=True)
    return trained


def _train_part(
    model: Model,
    rows: _Rows,
    settings: RankingSettings,
    seed: int,
    limit: int,
    checkpoint: Path | None,
) -> Trained:
    """Trains a model, or a head on the log-odds that its base leaves it."""
    device, is_head = choose_device(settings.device), not model.pieces.base
    set_scale(model, rows.train)
    model.to(device)
    optimizer = torch.optim.Adam(
        model.parameters(),
        lr=settings.topic_learning_rate if is_head else settings.learning_rate,
        weight_decay=settings.topic_weight_decay if is_head else settings.weight_decay,
        fused=True,
    )
    state = _State(model, optimizer, start=0 if is_head else 1)
    key = digest(model.pieces, model.sizes, len(rows.train), settings, seed, limit)
    _restore(state, checkpoint, key)
    if is_head and not state.auc:
        _judge(state, rows)
    while state.epochs < limit and not _is_overtrained(state):
        _train_epoch(state, rows, settings.batch_size, device, seed)
        _judge(state, rows)
        _save(state, checkpoint, key)
    if state.best:
        model.load_state_dict(state.best)
    epochs = state.best_epoch if state.auc else state.epochs
    return Trained(model.cpu().eval(), (epochs,), state.auc)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch computes each operation on one thread, so that models can train side by side.

    The number is each calling thread's own: others go on with theirs.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def predict(model: Model, examples: Examples) -> Floats:
    """float32[N], click probabilities as the model sees them."""
    return torch.sigmoid(torch.from_numpy(log_odds(model, examples))).numpy()


def log_odds(model: Model, examples: Examples, *, rows: int = 8_192) -> Floats:
    """float32[N], log-odds as the model sees them, `rows` at a time."""
    if model.training:
        model.eval()
    odds = np.empty(len(examples), np.float32)
    device = next(model.parameters()).device
    with torch.inference_mode():
        for start in range(0, len(examples), rows):
            chosen = np.arange(start, min(start + rows, len(examples)))
            batch = batch_of(model, examples, chosen, shared=model.shares_history)
            odds[chosen] = model(batch.to(device)).cpu().numpy()
    return odds


def batch_of(
    model: Model, examples: Examples, rows: NDArray[np.int64], *, shared: bool = False
) -> Batch:
    """A batch with what the model's pieces let in; `shared` as :meth:`Examples.batch` has it."""
    pieces = model.pieces
    return examples.batch(
        rows, history=pieces.reads_history, topics=pieces.reads_slots, shared=shared
    )


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


def _is_overtrained(state: _State) -> bool:
    return bool(state.auc) and state.epochs - state.best_epoch >= PATIENCE


def set_scale(model: Model, examples: Examples) -> None:
    """Numbers to one scale, by rows spread evenly over the examples."""
    rows = np.unique(np.linspace(0, len(examples) - 1, SCALE_ROWS).astype(np.int64))
    parts = [m for m in model.modules() if isinstance(m, Numbers)]
    batch = examples.batch(rows, history=False)
    for numbers in parts:
        numbers.set_scale(batch)


def _train_epoch(state: _State, rows: _Rows, size: int, device: torch.device, seed: int) -> None:
    state.model.train()
    random = np.random.default_rng([seed, state.epochs])
    order = random.permutation(len(rows.train))
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        batch = hide(batch_of(state.model, rows.train, chosen), random).to(device)
        odds = state.model(batch) + torch.from_numpy(rows.train_odds[chosen]).to(device)
        loss = binary_cross_entropy_with_logits(odds, batch.clicked)
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


def _judge(state: _State, rows: _Rows) -> None:
    """AUC of the epoch on the validation rows; its weights where it is the best."""
    if rows.judge is None:
        return
    scores = log_odds(state.model, rows.judge) + rows.judge_odds
    state.auc.append(area_under_curve(rows.judge.clicked, scores))
    if state.best_epoch == state.epochs:
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
