"""The rules of Prometheus: recordings and alerts, with their thresholds in one file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from textwrap import indent

from dashboards.rules.of_processes import BROKER, CONSUMERS, WATCHERS
from dashboards.rules.of_runs import RUNS, SCHEDULES
from dashboards.rules.recording import groups as recordings
from dashboards.rules.symptom import Symptom, group
from dashboards.rules.thresholds import Thresholds
from telemetry.rules import Group, as_yaml

SYMPTOMS: Mapping[str, tuple[Symptom, ...]] = {
    "fluid-alerts-runs": RUNS,
    "fluid-alerts-schedules": SCHEDULES,
    "fluid-alerts-consumers": CONSUMERS,
    "fluid-alerts-broker": BROKER,
    "fluid-alerts-watchers": WATCHERS,
}
"""What should not be, by the group of its alerts."""

HEAD = "Written by `python -m dashboards`; thresholds are set in dashboards/thresholds.toml."

RESOURCE = """\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: fluid
spec:
"""


def alerts(thresholds: Thresholds) -> Iterator[Group]:
    """The alerts."""
    for name, symptoms in SYMPTOMS.items():
        yield group(name, symptoms, thresholds)


def of_the_operator() -> dict[str, str]:
    """All rules in one file, as the Prometheus operator takes them."""
    thresholds = Thresholds()
    groups = as_yaml("", [*recordings(thresholds), *alerts(thresholds)])
    return {"kubernetes/prometheus-rule.yaml": f"# {HEAD}\n{RESOURCE}{indent(groups, '  ')}"}


def files(scale: float = 1.0) -> dict[str, str]:
    """The text of every file, by its path below the generated data. `scale` shortens every duration."""
    thresholds = Thresholds(scale)
    return {
        "rules/recording.yaml": as_yaml(HEAD, recordings(thresholds)),
        "rules/alerts.yaml": as_yaml(HEAD, alerts(thresholds)),
    }
