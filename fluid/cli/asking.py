"""`fluid tasks`, `fluid status`, `fluid runs ls` and `show`: questions that change nothing."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, get_args

from fluid.cli.arguments import ListedState
from fluid.cli.faults import CallError
from fluid.cli.target import Named, find_manager, find_queue
from fluid.cli.telling import show_evidence, show_queue, show_runs, show_tasks
from fluid.scheduler import TaskState

LISTED = tuple(TaskState(word) for word in get_args(ListedState))


@dataclass(frozen=True, slots=True)
class Filters:
    """Which runs are meant; empty is any."""

    task: str = ""
    reason: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        if self.since and self.until and self.since > self.until:
            raise CallError("--since is later than --until, so no run can be meant")

    def words(self) -> dict[str, Any]:
        """As a manager is asked with them."""
        return asdict(self)


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
    after: str,
    broker_url: str | None,
    as_json: bool,
) -> int:
    """Show the runs in a state, or in any that is listed."""
    states = LISTED if state is None else (TaskState(state),)

    async def ask() -> int:
        async with find_queue(target, broker_url=broker_url) as manager:
            runs = await manager.list_runs(*states, **filters.words(), limit=limit, after=after)
        show_runs(runs, after=runs.after, as_json=as_json)
        return 0

    return asyncio.run(ask())


def show_run(run_id: str, target: Named | None, *, broker_url: str | None, as_json: bool) -> int:
    """Show all that is kept of a run."""

    async def ask() -> int:
        async with find_queue(target, broker_url=broker_url) as manager:
            show_evidence(await manager.get_evidence(run_id), as_json=as_json)
        return 0

    return asyncio.run(ask())
