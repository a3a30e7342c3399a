"""Fine-tuning as a job runs it: from a home's files, with checkpoints, alone or in processes."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from vidtopics.errors import MachineError, VidtopicsError, explain
from vidtopics.jobs.checkpoints import Checkpoints
from vidtopics.jobs.covers import Covers
from vidtopics.jobs.event_files import event_file
from vidtopics.settings import ContentSettings, digest
from vidtopics.source import source_hash

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
    from pyspark.sql import SparkSession

    from producers.content.dataset import Targets
    from producers.content.fine_tuning import FineTuned, StepFacts
    from producers.content.image_encoder import ImageEncoder
    from producers.content.joint_model import JointModel
    from producers.content.title_encoder import TitleEncoder
    from vidtopics.jobs.job import Run

    Trained: TypeAlias = tuple[ImageEncoder, TitleEncoder, FineTuned]

MARK = "vidtopics: "
"""Begins a line that the first of several processes has to report."""


@dataclass(frozen=True, eq=False)
class Task:
    """One fine-tuning: all that a process of it needs, to be pickled.

    * `settings`: whose weights both encoders start from.
    * `contents`: content hash of each video that trains; `covers`, `titles`, `targets`: theirs.
    * `initial`: the joint model to go on from, None: a new one; `initial_version` names it.
    * `folder`: where checkpoints and the TensorBoard file go.
    """

    settings: ContentSettings
    contents: Sequence[str]
    covers: Sequence[bytes | None]
    titles: Sequence[str]
    targets: Targets
    seed: int
    max_pixels: int
    folder: Path
    initial: JointModel | None = None
    initial_version: str = ""

    @property
    def validation(self) -> NDArray[np.bool_]:
        """The videos that it is judged on."""
        from producers.content.dataset import validation_part

        return validation_part(self.contents, self.settings.validation_share)

    @property
    def checkpoints(self) -> Checkpoints:
        """Of this task; :meth:`Checkpoints.clear` them once the result is saved."""
        from producers.content.weights import encoder_identity

        labels = [
            (names, y.indptr.tolist(), y.indices.tolist())
            for names, y in zip(self.targets.classes, self.targets.labels, strict=True)
        ]
        identity = {
            "settings": digest(self.settings, self.seed, self.max_pixels),
            "videos": digest(list(self.contents), labels),
            "code": source_hash("producers.content"),
            "encoders": encoder_identity(self.settings),
            "first joint model": self.initial_version or "drawn",
        }
        return Checkpoints(self.folder / "checkpoints", identity)


@dataclass(frozen=True, eq=False)
class TunedEncoders:
    """Encoders that were trained for a topic model version, and saved below the home.

    * `content`: settings that name their weights.
    * `folder`: theirs, to be copied into the version.
    * `joint`: the joint model over them.
    * `figures`: how they learned, for the version's manifest.
    """

    content: ContentSettings
    folder: Path
    joint: JointModel
    figures: Mapping[str, float]


def tune_encoders(
    run: Run,
    videos: pa.Table,
    targets: Targets,
    content: ContentSettings,
    *,
    initial: JointModel | None,
    initial_version: str,
) -> TunedEncoders:
    """Fine-tune for a run that trains; what a run before it left half done is gone on from.

    From a last version's weights it takes `content.warm_iterations`.

    Args:
        run: whose home, seed and session are used.
        videos: those that train, with `content_hash`, `cover` and `title`.
        targets: of the same videos.
        content: settings that name the weights to start from.
        initial: the last version's joint model, over those weights.
        initial_version: names it.
    """
    from producers.content.dataset import TASKS
    from producers.content.weights import save_encoders, with_saved_encoders

    if initial is not None:
        content = content.model_copy(update={"iterations": content.warm_iterations})
    task = Task(
        content,
        videos["content_hash"].to_pylist(),
        Covers(videos["cover"].to_pylist()),
        videos["title"].to_pylist(),
        targets,
        run.settings.seed,
        run.settings.ingest.max_image_pixels,
        training_folder(run.tables.home),
        initial,
        initial_version,
    )
    image_encoder, title_encoder, tuned = fine_tune_encoders(task, run.progress, lambda: run.spark)
    folder = task.folder / "encoders"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_encoders(folder, image_encoder, title_encoder)
    last = tuned.losses[max(tuned.best_step - 10, 0) : tuned.best_step].mean(axis=0).tolist()
    figures = {f"loss_{name}": loss for name, loss in zip(TASKS, last, strict=True)}
    if tuned.checks:
        figures["validation_loss"] = tuned.checks[tuned.best_step]
    figures |= {"iterations": len(tuned.losses), "best_iteration": tuned.best_step}
    return TunedEncoders(with_saved_encoders(content, folder), folder, tuned.joint, figures)


def training_folder(home: Path) -> Path:
    """Where a home's training in progress lies: checkpoints, encoders, the TensorBoard file."""
    return home / "models" / "training"


def forget_training(home: Path) -> None:
    """Remove what a training in progress left, once its version is saved; the curves stay."""
    for name in ("checkpoints", "encoders"):
        shutil.rmtree(training_folder(home) / name, ignore_errors=True)


def fine_tune_encoders(
    task: Task, report: Callable[[str], None], start_spark: Callable[[], SparkSession]
) -> Trained:
    """Load both encoders and train them end to end, from the last checkpoint where there is one.

    Args:
        task: what to train on.
        report: gets a line of progress for each iteration.
        start_spark: asked for a session where `content.processes` is above 1.

    Raises:
        EncoderError: weights or a checkpoint don't fit.
        MachineError: a process died.
        SettingsError: the loss overflows.
    """
    if task.settings.processes == 1:
        return train(task, report)
    return _train_in_processes(task, report, start_spark())


def train(
    task: Task, report: Callable[[str], None], *, device: str = "auto", is_first: bool = True
) -> Trained:
    """The same in this process; of several, each calls it, and the first writes files."""
    from producers.content.fine_tuning import fine_tune
    from producers.content.training_state import Checkpoint
    from producers.content.weights import load_image_encoder, load_title_encoder

    settings, checkpoints = task.settings, task.checkpoints
    image_encoder = load_image_encoder(settings.image_encoder)
    title_encoder = load_title_encoder(settings.title_encoder)
    last = checkpoints.last()
    with ExitStack() as stack:
        logs: list[Callable[[StepFacts], None]] = []
        if is_first:
            write_events = event_file(
                task.folder / "tensorboard",
                first_step=last.step + 1 if last else 1,
                report=report,
            )
            logs = [stack.enter_context(write_events), lambda facts: report(str(facts))]

        def log_all(facts: StepFacts) -> None:
            for log in logs:
                log(facts)

        tuned = fine_tune(
            image_encoder,
            title_encoder,
            task.covers,
            task.titles,
            task.targets,
            settings,
            seed=task.seed,
            max_pixels=task.max_pixels,
            validation=task.validation,
            device=device,
            initial=task.initial,
            checkpoint=Checkpoint(settings.checkpoint_every, checkpoints.save, last),
            log=log_all,
        )
    return image_encoder, title_encoder, tuned


def _train_in_processes(task: Task, report: Callable[[str], None], spark: SparkSession) -> Trained:
    """Spark's TorchDistributor: on this machine, or on the executors of a cluster."""
    import torch
    from pyspark.ml.torch.distributor import TorchDistributor

    is_local = (spark.sparkContext.master or "").startswith("local")
    distributor = TorchDistributor(
        task.settings.processes,
        local_mode=is_local,  # where a process takes the GPU of its own number
        use_gpu=torch.cuda.is_available() and not is_local,
    )
    try:
        with redirect_stdout(_MarkedLines(report)):
            result = distributor.run(train_as_one_of_many, task)
    except RuntimeError as error:
        lines = [line for line in str(error).splitlines() if "Error" in line]
        raise MachineError(
            explain(
                f"fine-tuning in {task.settings.processes} processes",
                expected="processes that end well",
                found=(lines or ["no reason"])[-1].strip(),
                mend="lower content.processes; a run goes on from the last checkpoint",
            )
        ) from error
    if isinstance(result, VidtopicsError):
        raise result
    assert result is not None  # TorchDistributor's type; the first process returns its own
    trained: Trained = result
    return trained


def train_as_one_of_many(task: Task) -> Trained | VidtopicsError:
    """What each process of a group does; Spark hands on what the first one returns."""
    from torch import cuda, distributed

    on_gpu = cuda.is_available()
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        device = f"cuda:{distributed.get_node_local_rank()}" if on_gpu else "cpu"
        is_first = distributed.get_rank() == 0
        image_encoder, title_encoder, tuned = train(
            task, _print_line, device=device, is_first=is_first
        )
        return image_encoder.cpu(), title_encoder.cpu(), tuned
    except VidtopicsError as error:
        return error
    finally:
        distributed.destroy_process_group()


def _print_line(text: str) -> None:
    print(MARK + text, flush=True)  # noqa: T201


class _MarkedLines(io.TextIOBase):
    """A standard output that reports the marked lines and drops all others."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self.report = report
        self.rest = ""

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            _, mark, report = line.partition(MARK)
            if mark:
                self.report(report)
        return len(text)
