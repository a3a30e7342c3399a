"""What a model knows of its training rows, taken from a frame."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from consumers.encoding.numbers import log_age, log_position
from consumers.encoding.topics import Centres
from consumers.encoding.vocabulary import Vocabulary
from consumers.training.frame import Frame
from consumers.training.inputs import ViewRows
from vidtopics.rates import Prior


def vocabulary(
    frame: Frame,
    rows: NDArray[np.int64],
    topics: ViewRows,
    *,
    epoch: int,
    prior_exposures: float,
) -> Vocabulary:
    """The ids, centres and prior of some rows of a frame: a model must not know of others.

    Args:
        frame: N rows.
        rows: int64, those to learn from.
        topics: rows of table `topics`; those of the epoch count that were known when the last of
            `rows` was shown.
        epoch: of the topics, as the release says.
        prior_exposures: w of the prior.
    """
    users, videos = (
        pc.unique(frame.impressions[name].take(pa.array(rows))).sort()
        for name in ("user_id", "video_id")
    )
    until_us = int(frame.content_us[rows].max(initial=0))
    prior = Prior.of_totals(int(frame.clicked[rows].sum()), len(rows), exposures=prior_exposures)
    return Vocabulary(
        users,
        videos,
        centres_at(topics, until_us, epoch),
        prior,
        _mean_of_known(log_position(frame.positions, np.nan)[rows]),
        _mean_of_known(log_age(frame.published_us, frame.shown_us, np.nan)[rows]),
    )


def centres_at(topics: ViewRows, until_us: int, epoch: int) -> Centres:
    """The centres of an epoch's topics, as known at a time; retired ones too."""
    ids = pc.unique(topics.keys["topic_id"]).sort()
    at = topics.known(pa.table({"topic_id": ids}), np.full(len(ids), until_us))
    values = topics.values.take(pa.array(at[at >= 0]))
    here = pc.fill_null(pc.equal(values["topic_epoch"], epoch), False).to_numpy()
    values = values.filter(pa.array(here))
    chosen = ids.to_numpy()[at >= 0][here]
    if not len(chosen):
        return Centres.of(chosen, np.zeros((0, 1), np.float32), chosen, epoch)
    centroids = pc.list_flatten(values["centroid"]).to_numpy().reshape(len(chosen), -1)
    parents = values["parent_topic_id"].fill_null(-1).to_numpy().astype(np.int64)
    return Centres.of(chosen, centroids.astype(np.float32), parents, epoch)


def _mean_of_known(values: NDArray[np.float32]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean(dtype=np.float64)) if len(known) else 0.0
