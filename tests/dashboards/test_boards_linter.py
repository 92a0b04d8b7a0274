"""The linter notices each thing that makes a board useless at night, and lets good boards be."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from dashboards.boards import expressions, linter
from dashboards.boards.overview import OVERVIEW

Json = dict[str, Any]


@pytest.fixture
def board() -> Json:
    """A board without faults, for a test to spoil."""
    written: Json = json.loads(OVERVIEW.text())
    assert list(linter.faults(written)) == []
    return written


def stat(board: Json) -> Json:
    """Its first stat."""
    found: Json = next(panel for panel in board["panels"] if panel["type"] == "stat")
    return found


def graph(board: Json) -> Json:
    """Its first graph."""
    found: Json = next(panel for panel in board["panels"] if panel["type"] == "timeseries")
    return found


def defaults(board: Json) -> Json:
    """How the numbers of its first stat look."""
    found: Json = stat(board)["fieldConfig"]["defaults"]
    return found


def table(board: Json) -> Json:
    """Its table."""
    found: Json = next(panel for panel in board["panels"] if panel["type"] == "table")
    return found


def query(board: Json) -> Json:
    """The query of its first graph."""
    found: Json = graph(board)["targets"][0]
    return found


SPOILED: list[tuple[Callable[[Json], object], str]] = [
    (lambda board: board.update(uid=""), "no uid"),
    (lambda board: board.update(tags=[]), "no tag fluid"),
    (lambda board: board.update(links=board["links"][1:]), "no link leads to the other boards"),
    (lambda board: board.update(links=board["links"] * 2), "two links have one title"),
    (lambda board: stat(board).pop("id"), "no id"),
    (lambda board: stat(board).update(id=graph(board)["id"]), "2 panels have the id"),
    (lambda board: stat(board)["gridPos"].update(w=4), "overlap"),
    (lambda board: stat(board)["gridPos"].update(x=22, y=500), "beyond the 24 columns"),
    (lambda board: stat(board).update(description="Rate"), "no description"),
    (lambda board: defaults(board).pop("unit"), "no unit"),
    (lambda board: defaults(board).pop("noValue"), "no text for when there is no data"),
    (lambda board: defaults(board).update(thresholds={"steps": []}), "no thresholds"),
    (lambda board: graph(board)["options"]["legend"].update(showLegend=False), "no legend"),
    (lambda board: table(board)["fieldConfig"].update(overrides=[]), "the column Wait p95 has no unit"),
    (lambda board: stat(board).update(targets=[]), "no query"),
    (lambda board: query(board).pop("refId"), "need a refId each"),
    (lambda board: graph(board).update(targets=graph(board)["targets"] * 2), "need a refId each"),
    (lambda board: query(board).pop("legendFormat"), "no legend"),
    (lambda board: query(board).update(legendFormat="{{nobody}}"), "the legend shows nobody"),
    (lambda board: query(board).update(datasource={"uid": "mine"}), "data source cannot be chosen"),
    (lambda board: query(board).update(expr='up{job=~"$nothing"}'), "no variable nothing"),
    (lambda board: query(board).update(expr="sum(fluid_runs_finished_total)"), "not in the catalogue"),
]


@pytest.mark.parametrize(("spoil", "fault"), SPOILED, ids=[fault for _, fault in SPOILED])
def test_a_fault_of_a_board_is_noticed(board: Json, spoil: Callable[[Json], object], fault: str) -> None:
    spoil(board)
    assert fault in "\n".join(linter.faults(board))


@pytest.mark.parametrize(
    ("expr", "fault"),
    [
        ("sum(rate(", "cannot be read"),
        ("rate(fluid_renamed_total[5m])", "fluid_renamed_total is not in the catalogue"),
        ("fluid_run_wait_seconds", "fluid_run_wait_seconds is not in the catalogue"),
        ("sum(kube_pod_info)", "kube_pod_info is not in the catalogue"),
        ('sum(fluid_runs_ended_total{worker="a"})', "has no label worker"),
        ("sum by (host) (fluid_slots)", "has no label host"),
        ('sum(fluid_runs_ended_total{state="done"})', "state of fluid_runs_ended_total is never 'done'"),
        ("sum by (queue) (fluid_queue_runs)", "is told by every consumer"),
        ("sum(rate(fluid_books_runs_total[5m]))", "is told by every consumer"),
        ("fluid_books_unaccounted > 0", "is told by every consumer"),
        ("max(fluid_queue_paused)", "is told by every consumer"),
        ("max by (queue) (fluid_queue_runs)", "`max by (priority, queue, status)` first"),
        ('max by (queue) (fluid_queue_runs{status="ready"})', "`max by (priority, queue)` first"),
        ("avg by (queue, outcome) (fluid_books_runs_total)", "is told by every consumer"),
        ("max without (instance) (fluid_queue_paused)", "is told by every consumer"),
        ("sum by (task) (fluid_task_last_success_timestamp_seconds)", "is an instant"),
        ("time() - fluid_schedule_next_fire_timestamp_seconds", "is an instant"),
    ],
)
def test_a_fault_of_an_expression_is_noticed(expr: str, fault: str) -> None:
    assert fault in "\n".join(expressions.faults(expr))


@pytest.mark.parametrize(
    "expr",
    [
        "up",
        "rate(process_cpu_seconds_total[$__rate_interval])",
        "sum(max by (queue, priority, status) (fluid_queue_runs))",
        'sum by (queue) (max by (queue, priority) (fluid_queue_runs{status="ready"}))',
        "max by (queue, outcome) (rate(fluid_books_runs_total[5m]))",
        "max by (queue) (fluid_queue_oldest_ready_seconds)",
        "max(max by (queue) (fluid_queue_paused))",
        "time() - max by (task) (fluid_task_last_success_timestamp_seconds)",
        "histogram_quantile(0.9, sum by (le, task) (rate(fluid_run_wait_seconds_bucket[$__range])))",
        "max_over_time(sum(fluid_slots_busy)[$__range:1m])",
        "job_queue:fluid_queue_runs:drain_seconds > 900",
    ],
)
def test_a_good_expression_is_let_be(expr: str) -> None:
    assert list(expressions.faults(expr, records={"job_queue:fluid_queue_runs:drain_seconds"})) == []
