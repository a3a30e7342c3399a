"""Topic model versions: what training learned, whole or absent, and which one is in force when."""

from vidtopics.topic_models.model import TopicModel, Version
from vidtopics.topic_models.store import encoders, in_force, load, save, versions

__all__ = ["TopicModel", "Version", "encoders", "in_force", "load", "save", "versions"]
