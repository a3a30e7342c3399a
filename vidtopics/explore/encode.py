"""The page's data as compact JSON.

Columns instead of objects, places instead of ids, whole numbers instead of fractions.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vidtopics.explore.data import SCALE, Covers, PageData, Topic, Video, members
from vidtopics.explore.geometry import plane, similar

NEIGHBOURS = 8
UNSAFE = str.maketrans({sign: f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"})


def encode(data: PageData, covers: Covers) -> str:
    """JSON that may stand inside a script element, whatever titles hold."""
    vocabularies = {
        name: _vocabulary(data.videos, name)
        for name in ("primary_classes", "secondary_classes", "tags")
    }
    document = {
        "release": {
            "id": data.release.release_id,
            "as_of": data.release.as_of.isoformat(timespec="seconds"),
            "epoch": data.release.topic_epoch,
            "mean_topics": round(data.release.mean_topics, 4),
        },
        **vocabularies,
        "topics": _topics(data),
        "videos": _videos(data, vocabularies),
        "covers": covers.files,
        "ratio": round(covers.ratio, 3),
    }
    return script_safe(
        json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    )


def script_safe(text: str) -> str:
    r"""JSON text that can't end the script element that holds it, nor begin a comment in it.

    >>> script_safe('["</script><!--"]')
    '["\\u003c/script\\u003e\\u003c!--"]'
    """
    return text.translate(UNSAFE)


def _topics(data: PageData) -> dict[str, list[Any] | None]:
    """One column per field, by place of the topic."""
    carried = members(data)
    at = {video.video_id: place for place, video in enumerate(data.videos)}
    neighbours, cosines = similar(data.centroids, NEIGHBOURS)
    return {
        "id": [topic.topic_id for topic in data.topics],
        "terms": [topic.terms for topic in data.topics],
        "nearest": [topic.nearest for topic in data.topics],
        "born": [topic.born.isoformat(timespec="seconds") for topic in data.topics],
        "class": [
            _main_class([data.videos[i] for i in carried[topic.topic_id]]) for topic in data.topics
        ],
        "ctr": [
            _pooled_rate(data.videos[i] for i in carried[topic.topic_id]) for topic in data.topics
        ],
        "xy": (plane(data.centroids) * SCALE).round().astype(int).tolist(),
        "similar": neighbours.tolist(),
        "cosine": (cosines * SCALE).round().astype(int).tolist(),
        "queue": [_queue(data, topic, at) for topic in data.topics]
        if data.queues is not None
        else None,
    }


def _queue(data: PageData, topic: Topic, at: Mapping[str, int]) -> list[list[int]]:
    """Rows of video, rate, exposures, fresh."""
    places = (data.queues or {}).get(topic.topic_id, ())
    return [[at[p.video_id], round(p.ctr * SCALE), p.exposures, int(p.fresh)] for p in places]


def _videos(data: PageData, vocabularies: Mapping[str, list[str]]) -> dict[str, list[Any]]:
    """One column per field, by place of the video; topics as rows of place, weight, place, ..."""
    at = {topic.topic_id: place for place, topic in enumerate(data.topics)}
    numbers = {
        name: {word: i for i, word in enumerate(words)} for name, words in vocabularies.items()
    }
    return {
        "id": [v.video_id for v in data.videos],
        "title": [v.title for v in data.videos],
        "topics": [
            [n for t, w in v.topics for n in (at[t], round(w * SCALE))] for v in data.videos
        ],
        "below": [int(v.below_threshold) for v in data.videos],
        "exposures": [v.exposures for v in data.videos],
        "clicks": [v.clicks for v in data.videos],
        "ctr": [None if v.ctr is None else round(v.ctr * SCALE) for v in data.videos],
        **{
            name: [[numbers[name][w] for w in getattr(v, name)] for v in data.videos]
            for name in vocabularies
        },
    }


def _vocabulary(videos: Iterable[Video], name: str) -> list[str]:
    """The field's words, most frequent first (shortest numbers), ties by word."""
    counts = Counter(word for video in videos for word in getattr(video, name))
    return sorted(counts, key=lambda word: (-counts[word], word))


def _main_class(videos: Sequence[Video]) -> str | None:
    """The primary class of most videos, ties by name; None where none has one."""
    counts = Counter(name for video in videos for name in video.primary_classes)
    return min(counts, key=lambda name: (-counts[name], name), default=None)


def _pooled_rate(videos: Iterable[Video]) -> int | None:
    """Clicks over exposures of all the videos together; None where none was shown."""
    counted = [(v.clicks, v.exposures) for v in videos]
    exposures = sum(e for _, e in counted)
    return round(sum(c for c, _ in counted) / exposures * SCALE) if exposures else None
