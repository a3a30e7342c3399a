"""Settings as one typed tree that mirrors `conf/*.yaml`; defaults are the paper's values.

>>> Settings().topics.target_topics
4.0
>>> parse({"topics": {"treshold": 0.5}}, where="conf/mine.yaml")
Traceback (most recent call last):
...
vidtopics.errors.SettingsError: conf/mine.yaml, topics.treshold: expected a known key,
found 'treshold'. Mend: did you mean 'threshold'?.
"""

from vidtopics.settings.content import ContentSettings, ImageEncoderSettings, TitleEncoderSettings
from vidtopics.settings.digests import digest
from vidtopics.settings.gates import FLOORS, GateSettings, Limits
from vidtopics.settings.homes import folder
from vidtopics.settings.inputs import IngestSettings, ScheduleSettings, SimulationSettings
from vidtopics.settings.online import ErasureSettings, MaintenanceSettings, OnlineSettings
from vidtopics.settings.parsing import load, parse
from vidtopics.settings.ranking import EvaluationSettings, RankingSettings
from vidtopics.settings.serving import ServingSettings, Space
from vidtopics.settings.topics import TagSettings, TopicSettings
from vidtopics.settings.tree import Settings
from vidtopics.settings.users import QueueSettings, RecallSettings, StatisticsSettings, UserSettings

__all__ = [
    "FLOORS",
    "ContentSettings",
    "ErasureSettings",
    "EvaluationSettings",
    "GateSettings",
    "ImageEncoderSettings",
    "IngestSettings",
    "Limits",
    "MaintenanceSettings",
    "OnlineSettings",
    "QueueSettings",
    "RankingSettings",
    "RecallSettings",
    "ScheduleSettings",
    "ServingSettings",
    "Settings",
    "SimulationSettings",
    "Space",
    "StatisticsSettings",
    "TagSettings",
    "TitleEncoderSettings",
    "TopicSettings",
    "UserSettings",
    "digest",
    "folder",
    "load",
    "parse",
]
