"""What is kept as series, because boards and alerts ask for it again and again: `level:metric:operation`."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards.rules.thresholds import Thresholds
from telemetry.rules import Group, Recording

READY = 'job_queue_status:fluid_queue_runs:sum{status="ready"}'

OF_THE_QUEUE = {
    "job_queue_priority_status:fluid_queue_runs:max": "max by (job, queue, priority, status) (@QUEUE_RUNS)",
    "job_queue_status:fluid_queue_runs:sum": (
        "sum by (job, queue, status) (job_queue_priority_status:fluid_queue_runs:max)"
    ),
    "job_queue_priority:fluid_queue_oldest_ready_seconds:max": (
        "max by (job, queue, priority) (@QUEUE_OLDEST)"
    ),
    "job_queue_outcome:fluid_books_runs:rate@window": (
        "max by (job, queue, outcome) (rate(@BOOKS_RUNS[@window]))"
    ),
    # At the pace of now: what a run that is queued now will wait. Without any pace it is endless.
    "job_queue:fluid_queue_runs:drain_seconds": (
        f"sum by (job, queue) ({READY} > 0)\n"
        "/\n"
        "sum by (job, queue) (\n"
        '  job_queue_outcome:fluid_books_runs:rate@window{outcome=~"success|failure|aborted"}\n'
        ")\n"
        "or\n"
        f"sum by (job, queue) ({READY}) * 0"
    ),
}
"""Facts of the queue, which every consumer tells: the largest, never the sum, of what they say."""


def p99(histogram: str, label: str) -> str:
    """So large are all but one in a hundred of what was observed in the window."""
    buckets = f"rate(@{{{histogram}}}_bucket[@window])"
    return f"histogram_quantile(\n  0.99, sum by (job, queue, {label}, le) ({buckets})\n)"


OF_TASKS = {
    "job_queue_task_state:fluid_runs_ended:rate@window": (
        "sum by (job, queue, task, state) (rate(@RUNS_ENDED[@window]))"
    ),
    "job_queue_task:fluid_runs_failed:ratio_rate@window": (
        'sum by (job, queue, task) (job_queue_task_state:fluid_runs_ended:rate@window{state="failure"})\n'
        "/\n"
        "sum by (job, queue, task) (\n"
        '  job_queue_task_state:fluid_runs_ended:rate@window{state=~"success|failure"}\n'
        ")"
    ),
    "job_queue_task:fluid_runs_retried:ratio_rate@window": (
        "sum by (job, queue, task) (rate(@RUNS_RETRIED[@window]))\n"
        "/\n"
        "sum by (job, queue, task) (rate(@RUNS_STARTED[@window]))"
    ),
    "job_queue_priority:fluid_run_wait_seconds:p99_rate@window": p99("RUN_WAIT", "priority"),
    "job_queue_task:fluid_run_duration_seconds:p99_rate@window": p99("RUN_DURATION", "task"),
    "job_queue_task:fluid_run_latency_seconds:p99_rate@window": p99("RUN_LATENCY", "task"),
}

OF_CONSUMERS = {
    "job_queue:fluid_slots_busy:ratio": (
        "sum by (job, queue) (@SLOTS_BUSY)\n/\n(sum by (job, queue) (@SLOTS) > 0)"
    ),
}


def groups(thresholds: Thresholds) -> Iterator[Group]:
    """The recording rules."""
    for name, rules in (
        ("fluid-queues", OF_THE_QUEUE),
        ("fluid-tasks", OF_TASKS),
        ("fluid-consumers", OF_CONSUMERS),
    ):
        yield Group(
            name,
            [Recording(thresholds.record(record), thresholds.record(expr)) for record, expr in rules.items()],
        )
