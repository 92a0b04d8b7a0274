"""The producer's door: a manager queues runs and asks about them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from fluid.clock import elapsed
from fluid.errors import FluidError, RunDeadError, UniqueRunError
from fluid.scheduler.batches import MAX_RUNS
from fluid.scheduler.being_queued import BeingQueued, UntilTold
from fluid.scheduler.deciding import Deciding
from fluid.scheduler.history import run_of_record
from fluid.scheduler.interceptors import around_queueing, around_queueing_of_others
from fluid.scheduler.local import execute_here
from fluid.scheduler.moves import Acceptance, Refusal, RunRecord, Submission
from fluid.scheduler.options import NO_OPTIONS, QueueOptions
from fluid.scheduler.producing import Producer, parts, refusal_of, stopped_at
from fluid.scheduler.run import TaskRun
from fluid.scheduler.states import TaskPriority, TaskState
from fluid.scheduler.submitting import new_run, submission_of
from fluid.scheduler.sync_queue import Handed, SyncQueue
from fluid.scheduler.task import Task
from fluid.settings import TaskManagerConfig

logger = logging.getLogger("fluid")


class TaskManager(Deciding):
    """Queues runs, and asks about them.

    Settings are keywords, or `FLUID_*` variables; see `TaskManagerConfig`. It reaches for the broker
    when it first has to, so a web process starts whether or not the broker is there. Async handlers
    are told of events while it is open: `async with manager:`.
    """

    def __init__(self, *, config: TaskManagerConfig | None = None, name: str = "", **settings: Any) -> None:
        super().__init__(config=config, name=name, **settings)
        self._producer = Producer(self._broker)
        self._being_queued = BeingQueued()
        self._sync_queue = SyncQueue(self._queue_made, together=MAX_RUNS)
        self.add_workers(self._sync_queue)

    async def on_startup(self) -> None:
        """Take calls, also after an earlier stop."""
        await super().on_startup()
        self._producer.open()

    async def on_shutdown(self) -> None:
        """Flush what waits to be queued, then close."""
        # whoever queues has been told by then, so there is nobody left to wait for
        deadline = elapsed() + self._config.queue_timeout + 0.5
        try:
            await self._under_way.close(deadline)
            await self._producer.close(deadline)
        finally:
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

        A run that was made by `create_task_run` is queued as it is, so only `options` go with it. With
        `when_taken="join"` the run that has the unique key is given back instead.

        Raises `UnknownTaskError`, `InvalidParamsError` or `PayloadTooLargeError` before anything is sent,
        `UniqueRunError`, `BrokerUnavailableError` (not queued) or `QueueUncertainError` (perhaps queued).
        """
        chosen = options or NO_OPTIONS
        if isinstance(task, TaskRun):
            _refuse_extras(task, priority, chosen, params)
            return await self._queue_one(task, chosen)
        return await self._queue_one(self._new_run(task, priority, chosen, params), chosen)

    async def queue_many(
        self,
        task: str | Task,
        params: Sequence[Mapping[str, Any]],
        priority: TaskPriority | None = None,
        options: QueueOptions | None = None,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[TaskRun[Any]]:
        """Queue a run for each of these parameters, in order, in a round trip for each 500 of them, or 4 MiB.

        `progress` is called after each round trip, with how many are done and how many there are. A run whose
        task is `unique` and whose key is taken stays in `init`, with the reason `unique`.

        Raises what `queue` raises. When some of the runs are queued, or may be, that is
        `PartlyQueuedError` or `QueueUncertainError`, which tell which ones.
        """
        chosen = options or NO_OPTIONS
        if chosen.run_id or chosen.unique_key or chosen.when_taken != "reject":
            raise FluidError("queue_many gives every run an id and a key of its own: use queue")
        runs = [self._new_run(task, priority, chosen, one) for one in params]
        with around_queueing(self._interceptors, runs):
            written = self._written(runs, chosen)
            for start, end in parts(written):
                try:
                    await self._submit(runs[start:end], written[start:end])
                except Exception as error:
                    if (stopped := stopped_at(error, runs, start, end)) is not None:
                        raise stopped from error
                    raise
                if progress is not None:
                    progress(end, len(runs))
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

    async def _queue_made(self, handed: list[Handed]) -> None:
        """Queue runs whose callers have gone; taken out is what is queued, or never can be, which is said."""
        with around_queueing_of_others(self._interceptors, handed):
            written: dict[TaskRun[Any], Submission] = {}
            for run, _ in handed:
                try:
                    [written[run]] = self._written([run], NO_OPTIONS)
                except FluidError as error:
                    logger.error("a run of %s cannot be queued: %s", run.name, error)
            handed[:] = [one for one in handed if one[0] in written]
            runs, submissions = [*written], [*written.values()]
            for start, end in parts(submissions):
                owners = await self._submit(runs[start:end], submissions[start:end])
                for run, owner in zip(runs[start:end], owners, strict=True):
                    del written[run]
                    if owner:
                        taken = UniqueRunError(run.name, owner)
                        logger.error("a run of %s cannot be queued: %s", run.name, taken)
                handed[:] = [one for one in handed if one[0] in written]

    async def _queue_one(self, run: TaskRun[Any], options: QueueOptions) -> TaskRun[Any]:
        joined: RunRecord | None = None

        async def lets_go(owner: str) -> bool:
            nonlocal joined
            if options.when_taken == "join":
                joined = await self._broker.get_run(owner)
                return joined is None
            return options.when_taken == "replace" and await self._make_way(owner)

        with around_queueing(self._interceptors, [run]):
            [owner] = await self._submit([run], self._written([run], options), lets_go=lets_go)
        if joined is not None:
            return run_of_record(joined, self)
        if owner:
            raise UniqueRunError(run.name, owner)
        return run

    def _written(self, runs: Sequence[TaskRun[Any]], options: QueueOptions) -> list[Submission]:
        """These runs as the broker is given them; all are refused when one of them cannot be written."""
        try:
            return [submission_of(run, self._registry.get(run.name), options) for run in runs]
        except Exception as error:
            for run in runs:
                self._announcer.announce("queue", run)
            self._tell(runs, error)
            raise

    async def _submit(
        self,
        runs: Sequence[TaskRun[Any]],
        written: Sequence[Submission],
        *,
        lets_go: Callable[[str], Awaitable[bool]] | None = None,
    ) -> list[str]:
        """Queue these; for each one, the run that has its unique key, or an empty word.

        `lets_go` is asked whether that run has let go of it meanwhile; then a single run is tried again.
        """
        with self._being_queued.these(runs) as until_told:
            for run in runs:
                self._announcer.announce("queue", run)
            try:
                call = self._producer.send(written, timeout=self._config.queue_timeout)
                try:
                    answer = await call.answer
                except asyncio.CancelledError:
                    call.forsake(partial(self._tell_of_forsaken, runs, until_told.hand_over()))
                    raise
            except Exception as error:
                self._tell(runs, error)
                raise
            if lets_go is None or not _owner(answer.verdicts[0]):
                self._tell(runs, answer)
            else:
                # whoever gave up after it had ended a run for this one would leave none open
                trying = self._try_again(runs, written, answer, lets_go, until_told.hand_over())
                answer = await self._under_way.finish(trying)
        if not any(answer.verdicts):
            return [""] * len(runs)
        both = zip(runs, answer.verdicts, strict=True)
        return [await self._owner_of_key(run, verdict) for run, verdict in both]

    async def _try_again(
        self,
        runs: Sequence[TaskRun[Any]],
        written: Sequence[Submission],
        answer: Acceptance,
        lets_go: Callable[[str], Awaitable[bool]],
        until_told: UntilTold,
    ) -> Acceptance:
        """Queue a run whose key is taken, as long as the one that has it lets go of it."""
        with until_told:
            try:
                while (owner := _owner(answer.verdicts[0])) and await lets_go(owner):
                    call = self._producer.send(written, timeout=self._config.queue_timeout)
                    answer = await call.answer
            except Exception as error:
                self._tell(runs, error)
                raise
            self._tell(runs, answer)
            return answer

    def _tell_of_forsaken(
        self,
        runs: Sequence[TaskRun[Any]],
        until_told: UntilTold,
        known: Acceptance | BaseException,
    ) -> None:
        with until_told:
            self._tell(runs, known)

    def _tell(self, runs: Sequence[TaskRun[Any]], known: Acceptance | BaseException) -> None:
        """Tell what became of these: the broker's answer, or why there is none."""
        if isinstance(known, BaseException):
            for run in runs:
                self._announcer.announce("refused", run, reason=refusal_of(known))
            return
        for run, verdict, later in zip(runs, known.verdicts, known.scheduled, strict=True):
            if verdict is None:
                run.queued_at, run.reason = known.now, ""
                run.move(TaskState.scheduled if later else TaskState.queued)
                self._announcer.announce(str(run.state), run)
            else:
                run.reason = verdict.reason
                self._announcer.announce("refused", run, reason=verdict.reason)

    async def _owner_of_key(self, run: TaskRun[Any], verdict: Refusal | None) -> str:
        """The run that has its unique key, or an empty word. One queued before is brought up to date."""
        owner = _owner(verdict)
        if verdict is not None and not owner:
            record = await self._broker.get_run(run.id)
            if record is not None:
                self._bring_up_to_date(run, record)
        return owner

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
        return await self._queue_one(run, chosen)


def _owner(verdict: Refusal | None) -> str:
    """The run that has the unique key, if that is why a run was refused."""
    return verdict.run_id if verdict is not None and verdict.reason == "unique" else ""


def _refuse_extras(
    run: TaskRun[Any], priority: TaskPriority | None, options: QueueOptions, params: Mapping[str, Any]
) -> None:
    """What was settled when the run was made cannot be given once more."""
    extras = list(params)
    if priority is not None:
        extras.append("priority")
    if options.run_id not in (None, run.id):
        extras.append("options.run_id")
    if extras:
        raise FluidError(
            f"run {run.id} of task {run.name!r} is made already and is queued as it is: give "
            f"{', '.join(extras)} to create_task_run, or queue the task instead of a run"
        )
