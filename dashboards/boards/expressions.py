"""Reads PromQL, and says what is wrong with it by the catalogue."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import promql_parser
from promql_parser import (
    AggModifierType,
    AggregateExpr,
    BinaryExpr,
    Call,
    MatchOp,
    MatrixSelector,
    ParenExpr,
    SubqueryExpr,
    UnaryExpr,
    VectorSelector,
)

from dashboards.boards.promql import ALERTS, INSTANCE, SCRAPE_SAMPLES, SCRAPE_SECONDS, UP
from telemetry.names import CATALOGUE, QUEUE_LABEL, Kind, Metric, Scope

WINDOWS = {"$__rate_interval": "1m", "$__interval": "15s", "$__range": "1h"}
"""What stands for what Grafana fills in, where a duration is read."""

OF_PROMETHEUS = (UP, SCRAPE_SECONDS, SCRAPE_SAMPLES, ALERTS)
OF_CLIENT = ("process_", "python_")
EVERYWHERE = (QUEUE_LABEL, "job", INSTANCE)

BY_NAME: Mapping[str, Metric] = {
    f"{row.name}{suffix}": row
    for row in CATALOGUE
    for suffix in (("_bucket", "_sum", "_count") if row.kind is Kind.histogram else ("",))
}
"""Every name that a series of ours has, and the row of the catalogue that it is of."""


@dataclass(frozen=True, slots=True)
class Selected:
    """A selector of series, and the innermost aggregation that it stands in."""

    name: str
    matchers: Mapping[str, str]
    exact: frozenset[str]
    """Labels for which exactly one value is asked."""
    within: AggregateExpr | None

    @property
    def aggregated_by(self) -> frozenset[str]:
        """The labels that the aggregation keeps."""
        modifier = self.within.modifier if self.within else None
        return frozenset(modifier.labels if modifier and modifier.type is AggModifierType.By else ())


def without_variables(expr: str) -> str:
    """As Prometheus could be asked it, with something in the place of every variable."""
    for variable, window in WINDOWS.items():
        expr = expr.replace(variable, window)
    return re.sub(r"(?<!\\)\$\{?(\w+)(:\w+)?\}?", "0.5", expr)


def selected(expr: str) -> Iterator[Selected]:
    """Every selector in an expression; ValueError if it cannot be read."""
    return _selected(promql_parser.parse(without_variables(expr)), None)


def faults(expr: str, records: Collection[str] = ()) -> Iterator[str]:
    """What is wrong with an expression; `records` are the names of recording rules."""
    try:
        found = list(selected(expr))
    except ValueError as error:
        yield f"cannot be read: {error}"
        return
    for one in found:
        metric = BY_NAME.get(one.name)
        if metric is not None:
            yield from _misused(metric, one)
        elif one.name not in (*OF_PROMETHEUS, *records) and not one.name.startswith(OF_CLIENT):
            yield f"{one.name or 'a selector without a name'} is not in the catalogue"


def _misused(metric: Metric, one: Selected) -> Iterator[str]:
    labels = {*EVERYWHERE, *(label.name for label in metric.labels)}
    if one.name.endswith("_bucket"):
        labels.add("le")
    for unknown in sorted({*one.matchers, *one.aggregated_by} - labels):
        yield f"{one.name} has no label {unknown}"
    for label in metric.labels:
        value = one.matchers.get(label.name, "")
        if label.name in one.exact and label.values and value not in label.values:
            yield f"{label.name} of {one.name} is never {value!r}"
    operation = str(one.within.op) if one.within else "no aggregation"
    if metric.scope is Scope.fleet:
        # ages may be compared over priorities; counts of different kinds must stay apart
        apart = {label.name for label in metric.labels if not metric.unit} - one.exact
        missing = {QUEUE_LABEL, *apart} - one.aggregated_by
        if operation != "max" or missing:
            by = ", ".join(sorted({QUEUE_LABEL, *apart}))
            yield f"{one.name} is told by every consumer: `max by ({by})` first"
    elif metric.name.endswith("_timestamp_seconds") and operation not in ("max", "min"):
        yield f"{one.name} is an instant: `max` it, {operation} says nothing"


def _selected(node: Any, within: AggregateExpr | None) -> Iterator[Selected]:
    match node:
        case VectorSelector():
            matchers = node.matchers.matchers
            exact = frozenset(matcher.name for matcher in matchers if matcher.op is MatchOp.Equal)
            values = {matcher.name: matcher.value for matcher in matchers}
            yield Selected(node.name or "", values, exact, within)
        case MatrixSelector():
            yield from _selected(node.vector_selector, within)
        case AggregateExpr():
            yield from _selected(node.expr, node)
        case BinaryExpr():
            yield from _selected(node.lhs, within)
            yield from _selected(node.rhs, within)
        case Call():
            for argument in node.args:
                yield from _selected(argument, within)
        case ParenExpr() | SubqueryExpr() | UnaryExpr():
            yield from _selected(node.expr, within)
