"""What is kept as series, because boards and alerts ask for it again and again: `level:metric:operation`."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards.rules.thresholds import Thresholds
from telemetry.rules import Group, Recording

READY = 'queue_status:fluid_queue_runs:sum{status="ready"}'

OF_THE_QUEUE = {
    "queue_priority_status:fluid_queue_runs:max": "max by (queue, priority, status) (@QUEUE_RUNS)",
    "queue_status:fluid_queue_runs:sum": (
        "sum by (queue, status) (queue_priority_status:fluid_queue_runs:max)"
    ),
    "queue_priority:fluid_queue_oldest_ready_seconds:max": "max by (queue, priority) (@QUEUE_OLDEST)",
    "queue_outcome:fluid_books_runs:rate@window": "max by (queue, outcome) (rate(@BOOKS_RUNS[@window]))",
    # At the pace of now: what a run that is queued now will wait. Without any pace it is endless.
    "queue:fluid_queue_runs:drain_seconds": (
        f"sum by (queue) ({READY} > 0)\n"
        "/\n"
        "sum by (queue) (\n"
        '  queue_outcome:fluid_books_runs:rate@window{outcome=~"success|failure|aborted"}\n'
        ")\n"
        "or\n"
        f"sum by (queue) ({READY}) * 0"
    ),
}
"""Facts of the queue, which every consumer tells: the largest, never the sum, of what they say."""

OF_TASKS = {
    "queue_task_state:fluid_runs_ended:rate@window": (
        "sum by (queue, task, state) (rate(@RUNS_ENDED[@window]))"
    ),
    "queue_task:fluid_runs_failed:ratio_rate@window": (
        'sum by (queue, task) (queue_task_state:fluid_runs_ended:rate@window{state="failure"})\n'
        "/\n"
        "sum by (queue, task) (\n"
        '  queue_task_state:fluid_runs_ended:rate@window{state=~"success|failure"}\n'
        ")"
    ),
    "queue_task:fluid_runs_retried:ratio_rate@window": (
        "sum by (queue, task) (rate(@RUNS_RETRIED[@window]))\n"
        "/\n"
        "sum by (queue, task) (rate(@RUNS_STARTED[@window]))"
    ),
    "queue_priority:fluid_run_wait_seconds:p99_rate@window": (
        "histogram_quantile(\n  0.99, sum by (queue, priority, le) (rate(@{RUN_WAIT}_bucket[@window]))\n)"
    ),
    "queue_task:fluid_run_duration_seconds:p99_rate@window": (
        "histogram_quantile(\n  0.99, sum by (queue, task, le) (rate(@{RUN_DURATION}_bucket[@window]))\n)"
    ),
    "queue_task:fluid_run_latency_seconds:p99_rate@window": (
        "histogram_quantile(\n  0.99, sum by (queue, task, le) (rate(@{RUN_LATENCY}_bucket[@window]))\n)"
    ),
}

OF_CONSUMERS = {
    "queue:fluid_slots_busy:ratio": "sum by (queue) (@SLOTS_BUSY) / (sum by (queue) (@SLOTS) > 0)",
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
