"""Policies from a home: its topics, embeddings, statistics' rules and ranking models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from consumers.policies.catalog import Catalog
from consumers.policies.content import ContentPolicy
from consumers.policies.frames import FrameMaker
from consumers.policies.planted import planted_source, planted_topics
from consumers.policies.ranked import ManyRanker, RankedPolicy
from consumers.policies.recall import ManyRecall
from consumers.ranking.covers import Encodings, project
from consumers.ranking.described import described
from consumers.ranking.home import key_of, now_us
from consumers.ranking.models import Residual
from consumers.ranking.problems import Source
from consumers.ranking.served import train_served
from consumers.ranking.sources import source_as_known
from consumers.ranking.store import Stored, restore, store
from consumers.training.inputs import ViewRows
from vidtopics.contracts import VIDEO_CATALOG, VIDEO_JOINT_REPRESENTATION, VIDEO_TOPICS, Table
from vidtopics.errors import SettingsError, explain
from vidtopics.settings import RecallSettings, Settings, load
from vidtopics.simulation.baselines import BASELINES
from vidtopics.simulation.identifiers import numbered
from vidtopics.simulation.policy import Policy
from vidtopics.simulation.world import World
from vidtopics.tables import FOREVER, Tables

CANDIDATES = 100
"""N_3 of the simulated platform: a sixth of what production scores, for the sake of time."""
SETTINGS_FILE = "settings.yaml"


@dataclass(frozen=True, eq=False)
class Home:
    """What policies read of a home in a world that it was made from.

    Attributes:
        tables: of the home, read at its release in force.
        settings: that it was made with.
        world: that goes on after the home's log.
    """

    tables: Tables
    settings: Settings
    world: World

    @cached_property
    def release(self) -> dict[str, Any]:
        """The release in force."""
        return self.tables.latest_release()

    @cached_property
    def catalog(self) -> Catalog:
        """All videos of the world, with the home's topics and embeddings where it has any."""
        count = len(self.world.items.topic)
        ids = numbered("v", np.arange(count), count)
        topics = self._known(VIDEO_TOPICS, ids)
        joint = self._known(VIDEO_JOINT_REPRESENTATION, ids)["joint_embedding"].combine_chunks()
        flat = pc.list_flatten(joint).to_numpy().astype(np.float32)
        is_known = pc.is_valid(joint).to_numpy(zero_copy_only=False)
        width = len(flat) // max(int(is_known.sum()), 1)
        embeddings = np.zeros((count, width), np.float32)
        embeddings[is_known] = flat.reshape(-1, width) if width else embeddings[is_known]
        return Catalog.of(ids, topics, self.release["topic_epoch"], embeddings)

    @cached_property
    def planted_catalog(self) -> Catalog:
        """The same with the topics that were planted."""
        topics, epoch = planted_topics(self.world)
        return Catalog.of(self.catalog.ids, topics, epoch, self.catalog.embeddings)

    @cached_property
    def recall_settings(self) -> RecallSettings:
        """The home's, with fewer candidates."""
        return self.settings.recall.model_copy(update={"candidates": CANDIDATES})

    def recall(self, catalog: Catalog) -> ManyRecall:
        """Recall by the topics of a catalogue."""
        return ManyRecall(catalog, self.settings, self.recall_settings)

    @cached_property
    def ranker(self) -> Stored:
        """What `vidtopics train ranking` trained."""
        return restore(self.tables.home / "models" / "ranking")

    def plain_ranker(self) -> ManyRanker:
        """The ranking model's base: trained first, on the same rows, without topics."""
        stored = self.ranker
        if isinstance(stored.model, Residual):
            stored = replace(stored, model=stored.model.base)
        return self._many(stored, self.catalog, is_topical=False)

    def topic_ranker(self) -> ManyRanker:
        """The ranking model with its head of topics."""
        return self._many(self.ranker, self.catalog, is_topical=True)

    def cover_ranker(self) -> ManyRanker:
        """The same model with a head of cover features; trained where the home has none yet."""
        stored = self._trained("cover", "cover", lambda source: source)
        ids, catalogue = self.catalog.ids, self._rows(VIDEO_CATALOG)
        encodings = Encodings.read(self.tables, self.release["versions"])
        if encodings is None or not stored.model.sizes.cover:
            raise SettingsError(
                explain(
                    f"policy cover, home {self.tables.home}",
                    expected="encodings of covers",
                    found="none",
                    mend="ingest covers and run the jobs, or leave the policy out",
                )
            )
        image, present = encodings.of_videos(ids, catalogue)
        fitted = pc.is_in(ids, value_set=stored.known.videos).to_numpy(zero_copy_only=False)
        covers = project(image, present, fitted)
        return ManyRanker(stored, self._frames(self.catalog, is_topical=False), covers)

    def planted_ranker(self) -> ManyRanker:
        """The same model with a head of the planted topics, trained likewise."""
        stored = self._trained(
            "planted", "topics", lambda source: planted_source(source, self.world)
        )
        return self._many(stored, self.planted_catalog, is_topical=True)

    def _many(self, stored: Stored, catalog: Catalog, *, is_topical: bool) -> ManyRanker:
        return ManyRanker(stored, self._frames(catalog, is_topical=is_topical))

    def _frames(self, catalog: Catalog, *, is_topical: bool) -> FrameMaker:
        places = self.settings.ranking.history
        return FrameMaker(catalog, self.settings, places=places, is_topical=is_topical)

    def _trained(self, name: str, variant: str, change: Callable[[Source], Source]) -> Stored:
        """The model in `models/ranking-<name>`, trained where what it is made from has changed."""
        folder = self.tables.home / "models" / f"ranking-{name}"
        as_of_us = now_us()
        key = key_of(self.tables, self.release, self.settings, as_of_us, name)
        before = described(folder)
        if not before or before["key"] != key or not (folder / before["weights"]).is_file():
            source = change(source_as_known(self.tables, self.release, self.settings, as_of_us))
            served = train_served(source, self.settings, checkpoints=folder, variant=variant)
            first = self.ranker
            stored = Stored(
                self.settings.ranking.model,
                served.model,
                served.known,
                first.places,
                first.half_life_us,
            )
            store(folder, stored, {"key": key, "facts": dict(served.facts)})
        return restore(folder)

    def _rows(self, table: Table) -> ViewRows:
        version = self.release["versions"].get(table.name)
        return ViewRows.of(table, self.tables.read(table, version=version))

    def _known(self, table: Table, ids: pa.Array) -> pa.Table:
        """The last row of each video; null where there is none."""
        rows = self._rows(table)
        at = rows.known(pa.table({"video_id": ids}), np.full(len(ids), FOREVER))
        return rows.values.take(pa.array(at, mask=at < 0))


CATALOGS: Mapping[str, Callable[[Home], Catalog]] = MappingProxyType(
    {
        "none": lambda home: home.catalog.without_topics(),
        "topics": lambda home: home.catalog,
        "planted": lambda home: home.planted_catalog,
    }
)
RANKERS: Mapping[str, Callable[[Home], ManyRanker]] = MappingProxyType(
    {
        "none": Home.plain_ranker,
        "cover": Home.cover_ranker,
        "topics": Home.topic_ranker,
        "planted": Home.planted_ranker,
    }
)


def _ranked(name: str, recall: str, ranker: str) -> Callable[[Home], Policy]:
    """A maker of the policy with recall by a catalogue and a ranking model."""

    def make(home: Home) -> Policy:
        return RankedPolicy(
            name, home.world.seed, home.recall(CATALOGS[recall](home)), RANKERS[ranker](home)
        )

    return make


POLICIES: Mapping[str, Callable[[Home], Policy]] = MappingProxyType(
    {
        "content": lambda home: ContentPolicy(home.world.seed, home.catalog),
        "production": _ranked("production", "none", "none"),
        "cover": _ranked("cover", "none", "cover"),
        "topic-recall": _ranked("topic-recall", "topics", "none"),
        "topic-ranker": _ranked("topic-ranker", "none", "topics"),
        "topics": _ranked("topics", "topics", "topics"),
        "oracle-topics": _ranked("oracle-topics", "planted", "planted"),
    }
)
"""By name, what needs a home; `vidtopics.simulation.baselines` has those that need none."""


def load_policies(home: Path, world: World, names: Sequence[str]) -> dict[str, Policy]:
    """Policies by name, for a world that goes on after the log of a home.

    Models that a home lacks are trained from its log: those with cover features and with planted
    topics.

    Raises:
        SettingsError: there is no such policy; the home isn't of this world.
        TableError: nothing was released, or no ranking model trained.

    >>> load_policies(Path("."), None, ["popularity"])
    Traceback (most recent call last):
    ...
    vidtopics.errors.SettingsError: policies: expected some of random, popular, logged, oracle,
    content, production, cover, topic-recall, topic-ranker, topics, oracle-topics, found
    popularity. Mend: correct the names.
    """
    unknown = [name for name in names if name not in {*BASELINES, *POLICIES}]
    if unknown:
        raise SettingsError(
            explain(
                "policies",
                expected=f"some of {', '.join([*BASELINES, *POLICIES])}",
                found=", ".join(unknown),
                mend="correct the names",
            )
        )
    path = home / SETTINGS_FILE
    settings = load(path if path.is_file() else None)
    _check_world(home, settings, world)
    opened = Home(Tables(home), settings, world)
    return {
        name: BASELINES[name](world) if name in BASELINES else POLICIES[name](opened)
        for name in names
    }


def _check_world(home: Path, settings: Settings, world: World) -> None:
    """SettingsError where the home's videos and users aren't the world's."""
    own = settings.simulation.model_copy(update={"users": world.settings.users})
    if own == world.settings and settings.seed == world.seed:
        return
    theirs, ours = own.model_dump(), world.settings.model_dump()
    other = [name for name in ours if ours[name] != theirs[name]]
    raise SettingsError(
        explain(
            f"home {home}",
            expected="a home of the world that is simulated",
            found=f"another {', '.join(other) or 'seed'}",
            mend="simulate with the home's own settings and seed",
        )
    )
