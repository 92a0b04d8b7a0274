"""Objectives declared on tasks, and the rules that tell when their budgets burn.

An objective is a share of a task's runs, over 30 days; its budget is the rest. What burns `n` times too fast
is gone after 30 days divided by `n`. Each speed is looked for in two windows: the long one says that it
matters, the short one that it still goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from fluid.scheduler import Task
from telemetry import names
from telemetry.rules import Alert, Group, Recording, Severity

PERIOD = "30d"
"""What an objective is about."""

ALERT = "FluidBudgetBurns"
BAD = "job_queue_task_objective:fluid_slo_bad"
"""The share that was not as promised, recorded over windows as `:ratio_rate5m`."""
LEFT = f"job_queue_task_objective:fluid_slo_budget:left{PERIOD}"
"""The share of the budget that is left; below 0 when it is overdrawn."""


@dataclass(frozen=True, slots=True)
class Burn:
    """A speed that should be told: in both windows, the budget burns more than `factor` times too fast."""

    long: str
    short: str
    factor: float
    lasts: str
    severity: Severity


BURNS = (
    Burn("1h", "5m", 14.4, "2m", "critical"),
    Burn("6h", "30m", 6, "15m", "critical"),
    Burn("1d", "2h", 3, "1h", "warning"),
    Burn("3d", "6h", 1, "3h", "warning"),
)
SHORT_WINDOWS = ("5m", "30m", "1h", "2h", "6h")
LONG_WINDOWS = ("1d", "3d", PERIOD)
LONG_INTERVAL = "2m"
"""Long windows are recorded so often: they cost more and change less."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What is promised of one task in one queue."""

    queue: str
    task: str
    name: Literal["success", "start", "finish"]
    share: float
    within: float | None = None
    """Seconds, a bound of the histogram that it is counted by."""

    @property
    def budget(self) -> float:
        """The share that may be otherwise."""
        return round(1 - self.share, 12)

    @property
    def promise(self) -> str:
        """The objective in words."""
        deed = "succeed" if self.within is None else f"{self.name} within {self.within:g} s"
        return f"{self.share * 100:.10g}% of the runs of {self.task} {deed}"

    @property
    def labels(self) -> dict[str, str]:
        """What tells its series and alerts from those of others."""
        return {"queue": self.queue, "task": self.task, "objective": self.name}

    @property
    def selector(self) -> str:
        """The same, in a query."""
        return "{" + ", ".join(f'{name}="{value}"' for name, value in self.labels.items()) + "}"

    def bad(self, window: str) -> str:
        """The recorded share, over a window, that was not as promised."""
        return f"{BAD}:ratio_rate{window}{self.selector}"

    def counted(self, window: str) -> str:
        """The same share, out of what is scraped. A run found dead has not succeeded."""
        if self.within is None:
            dead = self._rate(names.RUNS_DEAD.name, window)
            failed = self._rate(names.RUNS_ENDED.name, window, 'state="failure"')
            ended = self._rate(names.RUNS_ENDED.name, window, 'state=~"success|failure"')
            return f"(\n  {failed}\n  +\n  {dead}\n)\n/\n(\n  {ended}\n  +\n  {dead}\n)"
        metric = (names.RUN_WAIT if self.name == "start" else names.RUN_LATENCY).name
        good = self._rate(f"{metric}_bucket", window, f'le="{float(self.within)!r}"')
        return f"1 - (\n  {good}\n  /\n  {self._rate(f'{metric}_count', window)}\n)"

    def _rate(self, metric: str, window: str, chosen: str = "") -> str:
        labels = ", ".join(filter(None, (f'queue="{self.queue}", task="{self.task}"', chosen)))
        return f"sum by (job, queue, task) (rate({metric}{{{labels}}}[{window}]))"


def objectives_of(queue: str, tasks: Iterable[Task]) -> Iterator[Objective]:
    """What is promised of these tasks: success, and the seconds that are given."""
    for task in tasks:
        if task.slo is None:
            continue
        yield Objective(queue, task.name, "success", task.slo.success)
        if task.slo.start_within is not None:
            yield Objective(queue, task.name, "start", task.slo.success, task.slo.start_within)
        if task.slo.finish_within is not None:
            yield Objective(queue, task.name, "finish", task.slo.success, task.slo.finish_within)


def groups(objectives: Iterable[Objective], *, runbook: str, board: str) -> Iterator[Group]:
    """Recordings and alerts; `runbook` and `board` are what their links begin with."""
    for objective in objectives:
        name = f"fluid-slo-{objective.queue}-{objective.task}-{objective.name}"
        yield Group(f"{name}-short", [_recording(objective, window) for window in SHORT_WINDOWS])
        left = f"1 - {objective.bad(PERIOD)} / {objective.budget:.10g}"
        long = [_recording(objective, window) for window in LONG_WINDOWS]
        yield Group(f"{name}-long", [*long, Recording(LEFT, left, objective.labels)], LONG_INTERVAL)
        yield Group(
            f"{name}-alerts",
            [_alert(objective, burn, runbook, board) for burn in burns_of(objective)],
        )


def burns_of(objective: Objective) -> Iterator[Burn]:
    """The speeds that can be reached: where a tenth may fail, nothing burns more than ten times too fast."""
    return (burn for burn in BURNS if burn.factor * objective.budget < 1)


def anchor(objective: Objective) -> str:
    """Where the runbook speaks of it."""
    return f"{objective.task}-{objective.name}".lower().replace(".", "")


def _recording(objective: Objective, window: str) -> Recording:
    return Recording(f"{BAD}:ratio_rate{window}", objective.counted(window), objective.labels)


def _alert(objective: Objective, burn: Burn, runbook: str, board: str) -> Alert:
    limit = f"{burn.factor * objective.budget:.10g}"
    return Alert(
        alert=ALERT,
        expr=f"{objective.bad(burn.long)} > {limit}\nand\n{objective.bad(burn.short)} > {limit}",
        lasts=burn.lasts,
        labels={"severity": burn.severity, "window": burn.long} | objective.labels,
        annotations={
            "summary": "An objective is missed so often that its budget burns too fast.",
            "description": f"Queue {objective.queue}: {objective.promise}. In {burn.long}, "
            f"{{{{ $value | humanizePercentage }}}} did not: the budget of {PERIOD} burns more than "
            f"{burn.factor:g} times too fast.",
            "runbook_url": f"{runbook}#{anchor(objective)}",
            "dashboard_url": board,
        },
    )
