"""A real Prometheus scrapes the census in a bad hour: every query of every board has an answer.

A second, small service is in trouble of the kinds that a census has not.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from dashboards.__main__ import DATA
from examples.census.service import SCAN_SECONDS
from fluid.clock import timestamp
from fluid.testing.waiting import PATIENCE
from telemetry import Telemetry
from telemetry.settings import TelemetrySettings
from tests.dashboards.bad_census import BadCensus
from tests.dashboards.trouble import BadHour
from tests.support.queues import queue_of_its_own
from tests.support.servers import PrometheusServer, RedisServer, Sample
from tests.support.waiting import poll
from tests.telemetry.tracing import Tap, own_opentelemetry

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(240)]

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


@dataclass(frozen=True)
class Service:
    """What a board is opened for: a job of Prometheus, its queue, a task, and one with a schedule."""

    job: str
    queue: str
    task: str
    scheduled: str
    trouble: Mapping[str, str]
    """Numbers that are not 0 in its bad hour, by board."""

    def variables(self, board: str) -> dict[str, str]:
        """What is chosen at the top of a board."""
        task = self.scheduled if board == "fluid-schedules" else self.task
        fixed = {"__rate_interval": "1m", "__range": "5m"}
        return {"job": self.job, "queue": self.queue, "task": task} | fixed


OF_THE_CENSUS = {
    "fluid-overview": (
        "Consumers|Broker|Failure ratio|Oldest ready run|Time to drain|Slots busy|Dead runs|Failures, 1 h|"
        "Retries, 1 h|Attempts lost, 1 h|Held runs"
    ),
    "fluid-task": "Ended|Failure ratio|Duration p95|Wait p95|Attempts a run|Last success",
    "fluid-queues": "Ready|Running|Held|Dead|Oldest ready run|Time to drain",
    "fluid-schedules": "Schedules|Schedulers|Fired, 1 h|Lateness p95",
    "fluid-telemetry": "Alerts firing|Targets down|Series, most",
}
OF_THE_OTHER = {
    "fluid-overview": "Loop blocked, 1 h|Ticks missed, 1 h",
    "fluid-task": "Budget left",
    "fluid-queues": "Ready",
    "fluid-schedules": "Missed, 1 h",
    "fluid-telemetry": "Alerts firing",
}
OF_THE_OTHER_ALONE = frozenset(
    {
        "fluid-queues, Loop blocked by task",
        "fluid-queues, Moved aside and refused",
        "fluid-schedules, Missed",
        "fluid-schedules, Refused",
    }
)
"""Panels of which only the other service fills every query: no body of the census blocks the loop, none of
its runs is refused, and its one schedule is never late by a tick."""


class WatchingPrometheus(PrometheusServer):
    """Has a rule whose alert fires, and is asked as Grafana asks."""

    def __init__(self, **jobs: list[str]) -> None:
        super().__init__("")
        rules = self.directory / "rules.yml"
        rules.write_text(RULE)
        scraped = [
            {"job_name": job, "static_configs": [{"targets": targets}]} for job, targets in jobs.items()
        ]
        config = {"scrape_interval": "500ms", "evaluation_interval": "1s"}
        # JSON is YAML
        self._config.write_text(
            json.dumps({"global": config, "rule_files": [str(rules)], "scrape_configs": scraped})
        )

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
async def watched(
    valkey_server: RedisServer, tap: Tap, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[tuple[WatchingPrometheus, Service, Service]]:
    """Both in trouble, seen by Prometheus from before it began."""
    exporting = {"OTEL_EXPORTER_OTLP_ENDPOINT": tap.url, "OTEL_BSP_SCHEDULE_DELAY": "20"}
    async with AsyncExitStack() as stack:
        queues = [stack.enter_context(queue_of_its_own(valkey_server)) for _ in range(2)]
        census = await stack.enter_async_context(BadCensus(queues[0].url, tmp_path, exporting))
        stack.enter_context(own_opentelemetry(monkeypatch, **exporting))
        hour, telemetry = BadHour(queues[1].url), Telemetry(TelemetrySettings(canary=1), port=0)
        telemetry.attach(hour.scheduler)
        await stack.enter_async_context(hour.scheduler)
        stack.callback(hour.over.set)
        assert telemetry.url is not None
        prometheus = stack.enter_context(
            WatchingPrometheus(census=census.targets, other=[urlsplit(telemetry.url).netloc])
        )
        await prometheus.wait_until("count(count_over_time(fluid_series[1m]) >= 2)", of_two_services)
        await asyncio.gather(census.begin(), hour.begin())
        # Prometheus knows all when it has seen the last of it
        await prometheus.wait_until(LAST_OF_IT, bool)
        yield (
            prometheus,
            Service("census", queues[0].name, "measure", "scan", OF_THE_CENSUS),
            Service("other", queues[1].name, "ship", "sweep", OF_THE_OTHER),
        )


def of_two_services(samples: list[Sample]) -> bool:
    return bool(samples) and samples[0].value == 2


async def test_every_query_of_every_board_has_an_answer(
    watched: tuple[WatchingPrometheus, Service, Service],
) -> None:
    prometheus, census, other = watched
    assert sum(len(panel.get("targets", ())) for board in BOARDS.values() for panel in board["panels"]) > 150

    async def faults() -> list[str]:
        (silent, wrong), (elsewhere, wrong_elsewhere) = [await look(one) for one in (census, other)]
        return [
            *wrong,
            *wrong_elsewhere,
            *(f"nobody: {query}" for query in sorted(silent.keys() & elsewhere.keys())),
            *(f"not the census: {one}" for one in sorted(set(silent.values()) - OF_THE_OTHER_ALONE)),
        ]

    async def look(service: Service) -> tuple[dict[str, str], list[str]]:
        return await silent_and_wrong(service, prometheus)

    # the schedule of the census may have its next tick only now
    patience = PATIENCE + SCAN_SECONDS
    await poll(faults, lambda found: not found, "boards that show the trouble", every=0.5, patience=patience)


async def silent_and_wrong(
    service: Service, prometheus: WatchingPrometheus
) -> tuple[dict[str, str], list[str]]:
    """Queries without an answer, each with its panel; and numbers that look well, and choices without any."""
    silent, wrong = {}, []
    for uid, board in BOARDS.items():
        variables, in_trouble = service.variables(uid), service.trouble[uid].split("|")
        assert {panel["title"] for panel in board["panels"]}.issuperset(in_trouble)
        for panel in board["panels"]:
            place = f"{uid}, {panel['title']}"
            for query in panel.get("targets", ()):
                series = await prometheus.series(query, variables)
                if not series:
                    silent[f"{place}: {query['expr']}"] = place
                elif panel["type"] == "stat" and panel["title"] in in_trouble and is_nothing(series):
                    wrong.append(f"{place} is 0 for {service.job}")
        for variable in board["templating"]["list"]:
            name = variable["name"]
            if variable["type"] == "query" and variables[name] not in await prometheus.values(
                variable, variables
            ):
                wrong.append(f"{uid}: nothing to choose for {name} of {service.job}")
    return silent, wrong


def is_nothing(series: list[Any]) -> bool:
    """Every number is 0, as if all were well."""
    return all(float(one["value"][1]) == 0 for one in series)
