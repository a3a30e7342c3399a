"""Labels of topics and of their parents, and the function that a team brings to name topics."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vidtopics.errors import SettingsError, explain
from vidtopics.settings import TopicSettings

if TYPE_CHECKING:
    from producers.topics.labels import Labeller
    from producers.topics.parents import Parents

TITLES = 20
"""Titles that a labeller is told of each topic, of the videos nearest to its centre."""


def label_topics(
    settings: TopicSettings,
    parents: Parents,
    topic: NDArray[np.int64],
    cosine: NDArray[np.float32],
    tags: pa.LargeListArray,
    titles: pa.StringArray,
) -> tuple[list[list[str]], list[list[str]]]:
    """Each topic's label terms and, for each topic, its parent's.

    Args:
        settings: how many terms, and who names topics.
        parents: the topics and their groups.
        topic: int64[N], each video's nearest topic, -1 for none.
        cosine: float32[N], to its centre.
        tags: list<string>[N].
        titles: string[N].
    """
    from producers.topics.labels import label_terms, name_topics

    terms = label_terms(parents.topic_ids, topic, tags, titles, terms=settings.label_terms)
    if settings.labeller:
        examples = central_titles(parents.topic_ids, topic, cosine, titles)
        terms = name_topics(load_labeller(settings.labeller), parents.topic_ids, terms, examples)
    group = parents.of_slots(topic)
    of_parents = label_terms(parents.ids, group, tags, titles, terms=settings.label_terms)
    by_parent = dict(zip(parents.ids.tolist(), of_parents, strict=True))
    return terms, [by_parent[parent] for parent in parents.parent_ids.tolist()]


def central_titles(
    topic_ids: NDArray[np.int64],
    topic: NDArray[np.int64],
    cosine: NDArray[np.float32],
    titles: pa.StringArray,
) -> list[list[str]]:
    """Titles of the videos nearest to each topic's centre, nearest first, empty ones left out.

    >>> titles = pa.array(["far", "near", "", "other"])
    >>> cosine = np.array([.1, .9, 1, .5], np.float32)
    >>> central_titles(np.array([4, 9]), np.array([4, 4, 4, 9]), cosine, titles)
    [['near', 'far'], ['other']]
    """
    texts = titles.to_pylist()
    order = np.argsort(-cosine, kind="stable")
    examples: dict[int, list[str]] = {int(i): [] for i in topic_ids}
    for row in order[topic[order] >= 0]:
        of_topic = examples[int(topic[row])]
        if texts[row] and len(of_topic) < TITLES:
            of_topic.append(texts[row])
    return list(examples.values())


def load_labeller(path: str) -> Labeller:
    """The function at `package.module:name`, which `topics.labeller` sets.

    Raises:
        SettingsError: the path has another form, the module can't be imported, or the name is none
            of its functions.

    >>> load_labeller("json:dumps").__name__
    'dumps'
    """
    module_name, separator, name = path.partition(":")
    if not (module_name and separator and name.isidentifier()):
        raise _refusal(path, "package.module:function", "no such path")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever a team's module raises when it is loaded
        raise _refusal(path, "a module that can be imported", f"{error}") from None
    labeller = getattr(module, name, None)
    if not callable(labeller):
        raise _refusal(path, f"a function {name} of {module_name}", "none")
    return cast("Labeller", labeller)


def _refusal(path: str, expected: str, found: str) -> SettingsError:
    return SettingsError(
        explain(
            f"topics.labeller, {path}",
            expected=expected,
            found=found,
            mend="correct it, or leave it empty for labels of terms alone",
        )
    )
