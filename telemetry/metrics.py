"""Facts of this process, counted from events. What is done here is done for every run, so it is little."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fluid.clock import now, timestamp
from fluid.errors import DuplicateHandlerError, PluginError
from fluid.scheduler import Event, Task, TaskManager, TaskRun
from telemetry import names
from telemetry.series import Block, Row, Trace, rows_of

HANDLER = "telemetry"
"""The name that our handlers are registered with."""

MOST_GATHERED = 1000
"""So many observations of a task wait at most to be counted together."""


class TaskSeries(Block):
    """What is counted of one task.

    What every run has is held in plain numbers, or gathered, until `catch_up` puts it where it is read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.starts = 0
        self.successes = 0
        self.succeeded_at = 0.0
        self.queued = self.counts(names.RUNS_QUEUED, shared=1)
        self.refused = self.counts(names.RUNS_REFUSED, shared=1)
        self._started = self.counts(names.RUNS_STARTED, shared=1)
        self.ended = self.counts(names.RUNS_ENDED, shared=1)
        self.retried = self.counts(names.RUNS_RETRIED, shared=1)
        self.lost = self.counts(names.RUNS_LOST, shared=1)
        self.interrupted = self.counts(names.RUNS_INTERRUPTED, shared=1)
        self.held = self.counts(names.RUNS_HELD, shared=1)
        self.dead = self.counts(names.RUNS_DEAD, shared=1)
        self.stale = self.counts(names.STALE_OUTCOMES, shared=1)
        self.active = self.counts(names.RUNS_ACTIVE, shared=1)
        """Read from the runs under way at each scrape."""
        self.wait = self.distributions(names.RUN_WAIT, shared=1)
        self.dispatch = self.distributions(names.RUN_DISPATCH, shared=1)[""]
        self.duration = self.distributions(names.RUN_DURATION, shared=1)
        self.latency = self.distributions(names.RUN_LATENCY, shared=1)[""]
        self._last_success = self.counts(names.LAST_SUCCESS, shared=1)
        self.loop_blocked = self.counts(names.LOOP_BLOCKED, shared=1)

    def catch_up(self) -> None:
        """Count all that has happened; in any thread."""
        self._started[""] = self.starts
        self.ended["success"] = self.successes
        self._last_success[""] = self.succeeded_at
        for distribution in (*self.wait.values(), *self.duration.values(), self.dispatch, self.latency):
            if distribution.gathered:
                distribution.count_gathered()


class ScheduleSeries(Block):
    """What is counted of one schedule."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.fires = self.counts(names.SCHEDULE_FIRES, shared=1)
        self.missed = self.counts(names.SCHEDULE_MISSED, shared=1)
        self.lateness = self.distributions(names.SCHEDULE_LATENESS, shared=1)
        self.last_fire = self.counts(names.SCHEDULE_LAST_FIRE, shared=1)
        self.next_fire = self.counts(names.SCHEDULE_NEXT_FIRE, shared=1)
        upcoming = task.schedule.next_after(now()) if task.schedule else None
        self.next_fire[""] = upcoming.timestamp() if upcoming else 0


class ProcessSeries(Block):
    """What is counted of calls to the broker and of the scrapes themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.commands = self.distributions(names.BROKER_COMMANDS)
        self.errors = self.counts(names.BROKER_ERRORS)
        self.rewound = self.counts(names.BROKER_REWOUND)
        self.loop_lag = self.distributions(names.LOOP_LAG)[""]
        self.snapshot_seconds = self.distributions(names.SNAPSHOT_SECONDS)[""]
        self.snapshot_errors = self.counts(names.SNAPSHOT_ERRORS)
        self.over_budget = self.counts(names.TASKS_OVER_BUDGET)
        self.folded = self.counts(names.RUNS_FOLDED)

    def broker_called(self, move: str, seconds: float, error: str) -> None:
        """A watcher of the broker's calls."""
        (self.commands.get(move) or self.commands[names.OTHER]).observe(seconds)
        if error:
            self.errors.add(error)


class Metrics:
    """Listens to the events of one host, and counts.

    `max_tasks`: so many tasks have series of their own; the runs of any other count as `other`.
    `trace_of`: where the attempt of a run can be looked at, or None; observations get it as their exemplar.
    Without it there are none.
    """

    def __init__(
        self, host: TaskManager, *, max_tasks: int, trace_of: Callable[[TaskRun[Any]], Trace | None] | None
    ) -> None:
        self.process = ProcessSeries()
        self.sync_failures: dict[tuple[str, str], int] = {}
        """How often sync handlers raised, by event and handler."""
        self._host = host
        self._trace_of = trace_of
        self._other = TaskSeries()
        # A task that somebody has named so is counted there, too.
        self._tasks: dict[str, TaskSeries] = {names.OTHER: self._other}
        self._max_tasks = max_tasks + len(self._tasks)
        self._schedules: dict[str, ScheduleSeries] = {}
        self._active: set[TaskRun[Any]] = set()
        self._handlers: dict[str, Callable[[Event], None]] = {
            "queued": self._queued,
            "scheduled": self._queued,
            "refused": self._refused,
            "start": self._started,
            "retry": self._retried,
            "held": self._held,
            "interrupted": self._interrupted,
            "lost": self._lost,
            "stale": self._stale,
            "end": self._ended,
            "dead": self._dead,
            "loop_blocked": self._loop_blocked,
            "handler_failed": self._handler_failed,
            "broker_rewound": self._broker_rewound,
            "schedule_fired": self._schedule_fired,
            "schedule_missed": self._schedule_missed,
        }

    # -- listening -------------------------------------------------------------------------

    def listen(self) -> None:
        """Have events and calls told. PluginError if the host is listened to already."""
        dispatcher = self._host.dispatcher
        registered: list[str] = []
        try:
            for event, handler in self._handlers.items():
                dispatcher.register_handler(f"{event}.{HANDLER}", handler)
                registered.append(event)
        except DuplicateHandlerError as error:
            for event in registered:
                dispatcher.unregister_handler(f"{event}.{HANDLER}")
            raise PluginError(
                f"{self._host.type} {self._host.worker_name!r} has telemetry already"
            ) from error
        self._host.broker.listeners.command.append(self.process.broker_called)
        self.know_tasks()

    def stop_listening(self) -> None:
        """Take it all back; what was counted stays."""
        for event in self._handlers:
            self._host.dispatcher.unregister_handler(f"{event}.{HANDLER}")
        self._host.broker.listeners.command.remove(self.process.broker_called)

    # -- exposing --------------------------------------------------------------------------

    def add_own_task(self, name: str) -> None:
        """Have series for a task of ours, which takes none of the budget of the host's."""
        if name not in self._tasks:
            self._tasks[name] = TaskSeries()
            self._max_tasks += 1

    def know_tasks(self) -> None:
        """Have series, at zero, for what was registered since; in the loop's thread."""
        schedules = self._host.type == "task_scheduler"
        for name, task in self._host.registry.items():
            if name not in self._tasks and len(self._tasks) < self._max_tasks:
                self._tasks[name] = TaskSeries()
            if schedules and task.schedule and name in self._tasks and name not in self._schedules:
                self._schedules[name] = ScheduleSeries(task)
        self.process.over_budget[""] = sum(name not in self._tasks for name in self._host.registry)

    @property
    def task_labels(self) -> tuple[str, ...]:
        """The values of the label `task`."""
        return tuple(self._tasks)

    def count_active(self) -> None:
        """Count the runs under way, by task; in the loop's thread."""
        for series in self._tasks.values():
            series.active[""] = 0
        for run in self._active:
            self._tasks.get(run.name, self._other).active[""] += 1

    def of_task(self, name: str) -> TaskSeries | None:
        """What was counted of a task; None when it has no series of its own."""
        series = self._tasks.get(name)
        if series is not None:
            series.catch_up()
        return series

    def rows(self) -> Iterator[Row]:
        """Everything that was counted; in any thread."""
        tasks = self._tasks.copy()
        for series in tasks.values():
            series.catch_up()
        yield from rows_of({(name,): series for name, series in tasks.items()})
        yield from rows_of({(name,): series for name, series in self._schedules.copy().items()})
        yield from rows_of({(): self.process})

    def _of(self, name: str) -> TaskSeries:
        return self._tasks.get(name) or self._of_newcomer(name)

    def _of_newcomer(self, name: str) -> TaskSeries:
        registered = name in self._host.registry
        if registered and len(self._tasks) < self._max_tasks:
            self.know_tasks()
            if name in self._tasks:
                return self._tasks[name]
        self.process.folded.add("over_budget" if registered else "unregistered")
        return self._other

    # -- events of runs --------------------------------------------------------------------

    def _queued(self, event: Event) -> None:
        run = event.run
        if run is not None and not run.local:
            self._of(run.name).queued.add(run.priority)

    def _refused(self, event: Event) -> None:
        run = event.run
        if run is not None and not run.local:
            self._of(run.name).refused.add(event.reason)

    def _started(self, event: Event) -> None:
        run = event.run
        if run is None or run.local:
            return
        series = self._tasks.get(run.name) or self._of_newcomer(run.name)
        series.starts += 1
        self._active.add(run)
        if event.waited is not None:
            wait = series.wait[run.priority]
            wait.gathered.append(event.waited)
            if self._trace_of is not None and (trace := self._trace_of(run)):
                wait.exemplify(event.waited, trace)
        if event.dispatched is not None:
            series.dispatch.gathered.append(event.dispatched)
            if len(series.dispatch.gathered) >= MOST_GATHERED:
                series.catch_up()

    def _ended(self, event: Event) -> None:
        run = event.run
        if run is None or run.local:
            return
        series = self._tasks.get(run.name) or self._of_newcomer(run.name)
        self._active.discard(run)
        trace = self._trace_of(run) if self._trace_of is not None else None
        if run.state == "success":
            series.successes += 1
            series.succeeded_at = timestamp()
        else:
            series.ended.add(run.state, trace=trace)
        # A run that ended before its body was called has no duration.
        if event.ran is not None and run.started_at is not None:
            duration = series.duration[run.state]
            duration.gathered.append(event.ran)
            if trace:
                duration.exemplify(event.ran, trace)
        if event.latency is not None:
            series.latency.gathered.append(event.latency)
            if trace:
                series.latency.exemplify(event.latency, trace)
            if len(series.latency.gathered) >= MOST_GATHERED:
                series.catch_up()

    def _retried(self, event: Event) -> None:
        if event.run is not None:
            self._settled(event.run).retried.add(event.reason, trace=self._trace(event.run))

    def _held(self, event: Event) -> None:
        if event.run is not None:
            self._settled(event.run).held.add(event.reason)

    def _interrupted(self, event: Event) -> None:
        if event.run is not None:
            self._settled(event.run).interrupted[""] += 1

    def _stale(self, event: Event) -> None:
        if event.run is not None:
            self._settled(event.run).stale[""] += 1

    def _dead(self, event: Event) -> None:
        if event.run is not None:
            self._settled(event.run).dead.add(event.reason, trace=self._trace(event.run))

    def _lost(self, event: Event) -> None:
        if event.run is not None:
            self._of(event.run.name).lost.add(trace=self._trace(event.run))

    def _trace(self, run: TaskRun[Any]) -> Trace | None:
        return self._trace_of(run) if self._trace_of is not None else None

    def _settled(self, run: TaskRun[Any]) -> TaskSeries:
        """The series of a run whose attempt, if it began here, is over."""
        self._active.discard(run)
        return self._of(run.name)

    # -- events of the consumer ------------------------------------------------------------

    def _loop_blocked(self, event: Event) -> None:
        # A stall that no body caused is no run that was folded.
        series = self._of(event.facts["task"]) if event.facts.get("task") else self._other
        series.loop_blocked[""] += 1

    def _broker_rewound(self, event: Event) -> None:  # noqa: ARG002 - how far is for logs
        self.process.rewound[""] += 1

    def _handler_failed(self, event: Event) -> None:
        # Async handlers, which are timed, keep their own statistics.
        if "seconds" not in event.facts:
            key = (event.facts["event"], event.facts["handler"])
            self.sync_failures[key] = self.sync_failures.get(key, 0) + event.facts["count"]

    def _schedule_fired(self, event: Event) -> None:
        self.know_tasks()
        schedule = self._schedules.get(event.facts["task"])
        if schedule is not None:
            schedule.fires[""] += 1
            schedule.lateness[""].observe(event.facts["lateness"])
            schedule.last_fire[""] = event.facts["tick"]
            schedule.next_fire[""] = event.facts["next"] or 0

    def _schedule_missed(self, event: Event) -> None:
        self.know_tasks()
        schedule = self._schedules.get(event.facts["task"])
        if schedule is not None:
            schedule.missed[""] += event.facts["count"]
