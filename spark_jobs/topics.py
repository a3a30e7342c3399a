"""topics: the clusters of the topic model version, with IDs that outlive it (III-A3)."""

from __future__ import annotations

import pyarrow.compute as pc

from vidtopics.contracts import TOPICS
from vidtopics.jobs.job import Computed, Job, Run, main


def compute(run: Run) -> Computed:
    """The version's topics as they were trained: a row changes with the version alone."""
    version, rows = run.model.version, run.model.topics
    facts: dict[str, float | str] = {
        "topic_epoch": version.epoch,
        "topics": int(pc.sum(pc.is_null(rows["retired"])).as_py()),
        "next_topic_id": version.next_topic_id,
    }
    return Computed(rows, widths={"topic_width": len(rows["centroid"][0])}, facts=facts)


JOB = Job(
    TOPICS,
    inputs=(),
    compute=compute,
    settings=lambda s: None,
    code=("spark_jobs.topics",),
    infers=True,
)

if __name__ == "__main__":
    main(JOB)
