"""`fluid runs replay`, `discard`, `cancel`, and `fluid cancel`, `pause`, `resume`: what a person decides."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from fluid.cli.asking import Filters
from fluid.cli.faults import CallError
from fluid.cli.showing import complain, note, show_json, show_line
from fluid.cli.target import Named, find_queue
from fluid.errors import BrokerError, FluidError
from fluid.scheduler import TaskRun, TaskState
from fluid.scheduler.deciding import Decided

T = TypeVar("T")

SAID_EVERY = 1_000
"""Runs after which it is said how far it has come, where nobody sees them one by one."""


def replay(
    run_ids: Sequence[str],
    target: Named | None,
    *,
    every: bool,
    state: str | None,
    filters: Filters,
    broker_url: str | None,
    as_json: bool,
) -> int:
    """Replay these runs, or `every` one in a state that the filters name; 1 when one of them could not be."""
    if every and (run_ids or state is None):
        raise CallError("--all goes with --state, and without ids")
    if not every and (state or filters != Filters() or not run_ids):
        raise CallError("name runs by their ids, or all in a state: --all --state dead")
    answers: list[dict[str, Any]] = []

    def tell(run_id: str, run: TaskRun[Any]) -> None:
        answers.append({"id": run_id, "run": run.summary()})
        if not as_json:
            show_line(run_id if run.id == run_id else f"{run_id} as {run.id}")

    async def decide() -> int:
        async with find_queue(target, broker_url=broker_url) as manager:
            if state is None:
                return await _each(run_ids, manager.replay, tell)
            return await _all(manager.replay_all(TaskState(state), **filters.words()), tell)

    try:
        return asyncio.run(decide())
    finally:
        if as_json:
            show_json(answers)


def discard(
    run_ids: Sequence[str], target: Named | None, *, every: bool, filters: Filters, broker_url: str | None
) -> int:
    """Discard these runs, or `every` dead one that the filters name; 1 when one of them could not be."""
    if every is bool(run_ids) or (filters != Filters() and not every):
        raise CallError("name runs by their ids, or all dead ones by --all, with or without filters")

    def tell(run_id: str, _: object) -> None:
        show_line(run_id)

    async def decide() -> int:
        async with find_queue(target, broker_url=broker_url) as manager:
            if every:
                return await _all(manager.discard_all(**filters.words()), tell)
            return await _each(run_ids, manager.discard, tell)

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


async def _each(
    run_ids: Sequence[str], decide: Callable[[str], Awaitable[T]], tell: Callable[[str, T], None]
) -> int:
    """Decide one by one: a run that refuses stops no other, a broker that is away stops all."""
    code = 0
    for run_id in run_ids:
        try:
            tell(run_id, await decide(run_id))
        except BrokerError:
            raise
        except FluidError as error:
            complain(str(error))
            code = 1
    return code


async def _all(decisions: AsyncGenerator[Decided], tell: Callable[[str, TaskRun[Any]], None]) -> int:
    """Decide about many, and say how far it has come, most of all when it does not come to the end."""
    code, told = 0, 0
    try:
        async with aclosing(decisions):
            async for one in decisions:
                if one.run is None:
                    complain(str(one.error))
                    code = 1
                    continue
                tell(one.id, one.run)
                told += 1
                if told % SAID_EVERY == 0 and not sys.stdout.isatty():
                    note(f"{told:,} so far")
    except (BrokerError, OSError, asyncio.CancelledError):
        complain(f"stopped after {told:,}: the same command goes on with the rest")
        raise
    return code
