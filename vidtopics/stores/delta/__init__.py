"""The Feast offline store on Delta tables; `feature_store.yaml` names the classes from here.

| file | holds |
|---|---|
| `store` | the class that Feast calls, and its settings |
| `sources`, `tables` | which table a Feast source means; opening it |
| `spines` | the rows to join to: a frame, a SELECT, a range of time |
| `rows`, `join`, `order` | a snapshot's rows; the features beside a spine, in one order |
| `pins` | what a result was made of, and how the same snapshot is opened again |
| `retrieval_job` | the result that Feast hands to its caller |
| `writing`, `logs` | rows that are pushed; logs of served features |
"""

from vidtopics.stores.delta.logs import DeltaLoggingDestination
from vidtopics.stores.delta.pins import pinned
from vidtopics.stores.delta.retrieval_job import DeltaRetrievalJob
from vidtopics.stores.delta.store import DeltaOfflineStore, DeltaOfflineStoreConfig

__all__ = [
    "DeltaLoggingDestination",
    "DeltaOfflineStore",
    "DeltaOfflineStoreConfig",
    "DeltaRetrievalJob",
    "pinned",
]
