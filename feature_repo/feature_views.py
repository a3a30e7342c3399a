"""One view per contract that has one: fields, entity and TTL are the contract's."""

from feast import FeatureView, Field

from feature_repo.entities import ENTITY
from feature_repo.sources import SOURCE
from vidtopics.contracts import ENTITIES, VIEWS, Table
from vidtopics.stores.feast_types import feast_type, tags_of


def view(table: Table) -> FeatureView:
    """The feature view of a contract."""
    assert table.view is not None
    entity = ENTITIES[table.view.entity]
    fields = [
        Field(name=c.name, dtype=feast_type(c), description=c.doc, tags=tags_of(c))
        for c in table.values
    ]
    key = Field(name=entity.name, dtype=feast_type(entity))
    return FeatureView(
        name=table.name,
        entities=[ENTITY[table.view.entity]],
        schema=[key, *fields],
        source=SOURCE[table.name],
        ttl=table.view.ttl,
        online=True,
        description=table.doc,
    )


VIEW = {name: view(table) for name, table in VIEWS.items()}
globals().update(VIEW)  # Feast collects the objects that it finds as attributes
