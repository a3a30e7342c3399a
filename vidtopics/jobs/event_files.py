"""How a training goes, as a file that TensorBoard reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from producers.content.fine_tuning import StepFacts


@contextmanager
def event_file(
    folder: Path, *, first_step: int, report: Callable[[str], None]
) -> Iterator[Callable[[StepFacts], None]]:
    """What writes the losses and throughput of an iteration to a file below `folder`.

    Args:
        folder: made if absent.
        first_step: what a run that died wrote of this iteration and later ones is hidden.
        report: told, once, where there is no file as TensorBoard isn't installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        report("no file for TensorBoard: pip install 'vidtopics[tensorboard]'")
        yield lambda facts: None
        return
    with SummaryWriter(str(folder), purge_step=first_step) as writer:

        def write(facts: StepFacts) -> None:
            for name, value in scalars(facts).items():
                writer.add_scalar(name, value, facts.step)

        yield write


def scalars(facts: StepFacts) -> dict[str, float]:
    """The curves that one iteration adds a point to."""
    from producers.content.dataset import TASKS

    losses = {f"loss/{task}": loss for task, loss in zip(TASKS, facts.losses, strict=True)}
    if facts.validation_loss is not None:
        losses["loss/validation"] = facts.validation_loss
    return {**losses, "videos_per_second": facts.videos_per_second}
