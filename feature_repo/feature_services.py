"""Which views each consumer reads together."""

from feast import FeatureService

from feature_repo.feature_views import VIEW
from vidtopics.contracts import SERVICES

SERVICE = {
    name: FeatureService(name=name, features=[VIEW[t.name] for t in tables])
    for name, tables in SERVICES.items()
}
globals().update(SERVICE)  # Feast collects the objects that it finds as attributes
