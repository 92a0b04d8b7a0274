"""Objectives declared on tasks: what is counted, what is written for them, what a process knows of them."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from fluid.scheduler import SLO, TaskConsumer, TaskRun, task
from telemetry import Telemetry, names
from telemetry.rules import Alert, Recording
from telemetry.slo import BURNS, Objective, burns_of, groups, objectives_of
from telemetry.slo_board import board, uid_of
from telemetry.status import status_of
from tests.dashboards.promql import faults, labels_put_together, selectors
from tests.fluid.cli.calling import call, install
from tests.support.processes import ROOT
from tests.support.waiting import poll
from tests.telemetry.scraping import OPENMETRICS, scrape


@task(slo=SLO(success=0.9, start_within=5, finish_within=60))
async def promised(ctx: TaskRun[dict[str, Any]]) -> None:
    """Fail when asked to."""
    if ctx.params:
        raise ValueError("asked to")


@task(slo=SLO(success=0.99))
async def modest(ctx: TaskRun) -> None:
    """Promise success only."""


@task
async def free(ctx: TaskRun) -> None:
    """Promise nothing."""


TASKS = {one.name: one for one in (promised, modest, free)}
OBJECTIVES = list(objectives_of("orders", TASKS.values()))


def test_each_promise_is_an_objective() -> None:
    assert [(one.task, one.name, one.share, one.within) for one in OBJECTIVES] == [
        ("promised", "success", 0.9, None),
        ("promised", "start", 0.9, 5),
        ("promised", "finish", 0.9, 60),
        ("modest", "success", 0.99, None),
    ]
    assert OBJECTIVES[0].promise == "90% of the runs of promised succeed"
    assert OBJECTIVES[1].promise == "90% of the runs of promised start within 5 s"
    assert Objective("orders", "a", "success", 0.9995).budget == 0.0005


def test_what_can_be_promised_is_what_the_histograms_are_divided_by() -> None:
    assert names.RUN_WAIT.buckets == names.RUN_LATENCY.buckets == SLO.BOUNDS


async def test_what_is_promised_is_told_with_the_bound_that_it_is_counted_by(consumer: TaskConsumer) -> None:
    consumer.register_from_dict(TASKS)
    telemetry = Telemetry(server=False)
    telemetry.attach(consumer)
    told = await scrape(telemetry)
    goals = {
        (one.labels["task"], one.labels["objective"], one.labels["within"]): one.value
        for one in told.of(names.SLO_GOAL)
    }
    assert {key: share for key, share in goals.items() if share} == {
        ("promised", "success", ""): 0.9,
        ("promised", "start", "5.0"): 0.9,
        ("promised", "finish", "60.0"): 0.9,
        ("modest", "success", ""): 0.99,
    }
    assert {key for key in goals if key[0] == "free"} == {
        ("free", name, "") for name in ("success", "start", "finish")
    }
    bounds = {one.labels["le"] for one in told.of(names.RUN_LATENCY) if "le" in one.labels}
    assert {"5.0", "60.0"} <= bounds


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
async def test_a_promised_bound_is_written_as_the_rules_select_it(
    accept: str, consumer: TaskConsumer
) -> None:
    telemetry = Telemetry(server=False)
    telemetry.attach(consumer)
    told = await scrape(telemetry, accept)
    for metric in (names.RUN_WAIT, names.RUN_LATENCY):
        bounds = {one.labels["le"] for one in told.of(metric) if "le" in one.labels}
        assert bounds == {*map(repr, SLO.BOUNDS), "+Inf"}


def test_rules_ask_only_for_what_is_scraped_or_recorded() -> None:
    rules = [rule for group in groups(OBJECTIVES, runbook="runbook.md", board="") for rule in group.rules]
    recorded = frozenset(rule.record for rule in rules if isinstance(rule, Recording))
    assert [fault for rule in rules for fault in faults(rule.expr, recorded)] == []
    mixed = [one for rule in rules if isinstance(rule, Recording) for one in labels_put_together(rule.expr)]
    assert mixed == [], "deployments whose queues have the same name are told apart"
    bounds = {
        dict(selector.matchers)["le"]
        for rule in rules
        for selector in selectors(rule.expr)
        if selector.name.endswith("_bucket")
    }
    assert bounds == {"5.0", "60.0"}


def test_every_speed_has_an_alert_unless_no_budget_can_burn_so_fast() -> None:
    strict = Objective("orders", "a", "success", 0.999)
    (alerts,) = [
        group.rules for group in groups([strict], runbook="", board="") if isinstance(group.rules[0], Alert)
    ]
    assert [rule.labels["severity"] for rule in alerts if isinstance(rule, Alert)] == [
        "critical",
        "critical",
        "warning",
        "warning",
    ]
    assert list(burns_of(strict)) == list(BURNS)
    assert list(burns_of(Objective("orders", "a", "success", 0.9))) == list(BURNS[1:])


def test_the_board_asks_only_for_what_is_recorded_and_nothing_overlaps() -> None:
    whole = board("orders", OBJECTIVES)
    recorded = frozenset(
        rule.record
        for group in groups(OBJECTIVES, runbook="", board="")
        for rule in group.rules
        if isinstance(rule, Recording)
    )
    panels = [panel for panel in whole["panels"] if panel["type"] != "row"]
    assert len(panels) == 2 * len(OBJECTIVES)
    assert [
        fault for panel in panels for one in panel["targets"] for fault in faults(one["expr"], recorded)
    ] == []
    assert len({panel["id"] for panel in whole["panels"]}) == len(whole["panels"])
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in whole["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    for panel in panels:
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert len({one["refId"] for one in panel["targets"]}) == len(panel["targets"])
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", uid_of("a.queue" + "x" * 60))


async def test_the_status_tells_what_is_left_of_each_budget_in_this_process(consumer: TaskConsumer) -> None:
    consumer.register_from_dict(TASKS)
    telemetry = Telemetry(server=False)
    telemetry.attach(consumer)
    attachment = telemetry._attachment
    assert attachment is not None
    async with consumer:
        before = await status_of(consumer, attachment.gauges.snapshots, attachment.metrics)
        runs = await consumer.queue_many("promised", [{}] * 18 + [{"fail": True}] * 2)
        for run in runs:
            await consumer.broker.wait_end(run.id, None)
        told = await poll(
            lambda: objectives_told(attachment),
            lambda told: told["success"]["runs"] == len(runs),
            "the end of every run",
        )
    assert [one["left"] for one in before["objectives"]] == [None] * 4
    assert told["success"] == {"runs": 20, "bad": 2, "left": pytest.approx(0.0)}
    assert told["start"] == told["finish"] == {"runs": 20, "bad": 0, "left": 1.0}


async def objectives_told(attachment: Any) -> dict[str, Any]:
    """The objectives of `promised`, as the status tells them."""
    told = await status_of(attachment.host, attachment.gauges.snapshots, attachment.metrics)
    return {
        one["objective"]: {name: one[name] for name in ("runs", "bad", "left")}
        for one in told["objectives"]
        if one["task"] == "promised"
    }


COMMANDS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"][
    "fluid.commands"
]


async def test_the_command_writes_rules_a_board_and_the_beginning_of_a_runbook(tmp_path: Path) -> None:
    site = install(tmp_path / "site", commands=COMMANDS) | {
        "FLUID_BROKER_URL": "redis://127.0.0.1:1?name=orders"
    }
    out = tmp_path / "out"
    target = ("rules", "tests.telemetry.promising:consumer", "--out", str(out))
    answer = await call(
        *target, "--grafana", "https://boards.test/", "--runbook", "https://book.test", env=site
    )
    assert (answer.code, answer.err) == (0, "")
    assert answer.lines == [str(out / name) for name in ("rules.yaml", "board.json", "runbook.md")]
    rules = (out / "rules.yaml").read_text(encoding="utf-8")
    assert rules.count("- alert: FluidBudgetBurns") == 3 * len(BURNS)
    assert 'dashboard_url: "https://boards.test/d/fluid-slo-orders"' in rules
    linked = set(re.findall(r'runbook_url: "https://book.test#(.+)"', rules))
    page = (out / "runbook.md").read_text(encoding="utf-8")
    headings = {title.replace(" ", "-") for title in re.findall(r"^## (.+)$", page, re.MULTILINE)}
    assert linked == headings == {"charge-success", "charge-start", "charge-finish"}
    assert json.loads((out / "board.json").read_text(encoding="utf-8"))["uid"] == "fluid-slo-orders"


async def test_a_runbook_that_somebody_wrote_is_left_alone(tmp_path: Path) -> None:
    site = install(tmp_path / "site", commands=COMMANDS)
    (tmp_path / "runbook.md").write_text("Call Ada.", encoding="utf-8")
    answer = await call("rules", "tests.telemetry.promising:consumer", "--out", str(tmp_path), env=site)
    assert answer.code == 0
    assert "runbook.md" not in answer.out
    assert (tmp_path / "runbook.md").read_text(encoding="utf-8") == "Call Ada."


async def test_without_an_objective_the_command_says_how_to_declare_one(tmp_path: Path) -> None:
    site = install(tmp_path / "site", commands=COMMANDS)
    answer = await call("rules", "tests.fluid.cli.shop:consumer", "--out", str(tmp_path), env=site)
    assert answer.code == 1
    assert answer.err.startswith("Error: no task promises anything: declare an objective, @task(slo=SLO(")
