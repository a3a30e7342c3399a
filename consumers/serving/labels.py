"""What topics are called: the words that explain a recommendation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vidtopics.contracts import CREATED_TIME, EVENT_TIME, PARENT, TOPIC, TOPICS
from vidtopics.tables import Tables

Terms = Sequence[str]


@dataclass(frozen=True)
class Labels:
    """Label terms of topics and of their parents, and each topic's parent.

    >>> labels = Labels({7: ["soccer", "goal"]}, {2: ["sports"]}, {7: 2})
    >>> labels.of(TOPIC, 7), labels.of(PARENT, 2), labels.of("catalogue", 0)
    (['soccer', 'goal'], ['sports'], ())
    """

    topics: Mapping[int, Terms] = field(default_factory=dict)
    parents: Mapping[int, Terms] = field(default_factory=dict)
    parent_of: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def read(cls, tables: Tables) -> Labels:
        """The latest of table `topics`; TableError where it can't be read."""
        columns = ["topic_id", "label_terms", "parent_topic_id", "parent_label_terms"]
        rows = tables.read(TOPICS, columns=[*columns, EVENT_TIME, CREATED_TIME])
        rows = rows.sort_by([(EVENT_TIME, "ascending"), (CREATED_TIME, "ascending")])
        topics, terms, parents, parent_terms = (rows[name].to_pylist() for name in columns)
        latest = zip(topics, parents, strict=True)
        return cls(
            {topic: words or [] for topic, words in zip(topics, terms, strict=True)},
            {parent: words or [] for parent, words in zip(parents, parent_terms, strict=True)},
            {topic: parent for topic, parent in latest if parent is not None},
        )

    def of(self, level: str, topic_id: int) -> Terms:
        """The terms of a topic or parent topic; none where it has no label."""
        return {TOPIC: self.topics, PARENT: self.parents}.get(level, {}).get(topic_id, ())
