"""The Delta tables behind the views; their paths lie below `offline_store.root`."""

from feast import FileSource
from feast.data_format import DeltaFormat

from vidtopics.contracts import CREATED_TIME, EVENT_TIME, VIEWS

SOURCE = {
    name: FileSource(
        name=name,
        path=name,
        file_format=DeltaFormat(),
        timestamp_field=EVENT_TIME,
        created_timestamp_column=CREATED_TIME,
        description=table.doc,
    )
    for name, table in VIEWS.items()
}
globals().update(SOURCE)  # Feast collects the objects that it finds as attributes
