"""Whether the topic model version in force still serves: `train topics --if-needed`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from vidtopics.files import write_cache
from vidtopics.jobs.job import Job, Run
from vidtopics.jobs.training_key import (
    LIMITS,
    growth_of,
    learning_size,
    training_key,
)
from vidtopics.settings import digest
from vidtopics.topic_models import TopicModel, Version, load

if TYPE_CHECKING:
    from producers.topics.drift import DriftFigures


@dataclass(frozen=True)
class Need:
    """Figures beside their limits as text, and those that are beyond: why a training is needed."""

    figures: Sequence[str]
    reasons: Sequence[str]


def find_need(run: Run, version: Version, jobs: Sequence[Job]) -> Need:
    """Compare the catalogue as of a run with what a version was trained from.

    Args:
        run: as of when; it publishes encodings of what is new, and nothing else.
        version: the version in force.
        jobs: those that encode what is new.

    The answer is kept in the home's `reports/` until something changes.
    """
    from producers.topics.drift import criteria

    changed = changed_settings(run, version)
    if changed:
        return Need((), [f"settings changed: {', '.join(changed)}"])
    limits = run.settings.topics.model_dump(mode="json", include=LIMITS)
    key = digest(training_key(run, version.number), limits)
    file = run.tables.home / "reports" / f"need-{key}.json"
    if file.is_file():
        return Need(**json.loads(file.read_text(encoding="utf-8")))
    for job in jobs:
        job.run(run)
    judged = criteria(
        measure_drift(run, load(run.tables.home, version.number)), run.settings.topics
    )
    need = Need([c.text for c in judged], [c.text for c in judged if c.exceeded])
    write_cache(file, json.dumps(asdict(need)))
    return need


def changed_settings(run: Run, version: Version) -> list[str]:
    """The sections that a training would read otherwise than the version's did."""
    changed = []
    for name in ("content", "tags", "topics"):
        now = getattr(run.settings, name).model_dump(mode="json", exclude=LIMITS)
        then = {key: value for key, value in version.settings[name].items() if key not in LIMITS}
        changed += [name] if now != then else []
    return changed


def measure_drift(run: Run, model: TopicModel) -> DriftFigures:
    """Figures of the catalogue as the model sees it now, beside those of its training."""
    from producers.topics.drift import TrainedFigures, drift
    from vidtopics.jobs.encodings import read_encodings
    from vidtopics.jobs.inputs import held_out, live_videos, tag_lists
    from vidtopics.jobs.topic_blocks import assign_videos

    videos = live_videos(run, "content_hash")
    tags = tag_lists(run, videos["video_id"])
    assignment = assign_videos(model, read_encodings(videos["content_hash"], run), tags)
    known = model.tags["tag"].combine_chunks().cast(tags.type.value_type)
    has = assignment.topic_count > 0
    learners = ~held_out(videos["content_hash"], run.settings.content)
    pairs = pc.list_flatten(tags)
    evaluation = model.version.evaluation
    return drift(
        TrainedFigures(evaluation["cosine"], evaluation["below_threshold"]),
        assignment.topic_weights[has, 0],
        assignment.below_threshold[has],
        tags=len(pairs),
        new_tags=len(pairs) - (pc.sum(pc.is_in(pairs, value_set=known)).as_py() or 0),
        growth=growth_of(model.version, learning_size(tags, learners)),
        age=timedelta(microseconds=run.as_of_us - model.version.as_of_us),
    )
