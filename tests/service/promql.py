"""Metric names and labels of a PromQL expression: as much of the language as our rules use."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

GROUPING = r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)"
MATCHER = re.compile(r'([A-Za-z_]\w*)\s*(?:=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')
SELECTOR = re.compile(r"(?<![\w.])([A-Za-z_:][\w:]*)\b(?!\s*\()\s*(\{[^}]*\})?")
WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan", "by", "without", "on", "ignoring"}
FUNCTIONS = {
    "absent",
    "histogram_quantile",
    "increase",
    "max",
    "min",
    "rate",
    "sum",
    "time",
    "label_values",
}


@dataclass
class Names:
    """Labels that are matched for each metric (with their values), labels that group, functions."""

    matched: dict[str, dict[str, str]] = field(default_factory=dict)
    grouped: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)


def parse(expression: str) -> Names:
    """Names in an expression.

    >>> parse('sum by (job, le) (rate(x_total{view="a"}[5m])) > on (job) y').matched
    {'x_total': {'view': 'a'}, 'y': {}}
    """
    names = Names()
    text = re.sub(r"#.*", "", expression)
    for labels in re.findall(GROUPING, text):
        names.grouped |= {label.strip() for label in labels.split(",") if label.strip()}
    text = re.sub(GROUPING, " ", text)
    text = re.sub(r"\[[\w:$]+\]", " ", text)
    names.functions = set(re.findall(r"([a-z_]+)\s*\(", text)) - WORDS
    for metric, matchers in SELECTOR.findall(text):
        if metric.lower() in WORDS | FUNCTIONS:
            continue
        names.matched.setdefault(metric, {}).update(MATCHER.findall(matchers))
    return names
