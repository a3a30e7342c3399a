"""What a training learns of covers and titles: the joint model, and the encoders if set so."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from producers.content.weights import encoder_identity, with_saved_encoders
from vidtopics.files import sync
from vidtopics.jobs.job import Job, Run
from vidtopics.settings import ContentSettings, digest
from vidtopics.topic_models import TopicModel, Version, encoders

if TYPE_CHECKING:
    from producers.content.dataset import Targets
    from producers.content.joint_model import JointModel
    from producers.content.training import TrainedModel
    from vidtopics.jobs.encodings import Encodings

TASKS = ("primary", "secondary", "tags")


@dataclass(frozen=True, eq=False)
class LearnedContent:
    """The joint model, and what it was learned with.

    Attributes:
        joint: projections and MMoE.
        encodings: outputs of its encoders, of all live videos.
        encoder: the encoders' identity.
        losses: the last ones by task, and how fine-tuning went.
        left_out: what could not be learned.
        folder: where encoders that were trained too lie; None: they weren't.
        clear: removes what only a training that died needs.
    """

    joint: JointModel
    encodings: Encodings
    encoder: str
    losses: Mapping[str, float]
    left_out: Sequence[str] = ()
    folder: Path | None = None
    clear: Callable[[], object] = lambda: None

    @property
    def copy_encoders(self) -> Callable[[Path], None] | None:
        """Copies the trained encoders into a folder; None where they weren't trained."""
        if self.folder is None:
            return None
        source = self.folder

        def copy(target: Path) -> None:
            shutil.copytree(source, target, dirs_exist_ok=True)
            for path in (target, *target.rglob("*")):
                sync(path)

        return copy


def learn_content(
    run: Run,
    videos: pa.Table,
    tags: pa.LargeListArray,
    trains: NDArray[np.bool_],
    previous: TopicModel | None,
    encoding: Job,
    *,
    keeps_space: bool,
) -> LearnedContent:
    """Eq. 2 on the videos that train, from the last version's weights where comparable.

    Args:
        run: a run that trains.
        videos: video_id, content_hash, cover, title and classes of the live videos, N rows.
        tags: theirs, large_list<large_string>[N].
        trains: bool[N].
        previous: the version to go on from.
        encoding: the job that encodes what the encoders haven't seen.
        keeps_space: the version's joint model and encoders stay as they are.
    """
    from vidtopics.jobs.encodings import read_encodings
    from vidtopics.jobs.inputs import encoder_of

    settings, rows = run.settings.content, np.flatnonzero(trains)
    if previous is not None and keeps_space:
        return _as_before(run, videos, previous, encoding)
    initial = _initial(run, previous)
    targets = _targets(videos, tags, rows, settings)
    if settings.train_encoders and len(rows):
        return _fine_tune(run, videos, rows, targets, initial, previous, encoding)
    own = _own_encoders(run, initial, previous)
    if own:  # the last model reads their outputs
        run = replace(run, content=with_saved_encoders(settings, own))
    encoding.run(run)
    encodings = read_encodings(videos["content_hash"], run)
    if initial is not None and not len(rows):
        reason = f"no training, all {len(videos)} videos are held out: the last model serves"
        return LearnedContent(initial, encodings, encoder_of(run), {}, [reason], own)
    trained = _fit(encodings, rows, targets, initial, run)
    losses, left_out = _last(trained.losses), untrained_tasks(targets.classes)
    return LearnedContent(trained.model, encodings, encoder_of(run), losses, left_out)


def _as_before(run: Run, videos: pa.Table, previous: TopicModel, encoding: Job) -> LearnedContent:
    """The version's joint model, and what its encoders give of every live video."""
    from vidtopics.jobs.encodings import read_encodings
    from vidtopics.jobs.inputs import encoder_of
    from vidtopics.jobs.topic_blocks import restore_joint

    own = encoders(run.tables.home, previous.version)
    if own:
        run = replace(run, content=with_saved_encoders(run.settings.content, own))
    encoding.run(run)
    encodings = read_encodings(videos["content_hash"], run)
    return LearnedContent(restore_joint(previous), encodings, encoder_of(run), {}, folder=own)


def _fine_tune(
    run: Run,
    videos: pa.Table,
    rows: NDArray[np.int64],
    targets: Targets,
    initial: JointModel | None,
    previous: TopicModel | None,
    encoding: Job,
) -> LearnedContent:
    """Train both encoders end to end, then encode every live video with them."""
    from vidtopics.jobs.encodings import read_encodings
    from vidtopics.jobs.fine_tuning import forget_training, tune_encoders
    from vidtopics.jobs.inputs import encoder_of

    settings, own = run.settings.content, _own_encoders(run, initial, previous)
    tuned = tune_encoders(
        run,
        videos.take(pa.array(rows)),
        targets,
        with_saved_encoders(settings, own) if own else settings,
        initial=initial,
        initial_version=previous.version.weights if previous and initial is not None else "",
    )
    tuned_run = replace(run, content=tuned.content)
    encoding.run(tuned_run)
    return LearnedContent(
        tuned.joint.cpu().eval(),
        read_encodings(videos["content_hash"], tuned_run),
        encoder_of(tuned_run),
        tuned.figures,
        untrained_tasks(targets.classes),
        tuned.folder,
        lambda: forget_training(run.tables.home),
    )


def _own_encoders(run: Run, initial: JointModel | None, previous: TopicModel | None) -> Path | None:
    """The encoders that the last version trained, where this one goes on from it."""
    if previous is None or initial is None:
        return None
    return encoders(run.tables.home, previous.version)


def _initial(run: Run, previous: TopicModel | None) -> JointModel | None:
    """The last version's joint model; None where its z could not be compared."""
    from vidtopics.jobs.topic_blocks import restore_joint

    if previous is None or not continues(run.settings.content, previous.version):
        return None
    return restore_joint(previous)


def continues(settings: ContentSettings, previous: Version) -> bool:
    """Whether a joint model of these settings goes on from a version's."""
    return joint_space(settings) == str(previous.settings["joint_space"])


def joint_space(settings: ContentSettings) -> str:
    """Equal where two joint models' z can be compared: same encoders at the start, same shape."""
    return digest(
        encoder_identity(settings),
        settings.train_encoders,
        settings.projection_width,
        settings.experts,
        settings.expert_width,
        settings.tower_width,
    )


def _targets(
    videos: pa.Table, tags: pa.LargeListArray, rows: NDArray[np.int64], settings: ContentSettings
) -> Targets:
    """Classes and tags of the videos that train."""
    from producers.content.dataset import make_targets

    names = (videos["primary_classes"], videos["secondary_classes"], tags)
    return make_targets(
        *(column.take(pa.array(rows)).to_pylist() for column in names),
        min_tag_videos=settings.min_tag_videos,
        max_tags=settings.max_tags,
    )


def _fit(
    encodings: Encodings,
    rows: NDArray[np.int64],
    targets: Targets,
    initial: JointModel | None,
    run: Run,
) -> TrainedModel:
    """Fewer iterations from a last model."""
    from producers.content.training import train_joint

    settings = run.settings.content
    iterations = settings.iterations if initial is None else settings.warm_iterations
    return train_joint(
        *encodings,
        targets,
        settings.model_copy(update={"iterations": iterations}),
        seed=run.settings.seed,
        rows=rows,
        initial=initial,
        progress=lambda done, total: run.progress(f"MMoE {done}/{total}"),
    )


def _last(losses: NDArray[np.float32]) -> dict[str, float]:
    """Mean losses of the last ten iterations by task."""
    last = losses[-10:].mean(axis=0).tolist()
    return {f"loss_{task}": loss for task, loss in zip(TASKS, last, strict=True)}


def untrained_tasks(classes: Sequence[Sequence[str]]) -> list[str]:
    """Which of Eq. 2's tasks have fewer than two classes to tell apart, so that nothing is learned.

    >>> untrained_tasks([["music", "sport"], ["jazz"], []])
    ['nothing learned from secondary classes (1) and tags (0): two differing ones are needed']
    """
    names = ("primary classes", "secondary classes", "tags")
    few = [f"{n} ({len(c)})" for n, c in zip(names, classes, strict=True) if len(c) < 2]
    listed = " and ".join(part for part in (", ".join(few[:-1]), *few[-1:]) if part)
    return [f"nothing learned from {listed}: two differing ones are needed"] if few else []
