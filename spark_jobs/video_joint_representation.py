"""video_joint_representation: z of cover and title, learned with the MMoE (III-A1; Eq. 1, 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from producers.content.weights import encoder_identity
from vidtopics.contracts import (
    VIDEO_CATALOG,
    VIDEO_CONTENT_ENCODING,
    VIDEO_JOINT_REPRESENTATION,
    VIDEO_TAGS,
)
from vidtopics.errors import TableError, explain
from vidtopics.jobs.checks import require_training_videos
from vidtopics.jobs.job import Computed, Job, Run, main
from vidtopics.settings import ContentSettings, digest

if TYPE_CHECKING:
    from producers.content.dataset import Targets
    from producers.content.joint_model import JointModel
    from producers.content.training import TrainedModel
    from vidtopics.tables import Commit

TASKS = ("primary", "secondary", "tags")
Encodings: TypeAlias = tuple[
    NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]
]


def compute(run: Run) -> Computed:
    """Train on the videos that aren't held out, from the last run's weights; represent all."""
    from producers.content.dataset import holdout
    from producers.content.training import joint_representation
    from vidtopics.jobs.inputs import lists, live_videos
    from vidtopics.jobs.model_files import save_model

    settings = run.settings.content
    videos = live_videos(run, "content_hash", "primary_classes", "secondary_classes")
    encodings = read_encodings(videos["content_hash"], run)
    train = np.flatnonzero(~holdout(videos["video_id"].to_pylist(), settings.holdout_share))
    initial = last_model(run)
    left_out = missing_blocks(encodings)
    facts: dict[str, float | str] = {"space": space(settings)}
    if initial is not None and not len(train):
        model = initial
        left_out.append(
            f"no training, all {len(videos)} videos are held out: the last model serves"
        )
    else:
        targets = read_targets(videos, train, run)
        trained = train_model(take(encodings, train), targets, initial, run)
        model = trained.model
        left_out += untrained_tasks(targets.classes)
        losses = trained.losses[-10:].mean(axis=0).tolist()
        facts |= {f"loss_{task}": loss for task, loss in zip(TASKS, losses, strict=True)}
    version = save_model(run.models, model.state_dict(), vars(model.shape))
    z, blocks = joint_representation(model, *encodings)
    columns = {
        "video_id": videos["video_id"],
        "joint_embedding": lists(z),
        "content_blocks": pa.array(blocks),
        "encoder_version": pa.repeat(version, len(videos)),
    }
    return Computed(
        pa.table(columns),
        widths={"joint_width": z.shape[1]},
        facts={**facts, "model": version},
        left_out=left_out,
    )


def read_encodings(content_hashes: pa.ChunkedArray, run: Run) -> Encodings:
    """Encoder outputs of each video's content, whenever it was encoded.

    Returns:
        float32[N, image], float32[N, title], has_image bool[N], has_title bool[N].

    Raises:
        TableError: a content has no encoding by these encoders.
    """
    from vidtopics.jobs.inputs import vectors

    rows = run.tables.read(VIDEO_CONTENT_ENCODING)
    encoder = encoder_identity(run.settings.content)
    by_encoder = np.flatnonzero(pc.equal(rows["encoder"], encoder).to_numpy())
    hashes = rows["content_hash"].combine_chunks().take(pa.array(by_encoder))
    at = pc.index_in(content_hashes, value_set=hashes)
    if at.null_count:
        raise TableError(
            explain(
                "video_content_encoding",
                expected="every live video",
                found=f"{at.null_count} missing",
                mend="vidtopics run video_content_encoding",
            )
        )
    of_video = by_encoder[at.to_numpy()]
    return (
        vectors(rows["image_encoding"], rows=of_video),
        vectors(rows["title_encoding"], rows=of_video),
        rows["has_image"].to_numpy()[of_video],
        rows["has_title"].to_numpy()[of_video],
    )


def read_targets(videos: pa.Table, train: NDArray[np.int64], run: Run) -> Targets:
    """Classes and tags of the rows of `videos` that train."""
    from producers.content.dataset import make_targets
    from vidtopics.jobs.inputs import tag_lists

    settings = run.settings.content
    names = (
        videos["primary_classes"],
        videos["secondary_classes"],
        tag_lists(run, videos["video_id"]),
    )
    return make_targets(
        *(column.take(pa.array(train)).to_pylist() for column in names),
        min_tag_videos=settings.min_tag_videos,
        max_tags=settings.max_tags,
    )


def take(encodings: Encodings, rows: NDArray[np.int64]) -> Encodings:
    """Those rows of each array."""
    image, title, has_image, has_title = encodings
    return image[rows], title[rows], has_image[rows], has_title[rows]


def train_model(
    encodings: Encodings, targets: Targets, initial: JointModel | None, run: Run
) -> TrainedModel:
    """Eq. 2 on the encodings of the videos that train; fewer iterations from a last model."""
    from producers.content.training import train_joint

    settings = run.settings.content
    iterations = settings.iterations if initial is None else settings.warm_iterations
    return train_joint(
        *encodings,
        targets,
        settings.model_copy(update={"iterations": iterations}),
        seed=run.settings.seed,
        initial=initial,
        progress=lambda done, total: run.progress(f"MMoE {done}/{total}"),
    )


def missing_blocks(encodings: Encodings) -> list[str]:
    """Whether all covers or all titles are missing."""
    _, _, has_image, has_title = encodings
    names = [name for name, has in (("cover", has_image), ("title", has_title)) if not has.any()]
    return [f"no video has a {' or a '.join(names)}: z is zero there"] if names else []


def untrained_tasks(classes: Sequence[Sequence[str]]) -> list[str]:
    """Which of Eq. 2's tasks have fewer than two classes to tell apart, so that nothing is learned.

    >>> untrained_tasks([["music", "sport"], ["jazz"], []])
    ['nothing learned from secondary classes (1) and tags (0): two differing ones are needed']
    """
    names = ("primary classes", "secondary classes", "tags")
    few = [f"{n} ({len(c)})" for n, c in zip(names, classes, strict=True) if len(c) < 2]
    listed = " and ".join(part for part in (", ".join(few[:-1]), *few[-1:]) if part)
    return [f"nothing learned from {listed}: two differing ones are needed"] if few else []


def check_training_videos(run: Run) -> None:
    """TableError where there is neither a video to train on nor a last model to go on from."""
    if last_commit(run) is None:
        require_training_videos(run)


def space(settings: ContentSettings) -> str:
    """Equal where two models' z can be compared: same encoders, same shape."""
    return digest(
        encoder_identity(settings),
        settings.projection_width,
        settings.experts,
        settings.expert_width,
        settings.tower_width,
    )


def last_commit(run: Run) -> Commit | None:
    """The last run's commit, or None where its z could not be compared."""
    before = run.before(VIDEO_JOINT_REPRESENTATION)
    comparable = before is not None and before.facts["space"] == space(run.settings.content)
    return before if comparable else None


def last_model(run: Run) -> JointModel | None:
    """The last run's model, or None where its z could not be compared."""
    from producers.content.joint_model import JointModel
    from vidtopics.jobs.model_files import load_model

    before = last_commit(run)
    if before is None:
        return None
    return JointModel.restore(*load_model(run.models, str(before.facts["model"])))


JOB = Job(
    VIDEO_JOINT_REPRESENTATION,
    inputs=(VIDEO_CATALOG, VIDEO_TAGS, VIDEO_CONTENT_ENCODING),
    compute=compute,
    settings=lambda s: s.content,
    code=("spark_jobs.video_joint_representation", "vidtopics.jobs.inputs", "producers.content"),
    weights=lambda s: encoder_identity(s.content),
    warm=True,
    check=check_training_videos,
)

if __name__ == "__main__":
    main(JOB)
