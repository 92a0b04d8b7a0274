"""The catalogue is complete, well named, within its budget, and what the docs say."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter

import pytest

from fluid.scheduler import EVENTS
from fluid.scheduler.brokers.scripts import SCRIPTS
from fluid.scheduler.moves import Durability
from telemetry import names
from telemetry.names import CATALOGUE, Kind, Metric
from tests.house.reading import ROOT

STANDING = {
    "fluid_runs_queued_total": "task,priority",
    "fluid_runs_started_total": "task",
    "fluid_runs_ended_total": "task,state",
    "fluid_runs_retried_total": "task,reason",
    "fluid_runs_lost_total": "task",
    "fluid_runs_dead_total": "task,reason",
    "fluid_stale_outcomes_total": "task",
    "fluid_run_wait_seconds": "task,priority",
    "fluid_run_dispatch_seconds": "task",
    "fluid_run_duration_seconds": "task,state",
    "fluid_run_latency_seconds": "task",
    "fluid_runs_active": "task",
    "fluid_slots": "",
    "fluid_slots_busy": "",
    "fluid_queue_runs": "priority,status",
    "fluid_queue_paused": "",
    "fluid_queue_oldest_ready_seconds": "priority",
    "fluid_books_runs_total": "outcome",
    "fluid_books_unaccounted": "",
    "fluid_loop_lag_seconds": "",
    "fluid_loop_blocked_total": "task",
    "fluid_handler_dropped_total": "event,handler",
    "fluid_handler_failures_total": "event,handler",
    "fluid_schedule_last_fire_timestamp_seconds": "task",
    "fluid_task_last_success_timestamp_seconds": "task",
    "fluid_broker_up": "",
    "fluid_build_info": "version",
    "fluid_broker_unsafe": "reason",
    "fluid_broker_durability": "class",
    "fluid_broker_memory_used_bytes": "",
    "fluid_broker_memory_limit_bytes": "",
    "fluid_broker_clock_offset_seconds": "",
    "fluid_broker_rewound_total": "",
    "fluid_task_paused": "task",
}
"""The names that others build on, with their labels."""


@pytest.mark.parametrize("name", STANDING)
def test_a_standing_name_stands_with_its_labels(name: str) -> None:
    (row,) = [row for row in CATALOGUE if row.name == name]
    assert ",".join(label.name for label in row.labels) == STANDING[name]


def test_a_name_is_written_once() -> None:
    assert [name for name, times in Counter(row.name for row in CATALOGUE).items() if times > 1] == []


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.name)
def test_a_name_says_kind_and_unit(row: Metric) -> None:
    assert re.fullmatch(r"fluid_[a-z]+(_[a-z]+)*", row.name)
    assert row.name.endswith("_total") == (row.kind is Kind.counter)
    assert row.name.endswith("_info") == (row.kind is Kind.info)
    assert bool(row.buckets) == (row.kind is Kind.histogram)
    assert row.kind is not Kind.histogram or row.unit == "seconds"
    assert row.help.endswith(".")


@pytest.mark.parametrize("bounds", [names.RUN_SECONDS, names.CALL_SECONDS])
def test_bounds_rise(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))


def test_bounds_of_runs_suit_tasks_from_a_millisecond_to_an_hour() -> None:
    assert names.RUN_SECONDS[0] == 0.001
    assert names.RUN_SECONDS[-1] == 3600
    assert {0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300} <= set(names.RUN_SECONDS)


def test_reasons_are_those_that_the_core_publishes() -> None:
    told = {
        names.RUNS_REFUSED: "refused",
        names.RUNS_RETRIED: "retry",
        names.RUNS_HELD: "held",
        names.RUNS_DEAD: "dead",
        names.BROKER_UNSAFE: "broker_unsafe",
    }
    assert {row for row in CATALOGUE if any(label.name == "reason" for label in row.labels)} == set(told)
    for row, event in told.items():
        assert row.labels[-1].values == EVENTS[event].reasons != ()


def test_the_classes_of_durability_are_those_that_the_core_knows() -> None:
    assert names.DURABILITY.values == tuple(map(str, Durability))


def test_every_script_of_the_broker_is_a_move() -> None:
    watched = {script.name for script in SCRIPTS} - {"renew"}
    assert watched <= set(names.MOVE.values), "renewals have a connection of their own, which is not watched"


def test_the_series_of_a_task_are_within_their_budget() -> None:
    assert names.SERIES_PER_TASK <= 240
    assert names.SERIES_PER_SCHEDULE <= 30


def test_the_page_of_the_docs_is_the_catalogue() -> None:
    written = subprocess.run(
        [sys.executable, "-m", "telemetry.page"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert page == written, "write it anew: python -m telemetry.page > docs/metrics.md"
    assert all(f"`{row.name}`" in page for row in CATALOGUE)
