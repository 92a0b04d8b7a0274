"""`fluid tasks`, `fluid status`, `fluid runs ls` and `show`: questions that change nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import get_args

from fluid.cli.arguments import ListedState
from fluid.cli.target import Named, find_manager, find_queue
from fluid.cli.telling import show_evidence, show_queue, show_runs, show_tasks
from fluid.scheduler import TaskState

LISTED = tuple(TaskState(word) for word in get_args(ListedState))


@dataclass(frozen=True, slots=True)
class Filters:
    """Which runs are meant; empty is any. Instants are in the time of this machine."""

    task: str = ""
    reason: str = ""
    since: datetime | None = None
    until: datetime | None = None


def tasks(target: Named, *, as_json: bool) -> int:
    """Show the tasks that a manager knows."""
    show_tasks(list(find_manager(target).registry.values()), as_json=as_json)
    return 0


def status(target: Named | None, *, broker_url: str | None, as_json: bool) -> int:
    """Show the queue."""

    async def ask() -> int:
        async with find_queue(target, broker_url=broker_url) as manager:
            await show_queue(manager.broker, as_json=as_json)
        return 0

    return asyncio.run(ask())


def list_runs(
    state: str | None,
    target: Named | None,
    filters: Filters,
    *,
    limit: int,
    offset: int,
    broker_url: str | None,
    as_json: bool,
) -> int:
    """Show the runs in a state, or in any that is listed."""
    states = LISTED if state is None else (TaskState(state),)

    async def ask() -> int:
        async with find_queue(target, broker_url=broker_url) as manager:
            runs = await manager.list_runs(
                *states,
                task=filters.task,
                reason=filters.reason,
                since=_aware(filters.since),
                until=_aware(filters.until),
                limit=limit + 1,  # to know whether there are more
                offset=offset,
            )
        more = f"there are more: --offset {offset + limit}" if len(runs) > limit else ""
        show_runs(runs[:limit], as_json=as_json, more=more)
        return 0

    return asyncio.run(ask())


def show_run(run_id: str, target: Named | None, *, broker_url: str | None, as_json: bool) -> int:
    """Show all that is kept of a run."""

    async def ask() -> int:
        async with find_queue(target, broker_url=broker_url) as manager:
            show_evidence(await manager.get_evidence(run_id), as_json=as_json)
        return 0

    return asyncio.run(ask())


def _aware(instant: datetime | None) -> datetime | None:
    return instant.astimezone() if instant else None
