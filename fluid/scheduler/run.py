"""A run: one request to execute a task, and the door through which it asks for more."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol

import msgspec
from typing_extensions import TypeVar

from fluid.clock import from_milliseconds
from fluid.errors import FluidError
from fluid.scheduler.options import QueueOptions
from fluid.scheduler.states import MOVES, TaskPriority, TaskState, illegal_move

P = TypeVar("P", default=dict[str, Any])

logger = logging.getLogger("fluid.run")


class RunDoor(Protocol):
    """The few moves a run can ask for; a manager implements it."""

    def task_of(self, name: str) -> Any:
        """The registered `Task` of this name; `UnknownTaskError` when there is none."""

    async def queue_from(
        self,
        parent: TaskRun[Any],
        task: Any,
        priority: TaskPriority | None,
        options: QueueOptions | None,
        params: Mapping[str, Any],
    ) -> TaskRun[Any]:
        """Queue a run that follows `parent`."""

    async def cancel_run(self, run_id: str) -> bool:
        """Ask that the run ends `aborted`; False when it had ended before."""

    async def result_of(self, run: TaskRun[Any], timeout: float | None) -> Any:
        """Wait for the end of the run and return what its body returned."""

    def report_progress(
        self, run: TaskRun[Any], done: float, total: float | None, message: str
    ) -> Awaitable[None]:
        """Keep how far the run has come, for whoever asks."""


def _instant(milliseconds: float | None) -> datetime | None:
    return None if milliseconds is None else from_milliseconds(milliseconds)


class TaskRun(msgspec.Struct, Generic[P], eq=False):
    """One request to execute a task. In a body, `params` is a dict or an instance of the task's model."""

    id: str
    name: str
    params: P
    priority: TaskPriority = TaskPriority.medium
    state: TaskState = TaskState.init
    failures: int = 0
    """Failed attempts before this one."""
    losses: int = 0
    """Lost attempts before this one."""
    delivery: int = 1
    """Which delivery to a body this is, from 1. Unlike `attempt` it counts interruptions, and it goes on
    counting when a dead run is replayed."""
    queued_at: float | None = None
    """When it was queued, by the broker's clock in milliseconds since the epoch."""
    started_at: float | None = None
    """When its body was called, in the same way."""
    ended_at: float | None = None
    """When its body had ended, in the same way."""
    reason: str = ""
    """A short stable word for why the run is where it is; empty on success."""
    error: str = ""
    """The last error, in words."""
    from_run_id: str = ""
    """The run that queued this one, or that this one replays."""
    root_run_id: str = ""
    """The first run of the lineage; its own id for a run that has no parent."""
    local: bool = False
    """Executed here without the broker."""
    headers: dict[str, str] = {}
    """What interceptors send along, such as a trace context."""
    returned: Any = None
    """What the body of a local run returned."""
    door: RunDoor | None = None

    def __repr__(self) -> str:
        told = {
            "id": self.id,
            "name": self.name,
            "state": str(self.state),
            "attempt": self.attempt,
            "params": self.params,
        }
        return f"TaskRun({', '.join(f'{name}={value!r}' for name, value in told.items())})"

    @property
    def attempt(self) -> int:
        """Which try this is, from 1: failures and losses count, interruptions and holds do not."""
        return 1 + self.failures + self.losses

    @property
    def task(self) -> Any:
        """The `Task` of this run, asked of its door."""
        return self._door().task_of(self.name)

    @property
    def queued(self) -> datetime | None:
        """When it was queued, aware, by the broker's clock."""
        return _instant(self.queued_at)

    @property
    def start(self) -> datetime | None:
        """When its body was called, aware."""
        return _instant(self.started_at)

    @property
    def end(self) -> datetime | None:
        """When its body had ended, aware."""
        return _instant(self.ended_at)

    @property
    def in_queue(self) -> timedelta | None:
        """From queued to started."""
        return self.start - self.queued if self.start and self.queued else None

    @property
    def duration(self) -> timedelta | None:
        """From started to ended."""
        return self.end - self.start if self.end and self.start else None

    @property
    def total(self) -> timedelta | None:
        """From queued to ended."""
        return self.end - self.queued if self.end and self.queued else None

    @property
    def is_done(self) -> bool:
        """In a final state."""
        return self.state.is_done

    @property
    def is_failure(self) -> bool:
        """In `failure`, `aborted` or `dead`."""
        return self.state.is_failure

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose lines carry the task, the run and the attempt."""
        return logging.LoggerAdapter(logger, {"task": self.name, "run_id": self.id, "attempt": self.attempt})

    def move(self, state: TaskState) -> None:
        """Go to `state`; `IllegalMoveError` when that would be a made-up history."""
        if state not in MOVES[self.state]:
            raise illegal_move(self.id, self.state, state)
        self.state = state

    def snapshot(self) -> TaskRun[P]:
        """The run as it is now; parameters are shared, so they are read-only by contract."""
        return TaskRun(
            id=self.id,
            name=self.name,
            params=self.params,
            priority=self.priority,
            state=self.state,
            failures=self.failures,
            losses=self.losses,
            delivery=self.delivery,
            queued_at=self.queued_at,
            started_at=self.started_at,
            ended_at=self.ended_at,
            reason=self.reason,
            error=self.error,
            from_run_id=self.from_run_id,
            root_run_id=self.root_run_id,
            local=self.local,
            headers=self.headers,
            door=self.door,
        )

    def summary(self) -> dict[str, Any]:
        """Plain data for JSON: everything but parameters and headers."""

        def text(instant: datetime | None) -> str | None:
            return instant.isoformat() if instant else None

        return {
            "id": self.id,
            "task": self.name,
            "state": str(self.state),
            "priority": str(self.priority),
            "attempt": self.attempt,
            "queued": text(self.queued),
            "start": text(self.start),
            "end": text(self.end),
            "reason": self.reason,
            "error": self.error,
            "from_run_id": self.from_run_id,
            "root_run_id": self.root_run_id,
        }

    async def queue(
        self,
        task: Any,
        priority: TaskPriority | None = None,
        *,
        options: QueueOptions | None = None,
        **params: Any,
    ) -> TaskRun[Any]:
        """Queue a run that follows this one: its `from_run_id` is this run's id."""
        return await self._door().queue_from(self, task, priority, options, params)

    async def cancel(self) -> bool:
        """Ask that this run ends `aborted`; False when it had ended before."""
        return await self._door().cancel_run(self.id)

    async def result(self, timeout: float | None = None) -> Any:
        """Wait, without polling, until the run has ended, and return what its body returned.

        Raises `RunFailedError`, `RunAbortedError` or `RunDeadError` when it ended otherwise, and
        `ResultTimeoutError` after `timeout` seconds.
        """
        return await self._door().result_of(self, timeout)

    def progress(self, done: float, total: float | None = None, message: str = "") -> Awaitable[None]:
        """Say how far this run has come. To be awaited, but in a CPU-bound body, where it need not be."""
        return self._door().report_progress(self, done, total, message)

    def _door(self) -> RunDoor:
        if self.door is None:
            raise FluidError(f"run {self.id} is a snapshot without a manager: it can only be read")
        return self.door
