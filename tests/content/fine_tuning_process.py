"""A process of fine-tuning for tests: `FOLDER COUNT RANK`, checkpoints every second iteration.

With COUNT above 1 it is one of a gloo group that meets in a file of the folder. Each iteration is a
line of output; the weights go to `FOLDER/weights-RANK.npz`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from drawn_videos import encoders, gradients, settings, tune, weights

from producers.content.training_state import Checkpoint
from vidtopics.jobs.checkpoints import Checkpoints

EVERY = 2


def main(folder: Path, count: int, rank: int, dropout: float, changes: dict) -> None:
    torch.set_num_threads(1)
    if count > 1:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{folder}/meet", world_size=count, rank=rank
        )
    files = Checkpoints(folder / "checkpoints", {"settings": "a"})
    trained = encoders(dropout)
    tuned = tune(
        trained,
        settings(**changes),
        validation=np.arange(64) % 8 == 0,
        checkpoint=Checkpoint(EVERY, files.save, files.last()),
        log=lambda facts: print(facts.step, flush=True),
    )
    arrays = weights(trained, tuned) | gradients(trained, tuned)
    checks = np.array(list(tuned.checks.values()))
    np.savez(folder / f"weights-{rank}.npz", losses=tuned.losses, checks=checks, **arrays)


if __name__ == "__main__":
    folder, count, rank, dropout, changes = sys.argv[1:]
    main(Path(folder), int(count), int(rank), float(dropout), json.loads(changes))
