"""A scrape, read by the Prometheus client's own parsers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from telemetry import Telemetry
from telemetry.names import Kind, Metric

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@dataclass(frozen=True)
class Scrape:
    """Every sample of one answer."""

    samples: list[Any]

    def value(self, metric: Metric | str, **labels: str) -> float:
        """The sum of the samples with this name and, among others, these labels; there must be one."""
        name = metric if isinstance(metric, str) else metric.name
        found: list[float] = [
            one.value for one in self.samples if one.name == name and labels.items() <= one.labels.items()
        ]
        assert found, f"no series {name} with {labels}"
        return sum(found)

    def has(self, metric: Metric | str) -> bool:
        """Whether there is a series of this name."""
        name = metric if isinstance(metric, str) else metric.name
        return any(one.name == name for one in self.samples)

    def of(self, metric: Metric) -> list[Any]:
        """Every sample of a metric."""
        names = {metric.name}
        if metric.kind is Kind.histogram:
            names = {f"{metric.name}_{part}" for part in ("bucket", "count", "sum")}
        return [one for one in self.samples if one.name in names]


def read(text: str) -> Scrape:
    """Read an answer in either format."""
    families: Any = read_text(text)
    if text.endswith("# EOF\n"):
        families = read_openmetrics(text)  # type: ignore[no-untyped-call]
    return Scrape(list(_samples(families)))


def _samples(families: Any) -> Iterator[Any]:
    for family in families:
        yield from family.samples


async def scrape(telemetry: Telemetry, accept: str = OPENMETRICS) -> Scrape:
    """Scrape without a server."""
    return read((await telemetry.expose(accept)).body.decode())


def labels_of(samples: list[Any], *names: str) -> set[tuple[str, ...]]:
    """The values that these labels have."""
    return {tuple(sample.labels[name] for name in names) for sample in samples}


def without_bounds(labels: Mapping[str, str]) -> set[str]:
    """The names of the labels that the catalogue knows."""
    return set(labels) - {"le"}
