"""What can be asked about runs once they are queued, and of the queue."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from fluid.clock import elapsed
from fluid.errors import (
    ResultTimeoutError,
    RunAbortedError,
    RunDeadError,
    RunError,
    RunFailedError,
    UnknownEventError,
    UnknownRunError,
)
from fluid.scheduler.codec import decode_outcome, decode_result
from fluid.scheduler.events import EVENTS
from fluid.scheduler.fleet import FleetEvent, fleet_events
from fluid.scheduler.history import add_outcome, evidence, run_of_record
from fluid.scheduler.host import Host
from fluid.scheduler.moves import Page, RunRecord
from fluid.scheduler.options import QueueOptions
from fluid.scheduler.run import TaskRun
from fluid.scheduler.states import TaskPriority, TaskState
from fluid.scheduler.task import Task

_ENDED_BADLY = {
    TaskState.failure: RunFailedError,
    TaskState.aborted: RunAbortedError,
    TaskState.dead: RunDeadError,
}


class Desk(Host):
    """Where runs are looked up and awaited."""

    @abstractmethod
    async def queue_from(
        self,
        parent: TaskRun[Any],
        task: Any,
        priority: TaskPriority | None,
        options: QueueOptions | None,
        params: Mapping[str, Any],
    ) -> TaskRun[Any]:
        """Queue a run that follows `parent`."""

    @abstractmethod
    async def cancel_run(self, run_id: str) -> bool:
        """Ask that a run ends `aborted`; False when it had ended before."""

    async def get_run(self, run_id: str) -> TaskRun[Any]:
        """The run as the broker keeps it; `UnknownRunError` when it keeps nothing."""
        return run_of_record(await self._record(run_id), self)

    async def get_evidence(self, run_id: str) -> dict[str, Any]:
        """All that is kept of a run, as plain data; `UnknownRunError` when nothing is."""
        return evidence(await self._record(run_id), self)

    async def list_runs(
        self,
        *states: TaskState,
        task: str = "",
        reason: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
        after: str = "",
    ) -> Page[TaskRun[Any]]:
        """Runs in these states, one after the other; of this task, there for this reason, if one is named.

        Failed ones come newest first. Others come by priority, and then dead ones newest first, held ones by
        task and age, the rest in the order in which their turn comes. Runs that ended in success or aborted
        are not listed: ask for one by its id. `since` and `until` bound when a run failed or died, when it
        is due, or else when it became ready.

        The list says `after` which run the next page comes: ask with that, unless it is empty. A run that
        stays is in one page, whatever comes and goes meanwhile, and a page costs the same wherever it begins.
        Those that are not wanted are looked at, up to 1,000 in one round trip.

        Raises `CursorError`.
        """
        records = await self._records(
            *states, task=task, reason=reason, since=since, until=until, limit=limit, after=after
        )
        return Page([run_of_record(record, self) for record in records], records.after)

    async def _records(
        self, *states: TaskState, since: datetime | None, until: datetime | None, **how: Any
    ) -> Page[RunRecord]:
        return await self._broker.list_runs(
            *states,
            since=since.timestamp() * 1000 if since else None,
            until=until.timestamp() * 1000 if until else None,
            **how,
        )

    def events(
        self,
        *,
        task: str | Task = "",
        event: str = "",
        since: str | datetime | None = None,
        follow: bool = True,
    ) -> AsyncGenerator[FleetEvent]:
        """What the fleet tells, by every process that is set to (`fleet_events`): `async for event in ...`.

        It begins with what comes now; with `since`, after an event (its `id`) or an instant, as far back as
        is kept. Without `follow` it ends with the newest. Reading holds nobody up: who falls behind what the
        queue keeps is told how many were `missed`. A lost connection is made again.

        Raises `UnknownEventError`.
        """
        if event and event not in EVENTS:
            raise UnknownEventError(f"no event {event!r} is ever announced: there are {', '.join(EVENTS)}")
        name = task if isinstance(task, str) else task.name
        return fleet_events(self._broker.fleet, since, task=name, event=event, follow=follow)

    async def pause(self, task: str | Task = "") -> None:
        """Pause the queue: its runs stay ready, and nothing is claimed until `resume`.

        With a task, only its runs are held, by every consumer of the queue; those that run go on. Raises
        `UnknownTaskError`, but a manager without any tasks takes every name.
        """
        name = self._name_of(task)
        await self._broker.pause(name)
        self._announce_pause("paused", name)

    async def resume(self, task: str | Task = "") -> None:
        """Let the queue be claimed from again; or the runs of this task, in their order."""
        name = self._name_of(task)
        await self._broker.resume(name)
        self._announce_pause("resumed", name)

    def _name_of(self, task: str | Task) -> str:
        """The name of a task, or the empty word; mistyped, it would pause nothing, and say nothing."""
        if isinstance(task, Task):
            return task.name
        return self._registry[task].name if task and self._registry else task

    def _announce_pause(self, what: str, task: str) -> None:
        if task:
            self._announcer.announce(f"task_{what}", facts={"task": task})
        else:
            self._announcer.announce(f"queue_{what}")

    async def _record(self, run_id: str) -> RunRecord:
        record = await self._broker.get_run(run_id)
        if record is None:
            raise UnknownRunError(run_id)
        return record

    async def _ended(self, run_id: str, deadline: float | None, patience: float | None) -> RunRecord:
        record = await self._broker.wait_end(run_id, deadline)
        if record is not None:
            return record
        if deadline is not None and elapsed() >= deadline:
            raise ResultTimeoutError(run_id, patience or 0.0)
        raise UnknownRunError(run_id)

    @staticmethod
    def _bring_up_to_date(run: TaskRun[Any], record: RunRecord) -> None:
        outcome = decode_outcome(record.outcome)
        run.state, run.reason = record.state, record.reason
        run.failures, run.losses = record.failures or outcome.failures, record.losses or outcome.losses
        run.queued_at = run.queued_at or record.queued or outcome.queued
        add_outcome(run, outcome)

    async def result_of(self, run: TaskRun[Any], timeout: float | None) -> Any:
        """What the run's body returned, once it has ended."""
        if run.local:
            if run.state is TaskState.success:
                return run.returned
            raise _ENDED_BADLY[run.state](run.id, run.name, run.error or run.reason)
        record = await self._ended(run.id, None if timeout is None else elapsed() + timeout, timeout)
        self._bring_up_to_date(run, record)
        if record.state is TaskState.success:
            return decode_result(decode_outcome(record.outcome))
        kind: type[RunError] = _ENDED_BADLY[record.state]
        raise kind(run.id, run.name, run.error or run.reason)

    async def report_progress(
        self, run: TaskRun[Any], done: float, total: float | None, message: str
    ) -> None:
        """Keep how far the run has come; nobody asks for one that is executed here."""
        if run.local:
            return
        report = msgspec.json.encode({"done": done, "total": total, "message": message})
        await self._broker.report_progress(run.id, report)
