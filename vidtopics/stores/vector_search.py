"""Exact nearest neighbours among the vectors of a view in Redis, as Feast asks for documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import numpy as np
from feast import FeatureView
from feast.protos.feast.serving.ServingService_pb2 import GetOnlineFeaturesResponse
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from numpy.typing import NDArray

from vidtopics.errors import StoreError, explain
from vidtopics.layout import Field, KeySpace, ViewEntry
from vidtopics.layout.schema import NUMBERS
from vidtopics.online import Features, OnlineClient
from vidtopics.stores.entity_ids import entity_key_of
from vidtopics.stores.feast_types import add_values, schema_of
from vidtopics.stores.responses import check_fields

Document = tuple[datetime | None, EntityKey | None, dict[str, Value] | None]
Vectors = NDArray[np.float32]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BATCH = 5_000
"""Values that are read in one round trip."""
DISTANCE = "distance"
TRIES = 3


def l2_distances(vectors: Vectors, query: Vectors) -> NDArray[np.float32]:
    """Euclidean distance of each row of `vectors` (N, D) to `query` (D): (N,)."""
    distances: NDArray[np.float32] = np.linalg.norm(vectors - query, axis=1)
    return distances


def cosine_distances(vectors: Vectors, query: Vectors) -> NDArray[np.float32]:
    """1 - cosine similarity: (N,); that of a zero vector to any other is 1."""
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    dots = vectors @ query
    return np.asarray(1 - np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0))


def inner_product_distances(vectors: Vectors, query: Vectors) -> NDArray[np.float32]:
    """Minus the inner product: (N,); the nearest has the greatest product."""
    return np.asarray(-(vectors @ query))


METRICS: dict[str, Callable[[Vectors, Vectors], NDArray[np.float32]]] = {
    "l2": l2_distances,
    "euclidean": l2_distances,
    "cosine": cosine_distances,
    "inner_product": inner_product_distances,
    "ip": inner_product_distances,
    "dot": inner_product_distances,
}
"""By Feast's names, in lower case. The smaller a distance, the nearer a vector."""


def search(
    client: OnlineClient,
    view: FeatureView,
    requested: Sequence[str],
    embedding: Sequence[float],
    *,
    top_k: int,
    metric: str | None,
    row_limit: int,
    version: int,
) -> list[Document]:
    """The `top_k` documents of a view that are nearest to an embedding, in the order of their ids.

    In that order because Feast 0.67 gives documents to entities by it: in any other its response
    has the values of one entity beside the id of another. `distance` is a value of each document.
    Values that ended or are past their TTL are no documents, nor are rows without a vector.

    Args:
        client: reads the view.
        view: has one vector field, or one that says `vector_index=True`.
        requested: features that come with the documents.
        embedding: the query, as wide as the view's vectors.
        top_k: the number of documents; fewer where the view has fewer.
        metric: a name of :data:`METRICS`; L2 if None, as in Feast.
        row_limit: values that a search reads at most.
        version: of Feast's serialization of entity keys.

    Raises:
        StoreError: a wrong argument, a query of another width, or a view of more rows.
    """
    field = vector_field(view)
    distances_of = _metric(view, metric)
    query = _query(view, embedding)
    _check_request(view, requested, top_k)
    names = list(dict.fromkeys([field.name, *requested]))
    nearest: list[tuple[float, bytes, Document]] = []
    for ids in _batches(_stable_ids(client, view, row_limit)):
        (features,) = client.read_parts([(view.name, ids)], names)
        check_fields(client.directory(), view, names)
        rows = np.flatnonzero(features.present & ~features.null[field.name])
        if not len(rows):
            continue
        vectors = _matrix(view, field, features, rows, len(query))
        distances = distances_of(vectors, query)
        best = np.argsort(distances, kind="stable")[:top_k]
        chosen = rows[best]
        documents = _documents(view, features, chosen, requested, distances[best], ids, version)
        nearest += zip(distances[best].tolist(), [ids[i] for i in chosen], documents, strict=True)
        nearest = sorted(nearest, key=lambda candidate: candidate[:2])[:top_k]
    return sorted((document for _, _, document in nearest), key=_entity_values)


def vector_field(view: FeatureView) -> Field:
    """The field that a view is searched by.

    Raises:
        StoreError: it has none, or several of which none, or more than one, is the index.
    """
    indexed = {f.name for f in view.features if f.vector_index}
    lists = [
        f
        for f in schema_of(view).fields
        if f.kind in {"vector", "slots", "list"} and f.type in {"float32", "float64"}
    ]
    candidates = [f for f in lists if f.name in indexed] or lists
    if len(candidates) != 1:
        raise _error(
            view,
            "one field of vectors (a list of floats)",
            ", ".join(f.name for f in candidates) or "none",
            "set vector_index=True on the field to search by",
        )
    return candidates[0]


def refuse_unsupported(view: FeatureView, query_string: str | None, filters: object | None) -> None:
    """StoreError for the parts of a search that this store doesn't have: texts and filters."""
    unsupported = {"query_string": query_string, "filters": filters}
    for name, value in unsupported.items():
        if value is not None:
            raise _error(
                view, f"a search by an embedding, without {name}", name, f"leave {name} out"
            )


def _error(view: FeatureView, expected: str, found: str, mend: str) -> StoreError:
    where = f"view {view.name}, search of vectors"
    return StoreError(explain(where, expected=expected, found=found, mend=mend))


def _metric(
    view: FeatureView, name: str | None
) -> Callable[[Vectors, Vectors], NDArray[np.float32]]:
    metric = METRICS.get((name or "L2").lower())
    if metric is None:
        raise _error(view, "L2, cosine or inner_product", repr(name), "name one of these metrics")
    return metric


def _query(view: FeatureView, embedding: Sequence[float]) -> Vectors:
    try:
        query = np.asarray(embedding, np.float32)
    except (TypeError, ValueError):
        query = np.zeros(0, np.float32)
    if query.ndim != 1 or not len(query) or not np.isfinite(query).all():
        raise _error(
            view, "an embedding of finite numbers", "another value", "pass a list of floats"
        )
    return query


def _check_request(view: FeatureView, requested: Sequence[str], top_k: int) -> None:
    if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
        raise _error(view, "top_k of 1 or more", repr(top_k), "ask for at least one document")
    names = [f.name for f in schema_of(view).fields]
    if unknown := [name for name in requested if name not in names]:
        raise _error(view, f"features of {', '.join(names)}", unknown[0], "correct the name")


def _stable_ids(client: OnlineClient, view: FeatureView, row_limit: int) -> list[bytes]:
    """The ids of the live generation; looked up again where another took its place meanwhile."""
    for _ in range(TRIES):
        directory = client.directory(fresh=True)
        entry = directory.view(view.name)
        ids = _ids(client, view, directory.keys(view.name), entry, row_limit)
        if client.directory(fresh=True).views.get(view.name) == entry:
            return ids
    raise _error(
        view, "a generation that stays while it is searched", "another one", "search again"
    )


def _ids(
    client: OnlineClient, view: FeatureView, space: KeySpace, entry: ViewEntry, row_limit: int
) -> list[bytes]:
    """The ids of a generation's keys; no value is read before they are counted."""
    pattern = f"{space.prefix}:{entry.generation}:{entry.number}:{{*"
    ids: set[bytes] = set()  # SCAN may name a key twice
    for key in client.connection.scan_iter(match=pattern, count=1_000):
        ids.add(cast("bytes", key).partition(b"}")[2])
        if len(ids) > row_limit:
            raise _error(
                view,
                f"{row_limit:,} rows at most (vector_search_rows)",
                "more",
                "raise the setting, as each search reads all rows, or use an index beside Redis",
            )
    return sorted(ids)


def _batches(ids: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [ids[start : start + BATCH] for start in range(0, len(ids), BATCH)]


def _matrix(
    view: FeatureView, field: Field, features: Features, rows: NDArray[np.intp], width: int
) -> Vectors:
    """The vectors of some rows: (N, `width`)."""
    column: Any = features[field.name][rows]
    widths = {len(vector) for vector in column}
    if widths != {width}:
        raise _error(
            view,
            f"an embedding as wide as {field.name}",
            f"a query of {width}, vectors of {', '.join(map(str, sorted(widths)))}",
            "embed the query by the model that made the vectors",
        )
    return np.asarray(np.stack(list(column)).astype(NUMBERS["float32"]))


def _documents(
    view: FeatureView,
    features: Features,
    rows: NDArray[np.intp],
    requested: Sequence[str],
    distances: NDArray[np.float32],
    ids: Sequence[bytes],
    version: int,
) -> list[Document]:
    fields = {f.name: f for f in schema_of(view).fields}
    vectors = {name: GetOnlineFeaturesResponse.FeatureVector() for name in requested}
    for name, vector in vectors.items():
        valid = ~features.null[name][rows]
        add_values(vector.values, fields[name], features[name][rows], valid)
    documents: list[Document] = []
    for i, row in enumerate(rows.tolist()):
        values = {name: vector.values[i] for name, vector in vectors.items()}
        values[DISTANCE] = Value(float_val=float(distances[i]))
        time = EPOCH + timedelta(microseconds=int(features.event_us[row]))
        documents.append((time, entity_key_of(view, ids[row], version), values))
    return documents


def _entity_values(document: Document) -> tuple[Any, ...]:
    key = document[1]
    assert key is not None
    return tuple(getattr(value, str(value.WhichOneof("val"))) for value in key.entity_values)
