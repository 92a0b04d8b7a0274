"""A queue run until nothing is left to do, so that a test can look at what became of it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from fluid.errors import BrokerUnavailableError
from fluid.scheduler import Snapshot, Task, TaskConsumer, TaskManager, TaskRun, TaskState
from fluid.scheduler.settling import Settling
from fluid.scheduler.sync_queue import SyncQueue
from fluid.testing.recorder import Recorder
from fluid.testing.waiting import PATIENCE

LOOK_SECONDS = 0.05
"""How soon to look again when nothing was announced here: other processes may have done something."""

MOST_SHOWN = 5
MOST_MADE_DUE = 100_000

_NEVER_CLAIMED = ("unknown_task", "newer_message")
_LEFT_IN = {
    "ready": TaskState.queued,
    "running": TaskState.running,
    "held": TaskState.held,
    "scheduled": TaskState.scheduled,
}


async def make_due(manager: TaskManager, task: Task | str = "") -> int:
    """Make scheduled runs (of one task) due now, whatever they wait for; how many these were.

    A run waits for its delay, for its next attempt, or for its turn when its task has a rate. No clock
    is turned: their due time is changed where it is kept, and the server's own clock then finds them due.
    """
    name = task.name if isinstance(task, Task) else task
    waiting = await manager.list_runs(TaskState.scheduled, task=name, limit=MOST_MADE_DUE)
    return await manager.broker.hasten([run.id for run in waiting])


async def run_until_idle(
    consumer: TaskConsumer, *, scheduled_too: bool = False, timeout: float = PATIENCE
) -> list[TaskRun[Any]]:
    """Run the consumer until nothing is ready, running or due; the runs that ended here, in order.

    Then it is stopped gracefully; one that ran before goes on running. Runs that they queued are waited
    for as well, and async handlers have been told everything. Runs that are scheduled for later stay
    where they are; with `scheduled_too` they are made due whenever nothing else is left.
    AssertionError, which names what is left, after `timeout` seconds, or at once for what this consumer
    can never run.
    """
    heard = Recorder(consumer)
    try:
        async with contextlib.AsyncExitStack() as life:
            if not consumer.is_running():
                await life.enter_async_context(consumer)
            try:
                async with asyncio.timeout(timeout):
                    await _until_idle(consumer, heard, scheduled_too)
            except TimeoutError:
                left = await _what_is_left(consumer)
                raise AssertionError(f"not idle after {timeout:g} s: {left}\n{heard.account()}") from None
    finally:
        heard.leave(consumer)
    return [event.run for event in heard.events if event.name in ("end", "dead") and event.run]


async def _until_idle(consumer: TaskConsumer, heard: Recorder, scheduled_too: bool) -> None:
    while True:
        told = len(heard.events)
        snapshot = await _seen(consumer)
        # what was announced meanwhile may have brought something new
        if snapshot is not None and not _busy_here(consumer) and told == len(heard.events):
            if snapshot.held:
                await _refuse_what_cannot_run(consumer)
            elif _idle(snapshot) and not (scheduled_too and await make_due(consumer)):
                return
        if not consumer.is_running():
            raise AssertionError(f"the consumer stopped by itself: {consumer.exit_reason or consumer.error}")
        if told == len(heard.events):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(heard.wait_for_change(), LOOK_SECONDS)


async def _seen(consumer: TaskConsumer) -> Snapshot | None:
    """The queue; None when there is no need to look, or while the broker is away."""
    if _busy_here(consumer):
        return None
    try:
        return await consumer.broker.snapshot()
    except BrokerUnavailableError:
        return None


def _idle(snapshot: Snapshot) -> bool:
    """Nothing can be claimed now; a scheduled run that is overdue makes the oldest one old."""
    return not (snapshot.ready or snapshot.running or any(snapshot.oldest_ready_age.values()))


def _busy_here(consumer: TaskConsumer) -> str:
    """What this consumer itself is still about; an empty word when that is nothing."""
    if consumer.num_concurrent_tasks:
        return f"{consumer.num_concurrent_tasks} bodies run here"
    for worker in consumer.workers:
        if isinstance(worker, Settling | SyncQueue) and worker.backlog:
            return f"{worker.backlog} runs wait in {worker.worker_name}"
    for one in consumer.handler_statistics():
        if one.queue_size or one.in_hand:
            return f"handler {one.event}.{one.handler} has {one.queue_size + one.in_hand} events to take"
    return ""


async def _refuse_what_cannot_run(consumer: TaskConsumer) -> None:
    for reason in _NEVER_CLAIMED:
        held = await consumer.list_runs(TaskState.held, reason=reason, limit=MOST_SHOWN)
        strangers = sorted(
            {run.name for run in held if reason != "unknown_task" or run.name not in consumer.registry}
        )
        if strangers:
            known = ", ".join(sorted(consumer.registry)) or "none"
            raise AssertionError(
                f"this consumer cannot run {', '.join(strangers)} ({reason}), and so never becomes idle; "
                f"tasks registered here: {known}"
            )


async def _what_is_left(consumer: TaskConsumer) -> str:
    try:
        snapshot = await consumer.broker.snapshot()
        listed = [
            (where, await consumer.list_runs(state, limit=MOST_SHOWN)) for where, state in _LEFT_IN.items()
        ]
    except BrokerUnavailableError as error:
        return f"the broker cannot be asked: {error}"
    counts = [(where, getattr(snapshot, where)) for where in _LEFT_IN]
    words = [f"{count} {where}" for where, count in counts if count]
    words += ["the queue is paused"] if snapshot.paused else []
    words += [f"task {task} is paused" for task in snapshot.paused_tasks]
    words += [_busy_here(consumer)]
    lines = [f"  {where}: {run.name} {run.id} {run.reason}" for where, runs in listed for run in runs]
    return "\n".join([", ".join(filter(None, words)) or "it became so just now", *map(str.rstrip, lines)])
