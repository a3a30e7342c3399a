"""video_joint_representation: z of cover and title, learned with the MMoE (paper, III-A1; Eq. 1 and 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spark_jobs.job import Computed, Job, Run, main
from spark_jobs.weights import encoder_identity
from vidtopics.contracts import (
    VIDEO_CATALOG,
    VIDEO_CONTENT_ENCODING,
    VIDEO_JOINT_REPRESENTATION,
    VIDEO_TAGS,
)
from vidtopics.errors import TableError, explain
from vidtopics.settings import ContentSettings, digest

if TYPE_CHECKING:
    from producers.content.joint_model import JointModel


def compute(run: Run) -> Computed:
    """Train projections and MMoE on videos that are not held out, from the last run's weights; represent all videos."""
    from producers.content.dataset import holdout, make_targets
    from producers.content.training import joint_representation, train_joint
    from spark_jobs.inputs import lists, live_videos, tag_lists, vectors
    from spark_jobs.weights import save_model

    settings = run.settings.content
    videos = live_videos(run, "content_hash", "primary_classes", "secondary_classes")
    found = run.tables.read(
        VIDEO_CONTENT_ENCODING
    )  # what content looks like doesn't depend on when it was encoded
    found = found.filter(pc.equal(found["encoder"], encoder_identity(settings))).combine_chunks()
    at = pc.index_in(videos["content_hash"], value_set=found["content_hash"].combine_chunks())
    if at.null_count:
        raise TableError(
            explain(
                "video_content_encoding",
                expected="every live video",
                found=f"{at.null_count} missing",
                mend="vidtopics run video_content_encoding",
            )
        )
    found = found.take(at.combine_chunks())
    inputs = (vectors(found["image_encoding"]), vectors(found["title_encoding"]))
    flags = (found["has_image"].to_numpy(), found["has_title"].to_numpy())
    train = np.flatnonzero(~holdout(videos["video_id"].to_pylist(), settings.holdout_share))
    classes = (
        videos["primary_classes"],
        videos["secondary_classes"],
        tag_lists(run, videos["video_id"]),
    )
    names = [column.take(pa.array(train)).to_pylist() for column in classes]
    targets = make_targets(
        *names, min_tag_videos=settings.min_tag_videos, max_tags=settings.max_tags
    )
    initial = last_model(run)
    iterations = settings.iterations if initial is None else settings.warm_iterations
    trained = train_joint(
        inputs[0][train],
        inputs[1][train],
        flags[0][train],
        flags[1][train],
        targets,
        settings.model_copy(update={"iterations": iterations}),
        seed=run.settings.seed,
        initial=initial,
        progress=lambda done, total: run.progress(f"MMoE {done}/{total}"),
    )
    model = trained.model
    version = save_model(run.models, model.state_dict(), vars(model.shape))
    z, blocks = joint_representation(model, *inputs, *flags)
    columns = {
        "video_id": videos["video_id"],
        "joint_embedding": lists(z),
        "content_blocks": pa.array(blocks),
        "encoder_version": pa.repeat(version, len(videos)),
    }
    facts: dict[str, float | str] = {"model": version, "space": space(settings)}
    facts |= {
        f"loss_{task}": float(loss)
        for task, loss in zip(
            ("primary", "secondary", "tags"), trained.losses[-10:].mean(axis=0), strict=True
        )
    }
    return Computed(pa.table(columns), widths={"joint_width": z.shape[1]}, facts=facts)


def space(settings: ContentSettings) -> str:
    """Equal where two models' z can be compared: same encoders, same shape."""
    return digest(
        encoder_identity(settings),
        settings.projection_width,
        settings.experts,
        settings.expert_width,
        settings.tower_width,
    )


def last_model(run: Run) -> JointModel | None:
    """The last run's model, or None where its z could not be compared."""
    from producers.content.joint_model import JointModel
    from spark_jobs.weights import load_model

    before = run.before(VIDEO_JOINT_REPRESENTATION)
    if before is None or before.facts["space"] != space(run.settings.content):
        return None
    return JointModel.restore(*load_model(run.models, str(before.facts["model"])))


JOB = Job(
    VIDEO_JOINT_REPRESENTATION,
    inputs=(VIDEO_CATALOG, VIDEO_TAGS, VIDEO_CONTENT_ENCODING),
    compute=compute,
    settings=lambda s: s.content,
    code=("spark_jobs.video_joint_representation", "spark_jobs.inputs", "producers.content"),
    weights=lambda s: encoder_identity(s.content),
    warm=True,
)

if __name__ == "__main__":
    main(JOB)
