"""The log and its replay where Redis is several servers."""

from __future__ import annotations

from parity_home import ParityHome, ago

from consumers.parity import Verdict


def test_a_log_of_a_cluster_finds_a_dropped_key(cluster_home: ParityHome) -> None:
    ids = [f"v{i}" for i in range(24)]  # in four buckets, on three servers
    cluster_home.statistics(*((i, ago(2), ago(2), n + 1) for n, i in enumerate(ids)))
    cluster_home.move()
    cluster_home.read(*ids, "unknown", request="r1")
    cluster_home.store.delete(cluster_home.key("v7"))
    cluster_home.read(*ids, request="r2")
    report = cluster_home.replay()
    view_report = report.views["video_statistics"]
    assert dict(view_report.verdicts) == {Verdict.FINE: 48, Verdict.MISSING: 1}
    assert (view_report.stale, view_report.joined, report.dropped, report.damaged) == (0, 48, 0, 0)
    (shown,) = view_report.examples
    assert (shown["video_id"], shown["request"], shown["expected"]["video_exposures"]) == (
        "v7",
        "r2",
        8,
    )
