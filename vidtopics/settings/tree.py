"""The whole tree of settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vidtopics.settings.content import ContentSettings
from vidtopics.settings.gates import GateSettings
from vidtopics.settings.inputs import IngestSettings, ScheduleSettings, SimulationSettings
from vidtopics.settings.online import ErasureSettings, MaintenanceSettings, OnlineSettings
from vidtopics.settings.ranking import EvaluationSettings, RankingSettings
from vidtopics.settings.section import Section
from vidtopics.settings.serving import ServingSettings
from vidtopics.settings.topics import TagSettings, TopicSettings
from vidtopics.settings.users import QueueSettings, RecallSettings, StatisticsSettings, UserSettings


class Settings(Section):
    """The whole tree."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 7
    """Of every random draw; numpy, torch and gensim all take an unsigned number of 32 bits."""
    ingest: IngestSettings = IngestSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    simulation: SimulationSettings = SimulationSettings()
    content: ContentSettings = ContentSettings()
    tags: TagSettings = TagSettings()
    topics: TopicSettings = TopicSettings()
    statistics: StatisticsSettings = StatisticsSettings()
    users: UserSettings = UserSettings()
    queues: QueueSettings = QueueSettings()
    recall: RecallSettings = RecallSettings()
    ranking: RankingSettings = RankingSettings()
    online: OnlineSettings = OnlineSettings()
    serving: ServingSettings = ServingSettings()
    maintenance: MaintenanceSettings = MaintenanceSettings()
    erasure: ErasureSettings = ErasureSettings()
    gates: GateSettings = GateSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
