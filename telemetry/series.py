"""Numbers that cost next to nothing to move, and their shape when they are scraped.

Events move them in the loop's thread; a scrape reads them in another. Each is read in one step that the
interpreter does not divide (a copy of a dict or a list), so it is whole.

What every run has is not even counted when it happens: it is put on a list, which is counted as a whole.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, product
from typing import NamedTuple, Self

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Exemplar, Sample

from fluid.clock import timestamp
from telemetry.names import OTHER, QUEUE_LABEL, Kind, Metric

Trace = dict[str, str]
"""The labels of an exemplar: `trace_id` and `span_id`."""


class Exemplified(float):
    """A count with the newest example of what was counted; one object, so that both are read in one step."""

    __slots__ = ("exemplar",)

    def __new__(cls, count: float, exemplar: Exemplar) -> Self:
        """`count`, of which `exemplar` is one."""
        number = super().__new__(cls, count)
        number.exemplar = exemplar
        return number

    exemplar: Exemplar


class Counts(dict[str, float]):
    """Numbers by the value of one closed label, all there from the start; by `""` where there is no label."""

    def add(self, value: str = "", amount: float = 1, trace: Trace | None = None) -> None:
        """Count; a value of no closed set counts as `other`. With `trace`, this one is the new example."""
        if value not in self:
            value = OTHER
        before = self.get(value, 0)
        exemplar = Exemplar(trace, amount, timestamp()) if trace else getattr(before, "exemplar", None)
        self[value] = Exemplified(before + amount, exemplar) if exemplar else before + amount


class Distribution:
    """How many observations fell into which bucket, their sum, and a newest example for each bucket."""

    __slots__ = ("_bounds", "_counting", "_counts", "_exemplars", "_sum", "gathered")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._exemplars: dict[int, Exemplar] = {}
        self._sum = 0.0
        self._counting = threading.Lock()
        self.gathered: list[float] = []
        """What is yet to be counted: whoever appends to it calls `count_gathered` now and then."""

    def observe(self, seconds: float) -> None:
        """Take an observation, and count it; a bound is inside its bucket."""
        with self._counting:
            self._counts[bisect_left(self._bounds, seconds)] += 1
            self._sum += seconds

    def exemplify(self, seconds: float, trace: Trace) -> None:
        """Have an observation be the newest example of its bucket; a bound is inside its bucket."""
        self._exemplars[bisect_left(self._bounds, seconds)] = Exemplar(trace, seconds, timestamp())

    def count_gathered(self) -> tuple[list[int], float]:
        """How many there are in each bucket, and their sum, with all that was gathered; in any thread."""
        with self._counting:
            seconds = self.gathered.copy()
            del self.gathered[: len(seconds)]  # what is gathered meanwhile stays
            seconds.sort()
            self._sum += sum(seconds)
            counted = 0
            for bucket, bound in enumerate(self._bounds):
                if counted == len(seconds):
                    break
                within = bisect_right(seconds, bound, counted)
                self._counts[bucket] += within - counted
                counted = within
            self._counts[-1] += len(seconds) - counted
            return self._counts.copy(), self._sum

    def within(self, seconds: float) -> int:
        """How many were no more than this, which is one of the bounds."""
        counts, _ = self.count_gathered()
        return sum(counts[: bisect_left(self._bounds, seconds) + 1])

    @property
    def count(self) -> int:
        """How many there were."""
        counts, _ = self.count_gathered()
        return sum(counts)

    def mark(self) -> tuple[int, float]:
        """What another observation changes."""
        counts, total = self.count_gathered()
        return sum(counts), total

    @property
    def series(self) -> int:
        """How many series it is exposed as."""
        return len(self._counts) + len(("count", "sum"))

    def samples(self, name: str, labels: dict[str, str]) -> Iterator[Sample]:
        """Cumulative buckets, then count and sum."""
        exemplars = self._exemplars.copy()
        counts, seconds = self.count_gathered()
        within = 0
        for bucket, (bound, within) in enumerate(
            zip(_upper_bounds(self._bounds), accumulate(counts), strict=True)
        ):
            yield Sample(f"{name}_bucket", labels | {"le": bound}, within, exemplar=exemplars.get(bucket))
        yield Sample(f"{name}_count", labels, within)
        yield Sample(f"{name}_sum", labels, seconds)


Child = float | Distribution


@lru_cache
def _upper_bounds(bounds: tuple[float, ...]) -> tuple[str, ...]:
    return (*map(repr, bounds), "+Inf")


class Block:
    """Metrics that share their first labels: those of a task, or those of a process."""

    def __init__(self) -> None:
        self.rows: dict[Metric, dict[str, float] | dict[str, Distribution]] = {}

    def counts(self, metric: Metric, *, shared: int = 0) -> Counts:
        """Numbers of a metric, at zero; its first `shared` labels are those of the block."""
        counts = Counts((value, 0) for value in _values(metric, shared))
        self.rows[metric] = counts
        return counts

    def distributions(self, metric: Metric, *, shared: int = 0) -> dict[str, Distribution]:
        """Distributions of a metric, empty; its first `shared` labels are those of the block."""
        distributions = {value: Distribution(metric.buckets) for value in _values(metric, shared)}
        self.rows[metric] = distributions
        return distributions


def _values(metric: Metric, shared: int) -> Iterable[str]:
    """The values of the one label beyond the shared ones, or `""`."""
    own = [label.values for label in metric.labels[shared:]]
    return ("".join(values) for values in product(*own))


class Row(NamedTuple):
    """A metric of the catalogue with its numbers, by the values of its labels."""

    metric: Metric
    children: Sequence[tuple[tuple[str, ...], Child]]

    @property
    def series(self) -> int:
        """How many series it is exposed as."""
        return sum(child.series if isinstance(child, Distribution) else 1 for _, child in self.children)

    def family(self, queue: str) -> Family:
        """The same, as the Prometheus client takes it."""
        metric = self.metric
        base = metric.name.removesuffix("_total" if metric.kind is Kind.counter else "_info")
        family = Family(base, metric.help, str(metric.kind), metric.unit)
        names = (QUEUE_LABEL, *(label.name for label in metric.labels))
        for values, child in self.children:
            labels = dict(zip(names, (queue, *values), strict=True))
            if isinstance(child, Distribution):
                family.samples.extend(child.samples(metric.name, labels))
            else:
                exemplar = getattr(child, "exemplar", None)
                family.samples.append(Sample(metric.name, labels, child, exemplar=exemplar))
        return family


def rows_of(blocks: Mapping[tuple[str, ...], Block]) -> Iterator[Row]:
    """The rows of blocks of one kind, by the values of their shared labels."""
    for metric in next(iter(blocks.values())).rows if blocks else ():
        yield Row(
            metric,
            [
                ((*shared, value) if value else shared, child)
                for shared, block in blocks.items()
                for value, child in block.rows[metric].copy().items()
            ],
        )
