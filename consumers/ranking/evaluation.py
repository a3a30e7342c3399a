"""The report of `evaluate ranking`; torch is loaded only where it has to be made again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from consumers.ranking.released import key_of, now_us
from vidtopics.files import write_cache
from vidtopics.settings import Settings, digest
from vidtopics.tables import Tables
from vidtopics.times import moment


def evaluate(
    tables: Tables, settings: Settings, progress: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """The report as plain values, stored in `reports/` and made again where something changed.

    Rows are the impressions of the last release whose label window has closed by now.

    Raises:
        TableError: nothing was released.
    """
    release, as_of_us = tables.latest_release(), now_us()
    key = key_of(tables, release, settings, as_of_us, digest(settings.evaluation))
    report_path = tables.home / "reports" / "ranking.json"
    if report_path.is_file():
        report: dict[str, Any] = json.loads(report_path.read_text(encoding="utf-8"))
        if report["key"] == key:
            return report
    from consumers.ranking.comparison import measure
    from consumers.training import read

    inputs = read(tables, release["versions"])
    comparison = measure(
        inputs, settings, as_of_us=as_of_us, epoch=release["topic_epoch"], progress=progress
    )
    report = {
        "key": key,
        "release": release["release_id"],
        "as_of": moment(release["as_of_us"]),
        **comparison,
    }
    write_cache(report_path, json.dumps(report, indent=1))
    return report
