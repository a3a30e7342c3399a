"""Terms that set a topic apart from the others, for people to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from vidtopics.errors import ContractError, explain

LEAST_LIFT = 1.5
"""A title word that is less more frequent in a topic than elsewhere tells nothing of it, in any
language: "the", "und" and "de" have about 1."""
SPARE_TERMS = 5
"""Further candidates of each topic, for topics whose best terms are another one's."""
UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
"""Scripts that put no space between words."""


class TopicSample(NamedTuple):
    """What a labeller is told of a topic: its ID, its best terms, titles of some of its videos."""

    topic_id: int
    terms: list[str]
    titles: list[str]


class Labeller(Protocol):
    """A name for each topic, from a language model say; `topics.labeller` is its import path."""

    def __call__(self, topics: Sequence[TopicSample]) -> Sequence[str]:
        """One name for each of `topics`, in their order; empty: none."""


def label_terms(
    topic_ids: NDArray[np.int64],
    topic: NDArray[np.int64],
    tags: pa.ListArray,
    titles: pa.StringArray,
    *,
    terms: int,
) -> list[list[str]]:
    """Each topic's best terms among its videos' tags and title words, by c-TF-IDF; no two alike.

    score(t, c) = tf(t, c) * ln(1 + A / f(t)): tf counts the topic's videos that have the term, f
    all videos in topics that have it, A is the mean number of terms a topic (Grootendorst,
    BERTopic, 2022, Eq. 2). Equal scores go by the term. A title word is a run of two letters or
    more (in scripts without spaces each pair of letters), lower case, and :data:`LEAST_LIFT` times
    more frequent in the topic than in the others. Where a topic's terms are those of one before,
    its next best takes the last one's place.

    Args:
        topic_ids: int64[K], the topics to label.
        topic: int64[N], each video's nearest topic (slot 0 of `topic_ids`), -1 for none.
        tags: list<string>[N], tags of each video.
        titles: string[N].
        terms: at most this many a topic.

    >>> tags = pa.array([["cat"], ["cat"], ["dog"]])
    >>> titles = pa.array(["The cat", "The big cat", "The dog"])
    >>> label_terms(np.array([4, 9]), np.array([4, 4, 9]), tags, titles, terms=2)
    [['cat', 'big'], ['dog']]
    """
    video, term, is_tag = _video_terms(tags, titles)
    order = np.argsort(topic_ids)
    place = np.searchsorted(topic_ids, topic, sorter=order).clip(max=len(topic_ids) - 1)
    row_of_video = np.where(topic_ids[order[place]] == topic, order[place], -1)
    row = row_of_video[video]
    inside = row >= 0
    vocabulary = pc.unique(term)
    vocabulary = vocabulary.take(pc.array_sort_indices(vocabulary))
    column = pc.index_in(term, value_set=vocabulary).to_numpy()[inside]
    shape = (len(topic_ids), len(vocabulary))
    counts = coo_array((np.ones(len(column)), (row[inside], column)), shape=shape).tocsr()
    as_tag = coo_array((is_tag[inside], (row[inside], column)), shape=shape).tocsr()
    videos = np.bincount(row_of_video[row_of_video >= 0], minlength=len(topic_ids))
    counts = _distinctive(counts, as_tag, videos)
    ranked = [vocabulary.take(pa.array(c)).to_pylist() for c in _best(counts, terms + SPARE_TERMS)]
    return distinct_labels(ranked, terms)


def distinct_labels(ranked: Sequence[Sequence[str]], terms: int) -> list[list[str]]:
    """The first `terms` of each topic's ranked terms, such that no two topics have the same set.

    Where all of a topic's terms don't tell it from one before, its first term is numbered.

    >>> distinct_labels([["cat", "dog", "pet"], ["dog", "cat", "vet"], ["cat", "dog"], []], 2)
    [['cat', 'dog'], ['dog', 'vet'], ['cat 2', 'dog'], []]
    """
    used: set[frozenset[str]] = set()
    labels = []
    for candidates in ranked:
        first = list(candidates[:terms])
        choices = [first, *([*first[:-1], spare] for spare in candidates[terms:])]
        label = next((c for c in choices if frozenset(c) not in used), first)
        number = 2
        while label and frozenset(label) in used:
            label = [f"{first[0]} {number}", *first[1:]]
            number += 1
        used.add(frozenset(label))
        labels.append(label)
    return labels


def name_topics(
    labeller: Labeller,
    topic_ids: NDArray[np.int64],
    label_terms: Sequence[Sequence[str]],
    titles: Sequence[Sequence[str]],
) -> list[list[str]]:
    """Labels that begin with the labeller's names; a topic without a name keeps its terms.

    Args:
        labeller: what a team brings, asked once for all topics.
        topic_ids: int64[K].
        label_terms: the terms of each.
        titles: titles of some videos of each.

    Raises:
        ContractError: it returns something else than one string for each topic.

    >>> first_title = lambda topics: [t.titles[0] for t in topics]
    >>> name_topics(first_title, np.array([3]), [["cat"]], [["Cats"]])
    [['Cats', 'cat']]
    """
    samples = [
        TopicSample(int(i), list(terms), list(of_topic))
        for i, terms, of_topic in zip(topic_ids, label_terms, titles, strict=True)
    ]
    names = list(labeller(samples))
    if len(names) != len(samples) or not all(isinstance(name, str) for name in names):
        raise ContractError(
            explain(
                "topics.labeller",
                expected=f"{len(samples)} names, one string for each topic in their order",
                found=f"{len(names)} of {', '.join(sorted({type(n).__name__ for n in names}))}",
                mend="return an empty string for a topic without a name",
            )
        )
    ranked = [
        [name.strip(), *(t for t in s.terms if t != name.strip())] if name.strip() else s.terms
        for name, s in zip(names, samples, strict=True)
    ]
    return distinct_labels(ranked, max(map(len, ranked), default=1))


def _video_terms(
    tags: pa.ListArray, titles: pa.StringArray
) -> tuple[NDArray[np.int64], pa.StringArray, NDArray[np.bool_]]:
    """Pairs (video, term), each once, and whether the term is one of the video's tags."""
    lower = pc.utf8_lower(titles)
    # A script without spaces: every pair of neighbours, read once from each letter of a run.
    pairs = [
        pc.replace_substring_regex(shifted, rf"({UNSPACED})({UNSPACED})", r"\1\2 ")
        for shifted in (
            lower,
            pc.replace_substring_regex(lower, rf"(^|[^\p{{L}}\p{{M}}]){UNSPACED}", " "),
        )
    ]
    words = [pc.split_pattern_regex(text, r"[^\p{L}\p{M}]+") for text in pairs]
    columns = [tags, *words]
    video = pa.concat_arrays([pc.list_parent_indices(x).cast(pa.int64()) for x in columns])
    term = pa.concat_arrays([pc.list_flatten(x).cast(pa.string()) for x in columns])
    is_tag = pa.array(np.arange(len(term)) < len(pc.list_flatten(tags)))
    is_word = pc.greater_equal(pc.utf8_length(term), 2)
    rows = pa.table({"video": video, "term": term, "is_tag": is_tag})
    rows = rows.filter(pc.or_(is_tag, is_word))
    once = rows.group_by(["video", "term"], use_threads=False).aggregate([("is_tag", "max")])
    once = once.combine_chunks()
    return (
        once["video"].to_numpy(),
        once["term"].combine_chunks(),
        once["is_tag_max"].to_numpy(),
    )


def _distinctive(counts: csr_array, as_tag: csr_array, videos: NDArray[np.int64]) -> csr_array:
    """Counts float64[K, V] without title words that are as frequent in the other topics.

    A topic of nothing but such words keeps them: they are all that it can be called by.
    """
    entries = counts.tocoo()
    elsewhere = counts.sum(axis=0)[entries.col] - entries.data
    others = videos.sum() - videos[entries.row]
    # tf / n >= lift * elsewhere / others, without a division by 0
    stands_out = entries.data * others >= LEAST_LIFT * elsewhere * videos[entries.row]
    chosen = stands_out | (as_tag.data > 0)  # built from the same entries, so in the same order
    chosen |= np.bincount(entries.row, chosen, minlength=len(videos))[entries.row] == 0
    return coo_array(
        (entries.data[chosen], (entries.row[chosen], entries.col[chosen])), shape=counts.shape
    ).tocsr()


def _best(counts: csr_array, terms: int) -> list[NDArray[np.int64]]:
    """Columns of each row's greatest scores, ties by the earlier column; counts float64[K, V]."""
    idf = np.log1p(counts.sum() / counts.shape[0] / np.maximum(counts.sum(axis=0), 1))
    best = []
    for row in range(counts.shape[0]):
        columns = counts.indices[counts.indptr[row] : counts.indptr[row + 1]]
        score = counts.data[counts.indptr[row] : counts.indptr[row + 1]] * idf[columns]
        best.append(columns[np.lexsort((columns, -score))[:terms]].astype(np.int64))
    return best
