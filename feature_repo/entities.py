"""Who features are about."""

from feast import Entity, ValueType

from vidtopics.contracts import ENTITIES

ENTITY = {
    name: Entity(name=name, join_keys=[key.name], value_type=ValueType.STRING, description=key.doc)
    for name, key in ENTITIES.items()
}
globals().update(ENTITY)  # Feast collects the objects that it finds as attributes
