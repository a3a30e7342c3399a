"""Metric names and labels of a PromQL expression, by the parser of promql-parser."""

from __future__ import annotations

from dataclasses import dataclass, field

import promql_parser
from promql_parser import AggregateExpr, BinaryExpr, Call, VectorSelector


@dataclass
class Names:
    """Labels that are matched for each metric (with their values), labels that group, functions."""

    matched: dict[str, dict[str, str]] = field(default_factory=dict)
    grouped: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)

    def add(self, part: object) -> None:
        """Note what one node of the expression names."""
        if isinstance(part, VectorSelector):
            values = {matcher.name: matcher.value for matcher in part.matchers.matchers}
            self.matched.setdefault(part.name, {}).update(values)
        elif isinstance(part, Call):
            self.functions.add(part.func.name)
        elif isinstance(part, AggregateExpr) and part.modifier:
            self.grouped |= set(part.modifier.labels)
        elif isinstance(part, BinaryExpr) and part.modifier:
            matching = part.modifier.matching
            self.grouped |= {
                *(part.modifier.group_labels or ()),
                *(matching.labels if matching else ()),
            }


def parse(expression: str) -> Names:
    """Names in an expression or a dashboard's query; ValueError where it isn't PromQL.

    >>> parse('sum by (job, le) (rate(x_total{view="a"}[5m])) > on (job) y').matched
    {'x_total': {'view': 'a'}, 'y': {}}
    """
    names = Names()
    filled = expression.replace("$__rate_interval", "5m")
    promql_parser.walk(promql_parser.parse(filled), names.add)
    return names
