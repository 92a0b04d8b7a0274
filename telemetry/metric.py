"""What a metric is: a row of the catalogue, and how one is written."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import prod

from fluid.scheduler import SLO

RUN_SECONDS = SLO.BOUNDS
"""From 1 ms to 1 h, with the bounds that people promise."""


class Kind(StrEnum):
    """What a metric is."""

    counter = "counter"
    gauge = "gauge"
    histogram = "histogram"
    info = "info"


class Scope(StrEnum):
    """Whose fact it is."""

    process = "process"
    """Of this process: `sum` over the fleet."""
    scheduler = "scheduler"
    """Of a `TaskScheduler` and its tasks with a schedule: `sum` counters, `max` timestamps."""
    fleet = "fleet"
    """Of the queue, the same at every consumer: `max by (queue, ...)`, never `sum`."""


@dataclass(frozen=True, slots=True)
class Label:
    """A label and its closed set of values; an empty set is bounded by what is registered in the process."""

    name: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """A row of the catalogue. Durations are seconds, instants seconds since the epoch."""

    name: str
    kind: Kind
    help: str
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()
    scope: Scope = Scope.process

    @property
    def unit(self) -> str:
        """The base unit that the name ends with; empty for counts."""
        last = self.name.removesuffix("_total").rpartition("_")[2]
        return last if last in ("seconds", "bytes") else ""

    @property
    def series(self) -> int:
        """How many series it has for one value of each open label."""
        per_child = len(self.buckets) + len(("+Inf", "sum", "count")) if self.kind is Kind.histogram else 1
        return per_child * prod(len(label.values) or 1 for label in self.labels)


def counter(name: str, help: str, *labels: Label, scope: Scope = Scope.process) -> Metric:  # noqa: A002
    """A total; its name ends with `_total`."""
    return Metric(name, Kind.counter, help, labels, scope=scope)


def gauge(name: str, help: str, *labels: Label, scope: Scope = Scope.process) -> Metric:  # noqa: A002
    """A number that goes up and down."""
    return Metric(name, Kind.gauge, help, labels, scope=scope)


def histogram(
    name: str,
    help: str,  # noqa: A002
    *labels: Label,
    buckets: tuple[float, ...] = RUN_SECONDS,
    scope: Scope = Scope.process,
) -> Metric:
    """Seconds, by `buckets`."""
    return Metric(name, Kind.histogram, help, labels, buckets, scope)
