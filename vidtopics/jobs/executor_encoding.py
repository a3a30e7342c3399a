"""Encoding on Spark's executors: a task encodes what is one part of a run in one process.

So rows have the same bytes. Weights go to each executor once, as files that are verified there;
covers are read by the executors, under the paths or addresses that the catalogue has.
"""

from __future__ import annotations

import zipfile
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from producers.content.weights import (
    IMAGE_SETTING,
    TITLE_SETTING,
    encoder_identity,
    image_weights,
    random_seed,
    title_weights,
)
from vidtopics.errors import EncoderError, MachineError, explain
from vidtopics.jobs.covers import Covers
from vidtopics.jobs.encoders import kept_encoders
from vidtopics.jobs.executor_tasks import explained, use_one_thread
from vidtopics.jobs.inputs import content_settings, encoder_of
from vidtopics.jobs.job import Run
from vidtopics.settings import ContentSettings, digest

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark import SparkContext

    from producers.content.encoding import Encodings

GROUP = "video_content_encoding"
"""Of Spark's jobs, so that those which nobody waits for any more are cancelled."""
IMAGE, TITLE = "image", "title"


@dataclass(frozen=True)
class Task:
    """How a part is encoded.

    Attributes:
        identity: of the encoders.
        settings: with weights as the driver knows them.
        archive: the name under which executors have the weights.
        image_file: the image encoder's weights in it; empty: those of a folder.
        max_pixels: of a cover.
    """

    identity: str
    settings: ContentSettings
    archive: str
    image_file: str
    max_pixels: int


def encode_on_executors(run: Run, parts: Iterable[pa.Table]) -> Generator[Encodings, None, None]:
    """Encodings of each part, in order, as many parts at once as Spark has cores.

    The driver holds as many parts' encodings: 19 MB for 2,048 contents at the paper's widths.

    Args:
        run: a run on Spark.
        parts: columns `cover` and `title`.

    Raises:
        EncoderError: weights are absent.
        MachineError: a task failed as often as Spark lets it, or an executor can't read covers that
            this machine can.
    """
    context = run.spark.sparkContext
    task = _task(run, context)
    with ThreadPoolExecutor(context.defaultParallelism) as pool:

        def submit(some: Iterable[pa.Table]) -> Iterator[Future[Encodings]]:
            return (pool.submit(_encode_remotely, context, task, part) for part in some)

        todo = iter(parts)
        waiting = deque(submit(islice(todo, context.defaultParallelism)))
        try:
            while waiting:
                encodings = waiting.popleft().result()
                waiting.extend(submit(islice(todo, 1)))
                yield encodings
        finally:
            for future in waiting:
                future.cancel()
            context.cancelJobGroup(GROUP)


def _task(run: Run, context: SparkContext) -> Task:
    """The task of a run, with the weights sent to the executors."""
    settings = content_settings(run)
    image, title = settings.image_encoder, settings.title_encoder
    files: dict[str, Path] = {}
    image_file = ""
    if random_seed(image.weights, IMAGE_SETTING) is None:
        weights = image_weights(image)
        if len(weights) == 1:
            image_file = weights[0].name
            files[f"{IMAGE}/{image_file}"] = weights[0]
        else:
            files |= _files(IMAGE, weights[0].parent)
    if random_seed(title.weights, TITLE_SETTING) is None:
        files |= _files(TITLE, title_weights(title))
    identity = encoder_of(run)
    archive = f"encoders-{digest(identity)}"
    if files:
        _send(context, archive, files)
    return Task(identity, settings, archive, image_file, run.settings.ingest.max_image_pixels)


def _files(name: str, folder: Path) -> dict[str, Path]:
    return {f"{name}/{file.name}": file for file in folder.iterdir() if file.is_file()}


def _send(context: SparkContext, archive: str, files: dict[str, Path]) -> None:
    """Offer files to executors as a folder `archive`, once for as long as Spark runs."""
    from pyspark import SparkFiles

    path = Path(SparkFiles.getRootDirectory()) / "archives" / f"{archive}.zip"
    if path.exists():
        return
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as packed:
        for name, file in sorted(files.items()):
            packed.write(file, name)
    context.addArchive(f"{path}#{archive}")


def _encode_remotely(context: SparkContext, task: Task, part: pa.Table) -> Encodings:
    """A part, encoded by one task of one job."""
    context.setJobGroup(GROUP, "encoding of covers and titles")
    columns = (part["cover"].to_pylist(), part["title"].to_pylist())
    with explained("encoding", "see the executors' logs; parts that were published stay"):
        [encodings] = context.parallelize([columns], 1).map(partial(encode_part, task)).collect()
    _check_missing(columns[0], encodings)
    return encodings


def _check_missing(covers: list[str], encodings: Encodings) -> None:
    """MachineError where executors miss a cover that is here: an encoding without it would stay."""
    for path, problem in zip(covers, encodings.problems, strict=True):
        if path and problem == "missing" and Covers([path])[0] is not None:
            raise MachineError(
                explain(
                    f"cover {path}",
                    expected="executors that read covers under the catalogue's paths",
                    found="an executor for which there is no such file, though it is here",
                    mend="put covers on a file system that all machines share, or in a bucket; "
                    "or run the job without Spark",
                )
            )


def encode_part(task: Task, columns: tuple[list[str], list[str]]) -> Encodings:
    """What a task does: encode covers and titles with the encoders that its process keeps."""
    from producers.content.encoding import encode

    use_one_thread()
    image_encoder, title_encoder = kept_encoders(task.identity, _received(task), task_device())
    covers, titles = columns
    return encode(
        image_encoder,
        title_encoder,
        Covers(covers),
        titles,
        max_pixels=task.max_pixels,
        image_batch=task.settings.image_encoder.batch_size,
        title_batch=task.settings.title_encoder.batch_size,
        cores=1,
    )


def _received(task: Task) -> ContentSettings:
    """The settings with the weights that this executor received; EncoderError for others."""
    from pyspark import SparkFiles

    folder, settings = Path(SparkFiles.get(task.archive)), task.settings
    image, title = settings.image_encoder, settings.title_encoder
    if random_seed(image.weights, IMAGE_SETTING) is None:
        place = str(folder / IMAGE / task.image_file)
        image = image.model_copy(update={"weights": place})
    if random_seed(title.weights, TITLE_SETTING) is None:
        title = title.model_copy(update={"weights": str(folder / TITLE)})
    settings = settings.model_copy(update={"image_encoder": image, "title_encoder": title})
    if (identity := encoder_identity(settings)) != task.identity:
        raise EncoderError(
            explain(
                f"encoders on an executor, {folder}",
                expected=task.identity,
                found=identity,
                mend="see that nothing writes to the executors' folders, and run the job again",
            )
        )
    return settings


def task_device() -> str:
    """The GPU that Spark assigned to this task; without one, where a run in one process computes.

    A worker's process may get another GPU with its next task.
    """
    from pyspark import TaskContext

    from producers.content.device import choose_device

    context = TaskContext.get()
    gpu = context.resources().get("gpu") if context else None
    return f"cuda:{gpu.addresses[0]}" if gpu else str(choose_device())
