"""A real Prometheus scrapes a scheduler in a bad hour: every query of every board has an answer."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest

from dashboards.__main__ import DATA
from fluid.clock import timestamp
from telemetry import Telemetry
from telemetry.settings import TelemetrySettings
from tests.dashboards.trouble import BadHour
from tests.support.queues import queue_of_its_own
from tests.support.servers import PrometheusServer, RedisServer, Sample
from tests.support.waiting import poll
from tests.telemetry.tracing import Tap, own_opentelemetry

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(180)]

RULE = """groups: [{name: trouble, interval: 200ms, rules: [
  {alert: FluidTrouble, expr: "fluid_slots > 0", labels: {severity: warning}}]}]
"""
"""An alert that fires, as those of ours do in a bad hour."""
LAST_OF_IT = 'increase(fluid_runs_refused_total{task="sweep"}[1m]) > 0'
STEP = 5
"""Seconds between the points of a graph."""
BOARDS = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (DATA / "boards").glob("*.json")
}

TROUBLE = {
    "fluid-overview": (
        "Consumers|Broker|Failure ratio|Oldest ready run|Time to drain|Slots busy|Dead runs|Failures, 1 h|"
        "Retries, 1 h|Attempts lost, 1 h|Held runs|Loop blocked, 1 h|Ticks missed, 1 h"
    ),
    "fluid-task": "Ended|Failure ratio|Duration p95|Wait p95|Attempts a run|Last success",
    "fluid-queues": "Ready|Running|Held|Dead|Oldest ready run|Time to drain",
    "fluid-schedules": "Schedules|Schedulers|Fired, 1 h|Missed, 1 h|Lateness p95",
    "fluid-telemetry": "Alerts firing|Series, most",
}
"""Numbers that are not 0 in a bad hour, by board."""


class WatchingPrometheus(PrometheusServer):
    """Has a rule whose alert fires, and is asked as Grafana asks."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        rules = self.directory / "rules.yml"
        rules.write_text(RULE)
        self._config.write_text(f"{self._config.read_text()}rule_files: ['{rules}']\n")

    async def series(self, query: Mapping[str, Any], variables: Mapping[str, str]) -> list[Any]:
        """The series of a panel's query, over time or at this instant."""
        expr = filled(query["expr"], variables)
        if query["instant"]:
            found: list[Any] = (await self._ask("query", {"query": expr}))["result"]
            return found
        now = timestamp()
        times = {"start": f"{now - 60}", "end": f"{now}", "step": f"{STEP}"}
        graphed: list[Any] = (await self._ask("query_range", {"query": expr, **times}))["result"]
        return graphed

    async def values(self, variable: Mapping[str, Any], variables: Mapping[str, str]) -> list[str]:
        """What there is to choose for a variable."""
        asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert asked
        expr, label = asked.groups()
        return sorted(
            one.labels.get(label, "")
            for one in await self.query(f"group by ({label}) ({filled(expr, variables)})")
        )


def filled(expr: str, variables: Mapping[str, str]) -> str:
    """With the variables as Grafana would fill them in."""
    return re.sub(r"\$(\w+)", lambda found: variables[found[1]], expr)


@pytest.fixture
async def tap() -> AsyncIterator[Tap]:
    async with Tap() as tap:
        yield tap


@pytest.fixture
async def bad_hour(
    valkey_server: RedisServer, tap: Tap, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[BadHour, WatchingPrometheus]]:
    """A scheduler in trouble, seen by Prometheus from before it began."""
    exporting = {"OTEL_EXPORTER_OTLP_ENDPOINT": tap.url, "OTEL_BSP_SCHEDULE_DELAY": "20"}
    with own_opentelemetry(monkeypatch, **exporting), queue_of_its_own(valkey_server) as queue:
        hour, telemetry = BadHour(queue.url), Telemetry(TelemetrySettings(canary=1), port=0)
        telemetry.attach(hour.scheduler)
        async with hour.scheduler:
            assert telemetry.url is not None
            with WatchingPrometheus(urlsplit(telemetry.url).netloc) as prometheus:
                await prometheus.wait_until("count_over_time(fluid_series[1m])", of_two_scrapes)
                try:
                    await hour.begin()
                    # Prometheus knows all when it has seen the last of it
                    await prometheus.wait_until(LAST_OF_IT, bool)
                    yield hour, prometheus
                finally:
                    hour.over.set()


def of_two_scrapes(samples: list[Sample]) -> bool:
    return any(sample.value >= 2 for sample in samples)


async def test_every_query_of_every_board_has_an_answer(
    bad_hour: tuple[BadHour, WatchingPrometheus],
) -> None:
    hour, prometheus = bad_hour
    variables = {
        "job": "fluid",
        "queue": hour.scheduler.broker.queue,
        "task": "ship",
        "objective": "0.999",
        "within": "60",
        "__rate_interval": "1m",
        "__range": "5m",
    }
    assert sum(len(panel.get("targets", ())) for board in BOARDS.values() for panel in board["panels"]) > 150

    async def faults() -> list[str]:
        found = []
        for uid, board in BOARDS.items():
            chosen = variables | ({"task": "sweep"} if uid == "fluid-schedules" else {})
            found += [
                f"{uid}: {fault}"
                async for fault in faults_of(board, chosen, prometheus, TROUBLE[uid].split("|"))
            ]
        return found

    # a snapshot of the queue may be a second old
    await poll(faults, lambda found: not found, "boards that show the trouble", every=0.5)


async def faults_of(
    board: Mapping[str, Any],
    variables: Mapping[str, str],
    prometheus: WatchingPrometheus,
    in_trouble: Collection[str],
) -> AsyncIterator[str]:
    """Queries without an answer, numbers that look as if all were well, variables without their choice."""
    titles = {panel["title"] for panel in board["panels"]}
    assert titles.issuperset(in_trouble)
    for panel in board["panels"]:
        for query in panel.get("targets", ()):
            series = await prometheus.series(query, variables)
            if not series:
                yield f"{panel['title']} {query['refId']}: {query['expr']}"
            elif panel["type"] == "stat" and panel["title"] in in_trouble and is_nothing(series):
                yield f"{panel['title']} is 0"
    for variable in board["templating"]["list"]:
        name = variable["name"]
        if variable["type"] == "query" and variables[name] not in await prometheus.values(
            variable, variables
        ):
            yield f"nothing to choose for {name}"


def is_nothing(series: list[Any]) -> bool:
    """Every number is 0, as if all were well."""
    return all(float(one["value"][1]) == 0 for one in series)
