"""What this process alone can say of the objectives: the runs that it has counted since its start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fluid.scheduler import TaskManager
from telemetry.metrics import Metrics, TaskSeries
from telemetry.slo import Objective, objectives_of


@dataclass(frozen=True, slots=True)
class Budget:
    """How an objective stands in this process."""

    task: str
    objective: str
    promise: str
    runs: int
    """Runs counted here since the start; of `start`, attempts."""
    bad: int
    """How many of them were not as promised."""
    left: float | None
    """The share of the budget of just these runs that is left: 1 for none bad, 0 for as many as may be, below
    0 for more; None without runs."""


def budgets_of(host: TaskManager, metrics: Metrics) -> Iterator[Budget]:
    """Every objective of the host's tasks that have series of their own."""
    for objective in objectives_of(host.broker.queue, host.registry.values()):
        series = metrics.of_task(objective.task)
        if series is not None:
            runs, bad = _counted(objective, series)
            left = 1 - bad / runs / objective.budget if runs else None
            yield Budget(objective.task, objective.name, objective.promise, runs, bad, left)


def _counted(objective: Objective, series: TaskSeries) -> tuple[int, int]:
    """Runs, and how many of them were not as promised: as the recording rules count them."""
    if objective.within is None:
        dead = sum(series.dead.values())
        bad = series.ended["failure"] + dead
        return int(series.ended["success"] + bad), int(bad)
    told = series.wait.values() if objective.name == "start" else (series.latency,)
    runs = sum(one.count for one in told)
    return runs, runs - sum(one.within(objective.within) for one in told)
