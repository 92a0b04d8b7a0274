"""What a query asks for, read by a parser of PromQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import promql_parser

from telemetry.names import CATALOGUE, QUEUE_LABEL, Metric, Scope

SERIES: dict[str, Metric] = {
    f"{row.name}{part}": row
    for row in CATALOGUE
    for part in (("_bucket", "_sum", "_count") if row.buckets else ("",))
}
"""The names that are scraped, with their rows of the catalogue."""

FOREIGN = {"up", "process_start_time_seconds"}
"""Names that Prometheus itself makes, and that its client tells of every process."""


@dataclass(frozen=True)
class Selector:
    """A name, and the values of its labels that are asked for."""

    name: str
    matchers: tuple[tuple[str, str], ...]


def selectors(query: str) -> Iterator[Selector]:
    """Everything that a query selects; ValueError for what is no PromQL."""
    found: list[Selector] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            matchers = tuple((one.name, one.value) for one in node.matchers.matchers)
            found.append(Selector(node.name or "", matchers))

    promql_parser.walk(promql_parser.parse(query), visit)
    yield from found


def faults(query: str, recorded: frozenset[str] = frozenset()) -> Iterator[str]:
    """What a query asks for that is neither in the catalogue nor recorded."""
    for selector in selectors(query):
        row = SERIES.get(selector.name)
        if row is None:
            if selector.name not in FOREIGN | recorded:
                yield f"{selector.name} is in no catalogue"
            continue
        labels = {label.name: label.values for label in row.labels} | {QUEUE_LABEL: ()}
        if selector.name.endswith("_bucket"):
            labels["le"] = (*map(repr, row.buckets), "+Inf")
        for name, value in selector.matchers:
            if name not in labels:
                yield f"{selector.name} has no label {name}"
            elif labels[name] and (unknown := set(value.split("|")) - set(labels[name])):
                yield f"{selector.name}: {name} is never {', '.join(sorted(unknown))}"


def sums_of_the_fleet(query: str) -> Iterator[str]:
    """Fleet series that are added up; what every consumer tells is to be told once."""

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.AggregateExpr) and str(node.op) in {"sum", "avg", "count"}:
            added.extend(told_by_the_fleet(node.expr))

    added: list[str] = []
    promql_parser.walk(promql_parser.parse(query), visit)
    yield from added


def told_by_the_fleet(node: promql_parser.Expr) -> Iterator[str]:
    """The fleet series below a node that no `max` or `min` has made one of."""
    if isinstance(node, promql_parser.AggregateExpr) and str(node.op) in {"max", "min", "group"}:
        return
    if isinstance(node, promql_parser.VectorSelector):
        row = SERIES.get(node.name or "")
        if row is not None and row.scope is Scope.fleet:
            yield row.name
    children = [getattr(node, name, None) for name in ("expr", "lhs", "rhs", "vector_selector")]
    for child in [*children, *getattr(node, "args", [])]:
        if isinstance(child, promql_parser.Expr):
            yield from told_by_the_fleet(child)


def labels_put_together(query: str) -> Iterator[str]:
    """Where a query puts the jobs together, by the words that do."""

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.AggregateExpr):
            modifier = node.modifier
            kind = "without" if modifier and modifier.type == promql_parser.AggModifierType.Without else "by"
            look(kind, modifier.labels if modifier else [])
        elif isinstance(node, promql_parser.BinaryExpr) and node.modifier and node.modifier.matching:
            matching = node.modifier.matching
            kind = "on" if matching.type == promql_parser.LabelModifierType.Include else "ignoring"
            look(kind, matching.labels)

    def look(kind: str, labels: list[str]) -> None:
        if ("job" in labels) != (kind in {"by", "on"}):
            found.append(f"{kind} ({', '.join(labels)})")

    found: list[str] = []
    promql_parser.walk(promql_parser.parse(query), visit)
    yield from found
