"""`fluid runs replay`, `discard`, `cancel`, and `fluid cancel`, `pause`, `resume`: what a person decides."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fluid.cli.faults import CallError
from fluid.cli.showing import complain, show_json, show_line
from fluid.cli.target import Named, find_queue
from fluid.errors import BrokerError, FluidError
from fluid.scheduler import TaskManager, TaskState

PAGE = 10_000
"""Runs that are looked up in one go, where all are meant."""


def replay(
    run_ids: Sequence[str],
    target: Named | None,
    *,
    every: bool,
    state: str | None,
    task: str,
    broker_url: str | None,
    as_json: bool,
) -> int:
    """Replay these runs, or `every` one in a state and of a task; 1 when one of them could not be."""
    if every and (run_ids or state is None):
        raise CallError("--all goes with --state, and without ids")
    if not every and (state or task or not run_ids):
        raise CallError("name runs by their ids, or all in a state: --all --state dead")
    answers: list[dict[str, Any]] = []

    async def replay_one(manager: TaskManager, run_id: str) -> None:
        run = await manager.replay(run_id)
        answers.append({"id": run_id, "run": run.summary()})
        if not as_json:
            show_line(run_id if run.id == run_id else f"{run_id} as {run.id}")

    async def decide() -> int:
        async with find_queue(target, broker_url=broker_url) as manager:
            meant = run_ids if state is None else await _ids_in(manager, TaskState(state), task)
            return await _each(manager, meant, replay_one)

    code = asyncio.run(decide())
    if as_json:
        show_json(answers)
    return code


def discard(run_ids: Sequence[str], target: Named | None, *, broker_url: str | None) -> int:
    """Discard runs; 1 when one of them could not be."""

    async def discard_one(manager: TaskManager, run_id: str) -> None:
        await manager.discard(run_id)
        show_line(run_id)

    async def decide() -> int:
        async with find_queue(target, broker_url=broker_url) as manager:
            return await _each(manager, run_ids, discard_one)

    return asyncio.run(decide())


def cancel(run_id: str, target: Named | None, *, broker_url: str | None) -> int:
    """Cancel a run; 1 when it had ended before."""

    async def decide() -> int:
        async with find_queue(target, broker_url=broker_url) as manager:
            asked = await manager.cancel_run(run_id)
            run = await manager.get_run(run_id)
        if not asked:
            raise FluidError(f"run {run_id} had ended before: {run.state}")
        show_line(str(run.state) if run.is_done else f"{run.state}; its consumer was told")
        return 0

    return asyncio.run(decide())


def pause(task: str, target: Named | None, *, broker_url: str | None, as_json: bool) -> int:
    """Pause the queue, or one task."""
    return asyncio.run(_set_paused(task, target, True, broker_url, as_json))


def resume(task: str, target: Named | None, *, broker_url: str | None, as_json: bool) -> int:
    """Resume the queue, or one task."""
    return asyncio.run(_set_paused(task, target, False, broker_url, as_json))


async def _set_paused(
    task: str, target: Named | None, paused: bool, broker_url: str | None, as_json: bool
) -> int:
    async with find_queue(target, broker_url=broker_url) as manager:
        await (manager.pause(task) if paused else manager.resume(task))
        queue = manager.broker.queue
    if as_json:
        show_json({"queue": queue, "task": task or None, "paused": paused})
    elif task:
        show_line(f"task {task} in queue {queue} is {'paused: its runs are held' if paused else 'resumed'}")
    else:
        show_line(f"queue {queue} is {'paused: nothing is claimed' if paused else 'resumed'}")
    return 0


async def _ids_in(manager: TaskManager, state: TaskState, task: str) -> list[str]:
    """All of them, before one is decided about: a run that goes wrong again meanwhile is not meant."""
    found: dict[str, None] = {}
    offset = 0
    while page := await manager.list_runs(state, task=task, limit=PAGE, offset=offset):
        offset += len(page)
        found.update((run.id, None) for run in page)
    return list(found)


async def _each(
    manager: TaskManager, run_ids: Sequence[str], decide: Callable[[TaskManager, str], Awaitable[None]]
) -> int:
    """Decide one by one: a run that refuses stops no other, a broker that is away stops all."""
    code = 0
    for run_id in run_ids:
        try:
            await decide(manager, run_id)
        except BrokerError:
            raise
        except FluidError as error:
            complain(str(error))
            code = 1
    return code
