"""Which ranking model belongs to a release, and its replacement while requests go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from consumers.ranking.described import described
from consumers.ranking.serve import Ranker
from consumers.recommendation import Scorer
from consumers.serving.words import in_words
from vidtopics.errors import explain

Loader = Callable[[Path], Scorer]


@dataclass(frozen=True, eq=False)
class RankingModel:
    """A ranker in memory.

    Attributes:
        ranker: scores candidates.
        version: of its weights.
        release: that it was trained on.
        epoch: of the topics that it knows.
    """

    ranker: Scorer
    version: str
    release: int
    epoch: int


class RankingModels:
    """The home's ranking model, loaded again once `vidtopics train ranking` has made another.

    A model belongs to the releases of its topic epoch: in another epoch the same numbers name other
    topics. The last one stays in memory until a release has gone live that the next one belongs to,
    so that it makes no difference which of the two, model or release, comes first.

    Args:
        folder: `models/ranking` of a home.
        load: makes a ranker of it.
    """

    def __init__(self, folder: Path, load: Loader = Ranker.load) -> None:
        self._folder = folder
        self._load = load
        self._models: list[RankingModel] = []
        self.problem = ""

    def of_epoch(self, epoch: int) -> RankingModel | None:
        """The newest model of a topic epoch; None with :attr:`problem` where there is none."""
        self.problem = self._take_stored()
        chosen = next((model for model in self._models if model.epoch == epoch), None)
        if chosen:
            self._models = self._models[: 1 + self._models.index(chosen)]  # older ones go
            self._models = [m for m in self._models if m is chosen or m is self._models[0]]
        elif self._models and not self.problem:
            self.problem = explain(
                str(self._folder),
                expected=f"a ranking model of topic epoch {epoch}, as the release's",
                found=f"one of epoch {self._models[0].epoch}",
                mend="run `vidtopics train ranking`",
            )
        return chosen

    def _take_stored(self) -> str:
        """Load the stored model unless it is here already; what hinders it."""
        facts = described(self._folder)
        version = Path(str((facts or {}).get("weights", ""))).stem
        if facts and self._models and self._models[0].version == version:
            return ""
        try:
            ranker = self._load(self._folder)
        except Exception as error:  # whatever is wrong with it, the release can be served
            return in_words(error)
        if facts is None or (described(self._folder) or {}).get("weights") != facts["weights"]:
            return explain(
                str(self._folder),
                expected="a ranking model",
                found="one that is being replaced",
                mend="wait for the next look",
            )
        release = int(facts["facts"]["release"])
        model = RankingModel(ranker, version, release, int(facts["topic_epoch"]))
        self._models.insert(0, model)
        return ""
