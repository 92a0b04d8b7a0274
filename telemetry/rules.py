"""Rules as Prometheus takes them: their shape, and how they are written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["critical", "warning"]
"""`critical`: wake somebody. `warning`: look at it today."""


GRAFANA = "http://localhost:3000"
RUNBOOK = "https://example.com/fluid/runbook"
"""What links of ours begin with, until `fluid dashboards export` is told where boards and runbook are."""


@dataclass(frozen=True, slots=True)
class Recording:
    """An expression that is kept as a series, named `level:metric:operation`."""

    record: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An expression that should have no result; it fires for each that lasts."""

    alert: str
    expr: str
    lasts: str
    """How long a result must be there, like `5m`."""
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


Rule = Recording | Alert


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated one after the other."""

    name: str
    rules: Sequence[Rule]
    interval: str = ""
    """How often; as Prometheus is set up when empty."""


def as_yaml(head: str, groups: Iterable[Group]) -> str:
    """A file of rules; `head` becomes its comment."""
    lines = [f"# {line}" for line in head.splitlines()]
    lines.append("groups:")
    for group in groups:
        lines.append(f"  - name: {group.name}")
        if group.interval:
            lines.append(f"    interval: {group.interval}")
        lines.append("    rules:")
        lines.extend(f"{' ' * 6}{line}" for rule in group.rules for line in _rule(rule))
    return "\n".join(lines) + "\n"


def _rule(rule: Rule) -> Iterator[str]:
    named = f"alert: {rule.alert}" if isinstance(rule, Alert) else f"record: {rule.record}"
    yield f"- {named}"
    yield "  expr: |-"
    yield from (f"    {line}" for line in rule.expr.splitlines())
    if isinstance(rule, Alert):
        yield f"  for: {rule.lasts}"
    yield from _mapping("labels", rule.labels)
    if isinstance(rule, Alert):
        yield from _mapping("annotations", rule.annotations)


def _mapping(name: str, values: Mapping[str, str]) -> Iterator[str]:
    if values:
        yield f"  {name}:"
        # A text of JSON is one of YAML.
        yield from (f"    {key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())
