"""One order of views and features, whatever the process.

Feast takes those that an on-demand view needs from sets and maps.
"""

from __future__ import annotations

from collections.abc import Sequence

from feast import FeatureView, OnDemandFeatureView


def ordered_views(
    views: Sequence[FeatureView], refs: Sequence[str], on_demand: Sequence[OnDemandFeatureView]
) -> list[FeatureView]:
    """The views as `refs` first name them; an on-demand view names its sources, by their names."""
    sources = {_name(odfv): sorted(name for name, _ in _inputs(odfv)) for odfv in on_demand}
    named = dict.fromkeys(name for ref in refs for name in sources.get(_view(ref), [_view(ref)]))
    place = {name: i for i, name in enumerate(named)}
    return sorted(views, key=lambda view: place.get(_name(view), len(place)))


def ordered_refs(
    views: Sequence[FeatureView], refs: Sequence[str], on_demand: Sequence[OnDemandFeatureView]
) -> list[str]:
    """The refs as they came, but for those at the end that on-demand views need.

    Feast appends these; they come in the order of their views' fields.

    Which of these were asked for by name as well isn't known: they are put in that order too.
    """
    needed = {f"{view}:{feature}" for odfv in on_demand for view, feature in _inputs(odfv)}
    asked = max((i for i, ref in enumerate(refs) if ref not in needed), default=-1) + 1
    place = {
        f"{_name(view)}:{feature.name}": i
        for view in views
        for i, feature in enumerate(view.features)
    }
    return [
        *refs[:asked],
        *sorted(refs[asked:], key=lambda ref: (_view(ref), place.get(ref, len(place)))),
    ]


def _inputs(odfv: OnDemandFeatureView) -> list[tuple[str, str]]:
    """The features that an on-demand view is made of, each with its view."""
    return [
        (p.name, feature.name)
        for p in odfv.source_feature_view_projections.values()
        for feature in p.features
    ]


def _name(view: FeatureView | OnDemandFeatureView) -> str:
    return str(view.projection.name_to_use())  # type: ignore[no-untyped-call]


def _view(ref: str) -> str:
    return ref.partition(":")[0]
