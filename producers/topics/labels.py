"""Terms that set a topic apart from the others, for people to read."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS


def label_terms(
    topic_ids: NDArray[np.int64],
    topic: NDArray[np.int64],
    tags: pa.ListArray,
    titles: pa.StringArray,
    *,
    terms: int,
) -> list[list[str]]:
    """Each topic's best terms among its videos' tags and title words, by c-TF-IDF.

    score(t, c) = tf(t, c) * ln(1 + A / f(t)): tf counts the topic's videos that have the term, f
    all videos in topics that have it, A is the mean number of terms a topic (Grootendorst,
    BERTopic, 2022, Eq. 2). Equal scores go by the term. Title words are runs of two letters or
    more, lower case, without English stop words.

    Args:
        topic_ids: int64[K], the topics to label.
        topic: int64[N], each video's nearest topic (slot 0 of `topic_ids`), -1 for none.
        tags: list<string>[N], tags of each video.
        titles: string[N].
        terms: at most this many a topic.

    >>> tags = pa.array([["cat"], ["cat"], ["dog"]])
    >>> titles = pa.array(["The cat", "A big cat", "big dog"])
    >>> label_terms(np.array([4, 9]), np.array([4, 4, 9]), tags, titles, terms=2)
    [['cat', 'big'], ['dog', 'big']]
    """
    video, term = _video_terms(tags, titles)
    order = np.argsort(topic_ids)
    place = np.searchsorted(topic_ids, topic, sorter=order).clip(max=len(topic_ids) - 1)
    row = np.where(topic_ids[order[place]] == topic, order[place], -1)[video]
    inside = row >= 0
    vocabulary = pc.unique(term)
    vocabulary = vocabulary.take(pc.array_sort_indices(vocabulary))
    column = pc.index_in(term, value_set=vocabulary).to_numpy()[inside]
    shape = (len(topic_ids), len(vocabulary))
    counts = coo_array((np.ones(len(column)), (row[inside], column)), shape=shape).tocsr()
    return [[vocabulary[c].as_py() for c in best] for best in _best(counts, terms)]


def _video_terms(
    tags: pa.ListArray, titles: pa.StringArray
) -> tuple[NDArray[np.int64], pa.StringArray]:
    """Pairs (video, term), each once: tags and title words."""
    words = pc.split_pattern_regex(pc.utf8_lower(titles), r"[^\p{L}]+")
    video = pa.concat_arrays([pc.list_parent_indices(x).cast(pa.int64()) for x in (tags, words)])
    term = pa.concat_arrays([pc.list_flatten(x).cast(pa.string()) for x in (tags, words)])
    is_tag = np.arange(len(term)) < len(pc.list_flatten(tags))
    is_word = pc.greater_equal(pc.utf8_length(term), 2).to_numpy(zero_copy_only=False)
    is_word &= ~pc.is_in(term, value_set=pa.array(sorted(ENGLISH_STOP_WORDS))).to_numpy(
        zero_copy_only=False
    )
    pairs = pa.table({"video": video, "term": term}).filter(pa.array(is_tag | is_word))
    once = pairs.group_by(["video", "term"], use_threads=False).aggregate([]).combine_chunks()
    return once["video"].to_numpy(), once["term"].combine_chunks()


def _best(counts: csr_array, terms: int) -> list[NDArray[np.int64]]:
    """Columns of each row's greatest scores, ties by the earlier column; counts float64[K, V]."""
    idf = np.log1p(counts.sum() / counts.shape[0] / np.maximum(counts.sum(axis=0), 1))
    best = []
    for row in range(counts.shape[0]):
        columns = counts.indices[counts.indptr[row] : counts.indptr[row + 1]]
        score = counts.data[counts.indptr[row] : counts.indptr[row + 1]] * idf[columns]
        best.append(columns[np.lexsort((columns, -score))[:terms]].astype(np.int64))
    return best
