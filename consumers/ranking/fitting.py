"""Training Wide&Deep with a seed; held-out validation rows choose the epoch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch.nn.functional import binary_cross_entropy_with_logits

from consumers.ranking.examples import Examples
from consumers.ranking.vocabulary import Vocabulary
from consumers.ranking.wide_and_deep import WideAndDeep, probabilities
from vidtopics.settings import RankingSettings

UNKNOWN_SHARE = 0.1
"""Share of users and videos that training hides, so that code 0 learns to mean unknown."""
PATIENCE = 2
"""Epochs without a better one on the validation rows, after which training ends."""
SEEDING = Lock()
"""First weights come from torch's one random state: a model at a time takes them."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A model, the epochs that it was trained for, and its validation AUC after each of them."""

    model: WideAndDeep
    epochs: int
    auc: list[float]


def fit(
    examples: Examples,
    validation: Examples | None,
    settings: RankingSettings,
    known: Vocabulary,
    *,
    with_topics: bool,
    seed: int,
    epochs: int | None = None,
) -> Fitted:
    """Trains on `examples` and keeps the epoch that is best on `validation`.

    The same arguments give the same model on one machine with the same number of torch threads.

    Args:
        examples: rows to train on.
        validation: rows to choose the epoch by; None: the last of `epochs`.
        settings: widths, epochs, batch size, Adam's learning rate and weight decay.
        known: the vocabulary that `examples` are coded in.
        with_topics: whether the model sees topics.
        seed: of weights, batches and hidden ids.
        epochs: instead of those in `settings`.
    """
    with SEEDING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = WideAndDeep(
            users=len(known.users),
            videos=len(known.videos),
            topics=len(known.topics) if with_topics else 0,
            width=settings.embedding_width,
            topic_width=settings.topic_width,
            hidden=settings.hidden,
        )
    optimizer = torch.optim.Adam(
        model.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    random = np.random.default_rng(seed)
    auc: list[float] = []
    best: dict[str, torch.Tensor] = {}
    for _ in range(epochs or settings.epochs):
        _epoch(model, optimizer, examples, settings.batch_size, random)
        if validation is not None:
            auc.append(area_under_curve(validation.clicked, probabilities(model, validation)))
            if len(auc) - _best(auc) > PATIENCE:
                break
            if _best(auc) == len(auc):
                best = {name: value.detach().clone() for name, value in model.state_dict().items()}
    if best:
        model.load_state_dict(best)
    return Fitted(model.eval(), _best(auc) if auc else epochs or settings.epochs, auc)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch computes each operation on one thread, so that models can train side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def area_under_curve(clicked: NDArray[np.bool_], scores: NDArray[np.float32]) -> float:
    """AUC, the chance that a clicked impression scores above one that wasn't.

    NaN where all or none were clicked.

    >>> clicked = np.array([True, False, True, False])
    >>> area_under_curve(clicked, np.array([0.9, 0.5, 0.5, 0.1], np.float32))
    0.875
    """
    return (
        float(roc_auc_score(clicked, scores))
        if clicked.any() and not clicked.all()
        else float("nan")
    )


def _best(auc: list[float]) -> int:
    """The epoch, from 1, with the highest AUC; the first of equal ones."""
    return 1 + int(np.argmax(auc))


def _epoch(
    model: WideAndDeep,
    optimizer: torch.optim.Optimizer,
    examples: Examples,
    size: int,
    random: np.random.Generator,
) -> None:
    model.train()
    order = random.permutation(len(examples))
    for start in range(0, len(order), size):
        batch = examples.take(order[start : start + size])
        for codes in (batch.user, batch.video):
            codes[random.random(len(codes)) < UNKNOWN_SHARE] = 0
        loss = binary_cross_entropy_with_logits(
            model(batch), torch.from_numpy(batch.clicked.astype(np.float32))
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
