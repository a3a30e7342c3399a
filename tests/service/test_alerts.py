"""docs/alerts.yml and docs/dashboard.json: every name and label is exported; promtool's verdict."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from exported import events_registry, labels_of, service_registry, serving_registry
from promql import parse

from consumers.serving.stages import Stage
from vidtopics.events.metrics import WORKS
from vidtopics.layout.live import PARTS
from vidtopics.online.features import Status
from vidtopics.service.rounds import Outcome

DOCS = Path(__file__).parents[2] / "docs"
ALERTS, DASHBOARD, PAGE = DOCS / "alerts.yml", DOCS / "dashboard.json", DOCS / "operations.md"
EXPORTED = labels_of(service_registry()) | labels_of(events_registry())
EXPORTED |= labels_of(serving_registry())  # with the client's
OF_THE_SCRAPE = {"job", "instance"}
VALUES = {
    "status": {status.name.lower() for status in Status},
    "outcome": set(Outcome),
    "work": {"run", "materialize", "infer"},
    "state": {"candidate", "released", "rejected", "rolled_back"},
}
OF_EVENTS = {
    "work": set(WORKS),
    "part": set(PARTS),
    "outcome": {"ok", "failed", "malformed", "early", "late", "applied", "duplicate", "implied"},
}
OF_REQUESTS = {"stage": set(Stage), "status": {"5.."}, "route": {"/recommend"}}
PROMTOOL = shutil.which("promtool")


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [panel for panel in listed if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    """Where each query stands, and the query with the dashboard's variables filled in."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m")


@pytest.mark.parametrize(("place", "query"), list(queries()))
def test_every_name_and_label_is_one_that_we_export(place: str, query: str) -> None:
    names = parse(query)
    assert names.matched, query
    labels = set(OF_THE_SCRAPE)
    for metric, matchers in names.matched.items():
        assert metric in EXPORTED, f"{place}: nobody exports {metric}"
        labels |= EXPORTED[metric]
        assert set(matchers) <= EXPORTED[metric] | OF_THE_SCRAPE, place
        values = VALUES | (OF_REQUESTS if metric.startswith("vidtopics_serving_") else {})
        values |= OF_EVENTS if metric.startswith("vidtopics_events_") else {}
        for label, text in matchers.items():
            known = values.get(label)
            assert known is None or set(text.split("|")) <= known, f"{place}: {label}={text}"
    assert names.grouped <= labels, place


def test_texts_of_alerts_name_labels_that_their_result_has() -> None:
    """`{{ $labels.view }}` of a sum by (job) is empty on the pager."""
    for rule in rules():
        names = parse(rule["expr"])
        by = re.search(r"\bby\s*\(", rule["expr"])
        result = names.grouped if by else set().union(*(EXPORTED[m] for m in names.matched))
        if "absent" in names.functions:
            result = set().union(*(set(matchers) for matchers in names.matched.values()))
        named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert named <= result | (set() if by else OF_THE_SCRAPE), rule["alert"]


def test_every_alert_has_its_paragraph_in_the_runbook() -> None:
    text = PAGE.read_text(encoding="utf-8")
    anchors = {
        re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    for rule in rules():
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert (page, anchor in anchors) == (PAGE.name, True), rule["alert"]
        assert rule["alert"] in text, f"{rule['alert']} is not named in {PAGE.name}"


def test_every_rule_has_a_test_that_fires_it() -> None:
    cases = yaml.safe_load((Path(__file__).parent / "alerts_test.yml").read_text(encoding="utf-8"))
    fired = {
        case["alertname"]
        for test in cases["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert fired == {rule["alert"] for rule in rules()}


def test_every_metric_of_the_events_is_in_the_runbooks_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    exported = labels_of(events_registry())
    for metric, labels in exported.items():
        if not metric.endswith("_created") and f"{metric}_total" not in exported:
            row = re.search(rf"`{metric}(?:{{([^}}]*)}})?`", text)
            assert row, metric
            assert set(re.findall(r"\w+", row[1] or "")) == labels, metric


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert board["id"] is None
    assert board["title"]
    assert board["uid"]
    (source,) = [v for v in board["templating"]["list"] if v["type"] == "datasource"]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in panels():
        assert panel["datasource"] == {"type": "prometheus", "uid": f"${{{source['name']}}}"}
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for target in panel["targets"]:
            legend = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", target.get("legendFormat", "")))
            assert legend <= OF_THE_SCRAPE.union(
                *(EXPORTED[metric] for metric in parse(target["expr"]).matched)
            )


needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="no promtool (Debian: apt-get install prometheus)"
)


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run(
        [str(PROMTOOL), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_the_rules_pass_their_own_tests() -> None:
    promtool("check", "rules", ALERTS)
    promtool("test", "rules", Path(__file__).parent / "alerts_test.yml")


@needs_promtool
def test_every_query_of_the_dashboard_parses(tmp_path: Path) -> None:
    """As recording rules, which promtool parses with Prometheus's own parser."""
    recorded = [
        {"record": f"panel:{i}", "expr": query.replace("$__range", "1h")}
        for i, (_, query) in enumerate(queries())
    ]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    promtool("check", "rules", file)
