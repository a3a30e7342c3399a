"""The feature repo, written out by hand, says of every view what its table's contract says."""

import copy
from datetime import timedelta

import pytest
from feast import Entity, FeatureService, FeatureView, FileSource, ValueType
from feast.types import Array, Bool, Float32, Float64, Int64, String

from feature_repo import entities, feature_services, feature_views, sources
from vidtopics.contracts import CREATED_TIME, ENTITIES, EVENT_TIME, SERVICES, VIEWS, Column

TYPES = {
    "string": String,
    "int64": Int64,
    "float32": Float32,
    "float64": Float64,
    "bool": Bool,
    "list<string>": Array(String),
    "list<int64>": Array(Int64),
    "list<float32>": Array(Float32),
}


def objects(module, kind):
    """What Feast collects from a module: its attributes of a kind, by attribute name."""
    return {name: value for name, value in vars(module).items() if isinstance(value, kind)}


def tags_of(column: Column) -> dict[str, str]:
    """What the layout has to know beyond a column's type."""
    width = column.width if isinstance(column.width, int | None) else "vector"
    tags = {"wire": column.wire, "pad": column.pad, "width": width}
    return {name: str(value) for name, value in tags.items() if value is not None}


def drift(views: dict[str, FeatureView]) -> list[str]:
    """What views and contracts disagree in."""
    differences = []

    def compare(where, actual, expected):
        if actual != expected:
            differences.append(f"{where}: {actual} instead of {expected}")

    compare("views", set(views), set(VIEWS))
    for name in views.keys() & VIEWS.keys():
        view, table = views[name], VIEWS[name]
        entity = ENTITIES[table.view.entity]
        compare(f"{name} name", view.name, name)
        compare(f"{name} doc", view.description, table.doc)
        compare(f"{name} ttl", view.ttl, table.view.ttl)
        compare(f"{name} online", view.online, True)
        compare(f"{name} entities", view.entities, [table.view.entity])
        compare(
            f"{name} key",
            [(c.name, c.dtype) for c in view.entity_columns],
            [(entity.name, TYPES[entity.type])],
        )
        compare(f"{name} source", view.batch_source.name, name)
        compare(f"{name} fields", [f.name for f in view.features], [c.name for c in table.values])
        for field, column in zip(view.features, table.values, strict=False):
            compare(f"{name}.{field.name} type", field.dtype, TYPES[column.type])
            compare(f"{name}.{field.name} doc", field.description, column.doc)
            compare(f"{name}.{field.name} tags", dict(field.tags), tags_of(column))
            compare(
                f"{name}.{field.name} index",
                field.vector_index,
                tags_of(column).get("width") == "vector",
            )
    return differences


def test_views_are_as_their_contracts():
    assert drift(objects(feature_views, FeatureView)) == []


def test_sources_are_the_tables_by_both_times():
    sources_by_name = objects(sources, FileSource)
    assert {source.name for source in sources_by_name.values()} == set(VIEWS)
    for attribute, source in sources_by_name.items():
        assert attribute == f"{source.name}_source"
        assert source.path == source.name
        assert source.description == VIEWS[source.name].doc
        assert (source.timestamp_field, source.created_timestamp_column) == (
            EVENT_TIME,
            CREATED_TIME,
        )


def test_entities_are_the_contracts():
    assert {
        name: (e.name, e.join_key, e.value_type, e.description)
        for name, e in objects(entities, Entity).items()
    } == {name: (name, key.name, ValueType.STRING, key.doc) for name, key in ENTITIES.items()}


def test_services_have_the_views_of_each_consumer():
    assert {
        name: (s.name, [p.name for p in s.feature_view_projections])
        for name, s in objects(feature_services, FeatureService).items()
    } == {name: (name, [t.name for t in tables]) for name, tables in SERVICES.items()}


def changed(name, change):
    views = {name: copy.copy(view) for name, view in objects(feature_views, FeatureView).items()}
    views[name].features = [copy.deepcopy(field) for field in views[name].features]
    change(views)
    return views


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda views: views.pop("video_topics"), "views"),
        (lambda views: setattr(views["video_topics"], "ttl", timedelta(1)), "video_topics ttl"),
        (lambda views: setattr(views["video_topics"], "description", "x"), "video_topics doc"),
        (lambda views: views["video_topics"].features.pop(), "video_topics fields"),
        (lambda views: views["video_topics"].features.reverse(), "video_topics fields"),
        (
            lambda views: setattr(views["video_topics"].features[3], "dtype", Float64),
            "video_topics.topic_count type",
        ),
        (
            lambda views: setattr(views["video_topics"].features[0], "tags", {}),
            "video_topics.topic_ids tags",
        ),
        (
            lambda views: setattr(views["video_topics"].features[0], "description", ""),
            "video_topics.topic_ids doc",
        ),
    ],
)
def test_a_drift_is_named(change, named):
    assert any(text.startswith(f"{named}") for text in drift(changed("video_topics", change)))
