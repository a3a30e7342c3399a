"""`train ranking`: a model of all impressions whose label window has closed.

Torch is loaded only where there is something to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from consumers.ranking.released import described, key_of, now_us
from vidtopics.settings import Settings
from vidtopics.tables import Tables


def train(
    tables: Tables, settings: Settings, progress: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Trains on all closed rows with topics as known; the model goes to `models/ranking`.

    The last tenth of the rows tells AUC, the tenth before chooses the number of epochs; a model of
    all rows is then trained for as many. Nothing is done where the model there was made from the
    same; the result says so (`skipped`).

    Returns:
        rows, clicked, users, videos, topics, epochs, auc (of the held-out end), seconds, release,
        skipped.

    Raises:
        TableError: nothing was released, or the rows are too few to learn from.
    """
    began = time.monotonic()
    release, as_of_us = tables.latest_release(), now_us()
    key, folder = key_of(tables, release, settings, as_of_us), tables.home / "models" / "ranking"
    before = described(folder)
    if before and before["key"] == key and (folder / before["weights"]).is_file():
        return {**before["facts"], "skipped": True}
    from consumers.ranking.final_model import learn
    from consumers.ranking.storing import store
    from consumers.training import read

    progress("joining impressions to features")
    inputs = read(tables, release["versions"])
    final = learn(
        inputs, settings, as_of_us=as_of_us, epoch=release["topic_epoch"], progress=progress
    )
    facts = {
        **final.facts,
        "seconds": round(time.monotonic() - began, 2),
        "release": release["release_id"],
    }
    store(folder, final.model, final.known, settings.ranking, {"key": key, "facts": facts})
    return {**facts, "skipped": False}
