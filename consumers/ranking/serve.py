"""The ranking model inside a request, by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from consumers.encoding.vocabulary import Vocabulary
from consumers.ranking.requests import Encoded, encode_request
from consumers.ranking.stored import KERNELS, load_from, mapped, vocabulary_of
from consumers.retrieval.recall import Candidates
from vidtopics.online import Features


class Ranker:
    """Click probabilities of a user's candidates, by the model of `vidtopics train ranking`.

    It reads what :mod:`vidtopics.online` gives, in the encoding that training has: a video without
    statistics or topics, whatever the status says why, is one of which nothing was known; topics of
    another epoch than the model's count as none. Threads may share it.

    Args:
        graph: of :func:`consumers.ranking.graphs.graph_of`; its weights lie beside it.
        known: the ids and centres that the model knows.
        places: H, the longest history.
        half_life_us: of users' decayed counts.
    """

    def __init__(self, graph: Path, known: Vocabulary, *, places: int, half_life_us: int) -> None:
        self.known = known
        self._places = places
        self._half_life_us = half_life_us
        self._session = _session(graph)
        self._inputs = [value.name for value in self._session.get_inputs()]
        _ = known.user_codes, known.video_codes  # now, not in the first request

    @classmethod
    def load(cls, folder: Path) -> Ranker:
        """The model in a folder (`models/ranking` of a home); TableError where there is none."""

        def load(facts: Mapping[str, Any]) -> Ranker:
            known = vocabulary_of(facts, mapped(folder / facts["weights"], KERNELS))
            lengths = {"places": facts["places"], "half_life_us": facts["half_life_us"]}
            return cls(folder / facts["graph"], known, **lengths)

        return load_from(folder, load)

    def score(
        self, candidates: Candidates, features: Mapping[str, Features]
    ) -> NDArray[np.float32]:
        """float32[N]: click probability of each candidate.

        Args:
            candidates: N videos of one user, with the history that recall read.
            features: feature views by name, as one read of `ranking_v2` gave them: a row for each
                candidate in views of entity `video`, one row in views of entity `user`.
        """
        if not candidates.video_ids:
            return np.zeros(0, np.float32)
        return self.predict(self.encode(candidates, features))

    def encode(self, candidates: Candidates, features: Mapping[str, Features]) -> Encoded:
        """The candidates as the model reads them."""
        return encode_request(
            candidates,
            features,
            self.known,
            half_life_us=self._half_life_us,
            places=self._places,
        )

    def predict(self, encoded: Encoded) -> NDArray[np.float32]:
        """float32[N]: what the model says of encoded candidates."""
        given = vars(encoded)
        [scores] = self._session.run(None, {name: given[name] for name in self._inputs})
        return cast("NDArray[np.float32]", scores)


def _session(graph: Path) -> onnxruntime.InferenceSession:
    """One thread a request: for so few rows threads cost more than they share."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # it keeps what the largest request took
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
