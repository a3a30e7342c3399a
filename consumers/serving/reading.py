"""`POST /features` and `GET /topics/ID`: values of the live release, as JSON or Arrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from consumers.serving.deadlines import BoundedStore
from consumers.serving.labels import Labels
from consumers.serving.live import Live
from consumers.serving.messages import FeaturesRequest
from consumers.serving.service import Service
from vidtopics.contracts import PARENT, TOPIC, VIEWS
from vidtopics.errors import InputError, explain
from vidtopics.layout import queue_name
from vidtopics.online import Features, Status
from vidtopics.online.requests import views_of
from vidtopics.tables.schemas import arrow_schema
from vidtopics.times import moment

TIME = pa.timestamp("us", tz="UTC")
STATUSES = [status.name.lower() for status in Status]


async def features(
    service: Service, request: FeaturesRequest
) -> tuple[Live, Mapping[str, Features]]:
    """The views, and the release that they are of.

    Raises:
        InputError: no such service, view or entity, or more ids than `serving.max_ids`.
        StoreError, redis.exceptions.RedisError: Redis has or gives no answer in time.
    """
    ids = sum(map(len, request.ids.values()))
    service.check_limit("body, ids", ids, service.settings.max_ids, "max_ids")
    deadline = service.deadline()

    def read(live: Live) -> Mapping[str, Features]:
        store = BoundedStore(live.store, deadline)
        return store.read_entities(_names(request, live), request.ids)

    return await service.answer(deadline, read)


def _names(request: FeaturesRequest, live: Live) -> list[str]:
    """The views to read: those of a service that are online, or all that are named."""
    existing = live.store.directory().views
    if (request.service is None) == (request.views is None):
        raise InputError(
            explain(
                "body",
                expected="either a service or views",
                found="both" if request.service else "neither",
                mend='send {"service": "ranking_v2", "ids": ...}',
            )
        )
    if request.service is not None:
        return [name for name in views_of(request.service) if name in existing]
    names = list(dict.fromkeys(request.views or []))
    if unknown := [name for name in names if name not in existing]:
        raise InputError(
            explain(
                "body, views",
                expected=f"views that are online: {', '.join(sorted(existing))}",
                found=ascii(unknown[0]),
                mend="name one of them",
            )
        )
    return names


def entity_of(live: Live, view: str) -> str:
    """Whose feature a view is: `video` or `user`."""
    return live.store.directory().view(view).keys[0].removesuffix("_id")


def as_json(live: Live, views: Mapping[str, Features]) -> dict[str, Any]:
    """Plain values; a feature of an id without a present value is null."""
    return {
        "release": live.release,
        "views": {
            name: {
                "entity": entity_of(live, name),
                "status": [STATUSES[status] for status in rows.status.tolist()],
                "event_timestamp": _moments(rows.event_us),
                "created_timestamp": _moments(rows.created_us),
                "features": {feature: _values(rows, feature) for feature in rows.names},
            }
            for name, rows in views.items()
        },
    }


def _values(rows: Features, name: str) -> list[Any]:
    values = [_list(value) for value in rows[name].tolist()]
    for place in np.flatnonzero(rows.null[name]).tolist():
        values[place] = None
    return values


def _list(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _moments(times_us: NDArray[np.int64]) -> list[str | None]:
    return [moment(us) if us else None for us in times_us.tolist()]


def as_arrow(live: Live, views: Mapping[str, Features], ids: Mapping[str, Sequence[str]]) -> bytes:
    """An IPC stream for each entity, one behind the other.

    Rows are the entity's ids in their order; columns are the id, and of each view `VIEW.status`,
    `VIEW.event_timestamp`, `VIEW.created_timestamp` and `VIEW.FEATURE`. The schema's metadata has
    `entity` and `release`.
    """
    sink = pa.BufferOutputStream()
    for entity, values in ids.items():
        columns = {f"{entity}_id": pa.array(values, pa.string())}
        for name, rows in views.items():
            if entity_of(live, name) == entity:
                columns |= {f"{name}.{part}": column for part, column in _columns(name, rows)}
        metadata = {"entity": entity, "release": str(live.release)}
        batch = pa.RecordBatch.from_pydict(columns).replace_schema_metadata(metadata)
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
    return bytes(sink.getvalue())


def _columns(view: str, rows: Features) -> list[tuple[str, pa.Array]]:
    unknown = rows.event_us == 0
    times = (("event_timestamp", rows.event_us), ("created_timestamp", rows.created_us))
    return [
        ("status", pa.array(rows.status)),
        *((name, pa.array(us, TIME, mask=unknown)) for name, us in times),
        *((name, _column(view, name, rows)) for name in rows.names),
    ]


def _column(view: str, name: str, rows: Features) -> pa.Array:
    """A feature; null where there is none. Lists of a contract's view have the contract's type."""
    values, null = rows[name], rows.null[name]
    if values.ndim == 2 and values.shape[1]:
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        mask = pa.array(null) if null.any() else None
        return pa.FixedSizeListArray.from_arrays(flat, values.shape[1], mask=mask)
    if values.dtype == object or values.ndim == 2:
        return pa.array(_values(rows, name), _type_of(view, name))
    return pa.array(values, mask=null)


@cache
def _type_of(view: str, name: str) -> pa.DataType | None:
    """By the view's contract; None for a view of somebody else's."""
    return arrow_schema(VIEWS[view]).field(name).type if view in VIEWS else None


async def topic(service: Service, topic_id: int, limit: int | None) -> dict[str, Any] | None:
    """A topic with the first videos of its queue; None where the release has none of this number.

    Raises:
        InputError: more videos than `serving.max_videos`.
        StoreError, redis.exceptions.RedisError: Redis has or gives no answer in time.
    """
    number, deadline = service.videos("query", limit), service.deadline()

    def read(live: Live) -> list[str]:
        store, name = BoundedStore(live.store, deadline), queue_name(TOPIC, topic_id)
        [videos] = store.queues([name], epoch=store.catalogue().epoch, limit=[number])
        return videos

    live, videos = await service.answer(deadline, read)
    labels = live.labels or Labels()
    if not videos and topic_id not in labels.topics:
        return None
    parent = labels.parent_of.get(topic_id)
    return {
        "topic_id": topic_id,
        "label_terms": list(labels.of(TOPIC, topic_id)),
        "parent_topic_id": parent,
        "parent_label_terms": [] if parent is None else list(labels.of(PARENT, parent)),
        "videos": videos,
        "release": live.release,
    }
