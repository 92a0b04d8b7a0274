"""Every alert fires when it should, is silent when it may be, and resolves: played by a real promtool."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dashboards import rules
from dashboards.__main__ import DATA
from dashboards.rules import recording
from dashboards.rules.thresholds import Thresholds
from telemetry.names import CATALOGUE, Kind
from telemetry.rules import Alert
from tests.dashboards import promtool
from tests.dashboards.stories import HEALTHY, LENGTH, NEIGHBOUR, STORIES, Story

FILES = [DATA / path for path in rules.files()]
GROUPS = [*recording.groups(Thresholds()), *rules.alerts(Thresholds())]
ORDER = [group.name for group in GROUPS]
ALERTS = {rule.alert: rule for group in GROUPS for rule in group.rules if isinstance(rule, Alert)}

pytestmark = pytest.mark.servers


@pytest.mark.parametrize(
    "story", STORIES, ids=lambda story: re.sub(r"\W+", "-", f"{story.alert} {story.rule}")
)
def test_an_alert_is_silent_fires_and_resolves(story: Story, tmp_path: Path) -> None:
    labels = {"job": "workers", **story.labels}
    fired = promtool.expected(ALERTS[story.alert], labels, story.says)
    promtool.assert_told(
        tmp_path,
        FILES,
        {**HEALTHY, **NEIGHBOUR, **story.series},
        alerts=[
            *promtool.says_nothing(story.alert, *story.quiet, story.resolved),
            {"alertname": story.alert, "eval_time": story.fires, "exp_alerts": [fired]},
        ],
        queries=[promtool.only(story.fires, [story.alert])],
        order=ORDER,
    )


def idle() -> dict[str, promtool.Values]:
    """Every series of the catalogue, as a consumer tells it that has nothing to do."""
    told: dict[str, promtool.Values] = {}
    for row in CATALOGUE:
        names = [f"{row.name}_{part}" for part in ("count", "sum")] if row.buckets else [row.name]
        labels = "".join(f",{label.name}='{(label.values or ('any',))[0]}'" for label in row.labels)
        value = 1 if row.kind is Kind.info else 0
        told |= {
            f"{name}{{job='workers',queue='idle',instance='a'{labels}}}": f"{value}x{LENGTH}"
            for name in names
        }
    return told


def test_an_idle_queue_raises_nothing(tmp_path: Path) -> None:
    well = {"fluid_broker_up": 1, "fluid_slots": 32}
    series = {
        name: f"{well[metric]}x{LENGTH}" if (metric := name.partition("{")[0]) in well else values
        for name, values in idle().items()
    }
    promtool.assert_told(tmp_path, FILES, series, queries=[promtool.only(f"{LENGTH}m", ["none"])])
