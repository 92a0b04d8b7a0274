"""The producer's door: a manager queues runs and asks about them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fluid.clock import elapsed, from_milliseconds
from fluid.errors import (
    BrokerError,
    FluidError,
    QueueUncertainError,
    ResultTimeoutError,
    RunAbortedError,
    RunDeadError,
    RunError,
    RunFailedError,
    UniqueRunError,
    UnknownRunError,
)
from fluid.scheduler.codec import decode_outcome, decode_result
from fluid.scheduler.history import add_outcome, evidence, run_of_record
from fluid.scheduler.host import Host
from fluid.scheduler.interceptors import around_queueing
from fluid.scheduler.local import execute_here
from fluid.scheduler.moves import Refusal, RunRecord
from fluid.scheduler.options import NO_OPTIONS, QueueOptions
from fluid.scheduler.producing import Producer
from fluid.scheduler.run import TaskRun
from fluid.scheduler.states import TaskPriority, TaskState
from fluid.scheduler.submitting import new_run, replay_of, submission_of
from fluid.scheduler.sync_queue import SyncQueue
from fluid.scheduler.task import Task
from fluid.settings import TaskManagerConfig

CLI_GROUP = "fluid.cli"
FLUSH_SECONDS = 5.0
"""What a stop may take on top of the grace period: to tell outcomes and to drain handlers."""

_ENDED_BADLY = {
    TaskState.failure: RunFailedError,
    TaskState.aborted: RunAbortedError,
    TaskState.dead: RunDeadError,
}


class TaskManager(Host):
    """Queues runs, and asks about them.

    Settings are keywords, or `FLUID_*` variables; see `TaskManagerConfig`. It reaches for the broker
    when it first has to, so a web process starts whether or not the broker is there. Async handlers
    are told of events while it is open: `async with manager:`.
    """

    def __init__(self, *, config: TaskManagerConfig | None = None, name: str = "", **settings: Any) -> None:
        super().__init__(config=config, name=name, **settings)
        self._producer = Producer(self._broker)
        self._being_queued: dict[str, asyncio.Event] = {}
        self._sync_queue = SyncQueue(self._queue_made)
        self.add_workers(self._sync_queue)

    async def on_shutdown(self) -> None:
        """Flush what waits to be queued, then close."""
        await self._producer.close()
        await super().on_shutdown()

    # -- queueing --------------------------------------------------------------------------

    async def queue(
        self,
        task: str | Task | TaskRun[Any],
        priority: TaskPriority | None = None,
        *,
        options: QueueOptions | None = None,
        **params: Any,
    ) -> TaskRun[Any]:
        """Queue one run; when this returns, the broker has it.

        Raises `UnknownTaskError`, `InvalidParamsError` or `PayloadTooLargeError` before anything is sent,
        `UniqueRunError`, `BrokerUnavailableError` (not queued) or `QueueUncertainError` (perhaps queued).
        """
        chosen = options or NO_OPTIONS
        run = task if isinstance(task, TaskRun) else self._new_run(task, priority, chosen, params)
        await self._queue_runs([run], chosen)
        return run

    async def queue_many(
        self,
        task: str | Task,
        params: Sequence[Mapping[str, Any]],
        priority: TaskPriority | None = None,
        options: QueueOptions | None = None,
    ) -> list[TaskRun[Any]]:
        """Queue a run for each of these parameters, in order, in one round trip (500 runs each)."""
        chosen = options or NO_OPTIONS
        if chosen.run_id or chosen.unique_key:
            raise FluidError("queue_many gives every run an id of its own and takes no unique_key: use queue")
        runs = [self._new_run(task, priority, chosen, one) for one in params]
        if runs:
            await self._queue_runs(runs, chosen)
        return runs

    async def queue_and_wait(
        self,
        task: str | Task,
        priority: TaskPriority | None = None,
        *,
        timeout: float = 2,
        options: QueueOptions | None = None,
        **params: Any,
    ) -> TaskRun[Any]:
        """Queue one run and wait until it has ended; the ended run, whatever its final state.

        Raises `ResultTimeoutError` after `timeout` seconds (the run goes on), `RunDeadError` at once
        when the run is dead, and what `queue` raises.
        """
        deadline = elapsed() + timeout
        run = await self.queue(task, priority, options=options, **params)
        record = await self._ended(run.id, deadline, timeout)
        self._bring_up_to_date(run, record)
        if run.state is TaskState.dead:
            raise RunDeadError(run.id, run.name, run.reason)
        return run

    def create_task_run(
        self, task: str | Task, run_id: str = "", priority: TaskPriority | None = None, **params: Any
    ) -> TaskRun[Any]:
        """A run in `init`, validated, not queued yet."""
        return self._new_run(task, priority, QueueOptions(run_id=run_id or None), params)

    def sync_queue(self, task: str | Task | TaskRun[Any]) -> None:
        """Queue a run from any thread, without waiting for it; flushed first on stop."""
        self._sync_queue.put(task if isinstance(task, TaskRun) else self.create_task_run(task))

    def sync_priority_queue(self, task: str | Task) -> None:
        """The same as `sync_queue`, at `high` priority."""
        self._sync_queue.put(self.create_task_run(task, priority=TaskPriority.high))

    def _new_run(
        self,
        task: str | Task,
        priority: TaskPriority | None,
        options: QueueOptions,
        params: Mapping[str, Any],
    ) -> TaskRun[Any]:
        return new_run(self._registry.resolve(task), priority, options, params, door=self)

    async def _queue_made(self, run: TaskRun[Any]) -> None:
        await self._queue_runs([run], NO_OPTIONS)

    async def _queue_runs(self, runs: Sequence[TaskRun[Any]], options: QueueOptions) -> None:
        for run in runs:
            self._announcer.announce("queue", run)
            self._being_queued[run.id] = asyncio.Event()
        try:
            with around_queueing(self._interceptors, runs):
                submissions = [submission_of(run, self._registry.get(run.name), options) for run in runs]
                answer = await self._producer.submit(submissions, timeout=self._config.queue_timeout)
            due = options.at is not None or bool(options.delay)
            for run, verdict in zip(runs, answer.verdicts, strict=True):
                await self._queued(run, verdict, answer.now, due)
        except UniqueRunError:
            raise
        except Exception as error:
            reason = error.reason if isinstance(error, (QueueUncertainError, FluidError)) else "error"
            for run in runs:
                if run.state is TaskState.init:
                    self._announcer.announce("refused", run, reason=_REFUSALS.get(reason, "error"))
            raise
        finally:
            for run in runs:
                self._being_queued.pop(run.id).set()

    async def _queued(self, run: TaskRun[Any], verdict: Refusal | None, now: float, due: bool) -> None:
        if verdict is None:
            run.queued = from_milliseconds(now)
            state = TaskState.scheduled if due else TaskState.queued
            run.move(state)
            self._announcer.announce(str(state), run)
            return
        self._announcer.announce("refused", run, reason=verdict.reason)
        if verdict.reason == "unique":
            raise UniqueRunError(run.name, verdict.run_id)
        record = await self._broker.get_run(run.id)
        if record is not None:
            self._bring_up_to_date(run, record)

    # -- executing here --------------------------------------------------------------------

    async def execute(self, task: str | Task, **params: Any) -> TaskRun[Any]:
        """Run the body here, once, with its timeout: without broker, limits or retries.

        The ended run; `await run.result()` is what the body returned, and raises if it failed.
        """
        declared = self._registry.resolve(task)
        run = self.create_task_run(declared, **params)
        return await execute_here(declared, run, self._invoker, self._announcer)

    def execute_sync(self, task: str | Task, **params: Any) -> TaskRun[Any]:
        """The same as `execute`, from code that has no event loop."""
        return asyncio.run(self.execute(task, **params))

    # -- asking ----------------------------------------------------------------------------

    async def get_run(self, run_id: str) -> TaskRun[Any]:
        """The run as the broker keeps it; `UnknownRunError` when it keeps nothing."""
        return run_of_record(await self._record(run_id), self)

    async def get_evidence(self, run_id: str) -> dict[str, Any]:
        """All that is kept of a run, as plain data; `UnknownRunError` when nothing is."""
        return evidence(await self._record(run_id), self)

    async def list_runs(
        self, state: TaskState, *, task: str = "", reason: str = "", limit: int = 50, offset: int = 0
    ) -> list[TaskRun[Any]]:
        """Runs in a state: newest first for `dead` and `failure`, next first for those that wait.

        Successes are not indexed: ask for one by its id.
        """
        records = await self._broker.list_runs(state, task=task, reason=reason, limit=limit, offset=offset)
        return [run_of_record(record, self) for record in records]

    async def pause(self) -> None:
        """Pause the queue: its runs stay ready, and nothing is claimed until `resume`."""
        await self._broker.pause()
        self._announcer.announce("queue_paused")

    async def resume(self) -> None:
        """Let the queue be claimed from again."""
        await self._broker.resume()
        self._announcer.announce("queue_resumed")

    async def replay(self, run_id: str) -> TaskRun[Any]:
        """Give a run another chance: a dead one is ready again as itself, a failed one as a new run.

        Raises `UnknownRunError`, `UniqueRunError`, or `FluidError` when it is neither dead nor failed.
        """
        record = await self._record(run_id)
        if record.state is TaskState.failure:
            run, submission = replay_of(record, self)
            answer = await self._producer.submit(
                [submission], timeout=self._config.queue_timeout, replayed=True
            )
            await self._queued(run, answer.verdicts[0], answer.now, due=False)
            return run
        answered = await self._broker.replay(run_id)
        if answered == "unique":
            raise UniqueRunError(record.task, "another run took its unique key")
        if answered != "replayed":
            raise FluidError(f"run {run_id} is {record.state}: only a dead or a failed run can be replayed")
        return await self.get_run(run_id)

    async def discard(self, run_id: str) -> None:
        """End a dead run `aborted`. Raises `UnknownRunError`, or `FluidError` when it is not dead."""
        record = await self._record(run_id)
        answered = await self._broker.cancel(run_id, only=TaskState.dead, reason="discarded")
        if answered != "ended":
            raise FluidError(f"run {run_id} is {record.state}: only a dead run can be discarded")
        self._announce_ended(record, "discarded")

    async def cancel_run(self, run_id: str) -> bool:
        """Ask that a run ends `aborted`; False when it had ended before."""
        record = await self._record(run_id)
        answered = await self._broker.cancel(run_id)
        if answered == "ended":
            self._announce_ended(record, "cancelled")
        return answered in ("ended", "asked")

    def _announce_ended(self, record: RunRecord, reason: str) -> None:
        if record.state.is_done:
            return
        run = run_of_record(record, self)
        run.state, run.reason = TaskState.aborted, reason
        for name in ("end", "aborted"):
            self._announcer.announce(name, run, reason=reason)

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
        run.queued = run.queued or from_milliseconds(record.queued or outcome.queued)
        add_outcome(run, outcome)

    # -- what a run asks for (RunDoor) -----------------------------------------------------

    async def queue_from(
        self,
        parent: TaskRun[Any],
        task: str | Task,
        priority: TaskPriority | None,
        options: QueueOptions | None,
        params: Mapping[str, Any],
    ) -> TaskRun[Any]:
        """Queue a run that follows `parent`."""
        chosen = options or NO_OPTIONS
        run = self._new_run(task, priority, chosen, params)
        run.from_run_id, run.root_run_id = parent.id, parent.root_run_id or parent.id
        await self._queue_runs([run], chosen)
        return run

    async def result_of(self, run: TaskRun[Any], timeout: float | None) -> Any:
        """What the run's body returned, once it has ended."""
        if run.local:
            if run.state is TaskState.success:
                return run.returned
            raise RunFailedError(run.id, run.name, run.error)
        record = await self._ended(run.id, None if timeout is None else elapsed() + timeout, timeout)
        self._bring_up_to_date(run, record)
        if record.state is TaskState.success:
            return decode_result(decode_outcome(record.outcome))
        kind: type[RunError] = _ENDED_BADLY[record.state]
        raise kind(run.id, run.name, run.error or run.reason)

    async def report_progress(
        self, run: TaskRun[Any], done: float, total: float | None, message: str
    ) -> None:
        """Keep how far the run has come."""
        report = msgspec.json.encode({"done": done, "total": total, "message": message})
        await self._broker.report_progress(run.id, report)


_REFUSALS = {
    QueueUncertainError.reason: "uncertain",
    "broker_unavailable": "unavailable",
    BrokerError.reason: "error",
}
