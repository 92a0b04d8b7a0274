"""A broker that faints, or loses its answers, on command; the server itself stays well."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fluid.errors import DeclarationError
from fluid.scheduler import TaskManager
from fluid.scheduler.broker import AroundCall
from fluid.scheduler.brokers.channel import LostError
from fluid.scheduler.brokers.scripts import SCRIPTS

MOVES = frozenset(script.name for script in SCRIPTS)


@asynccontextmanager
async def fainting(manager: TaskManager) -> AsyncIterator[None]:
    """Within, this manager (or consumer) does not reach its broker.

    Calls under way break, others fail before anything is sent, and everything follows as when a server is
    away: `broker_lost`, tries with back-off, `BrokerUnavailableError`, and `broker_recovered` with the
    first call that succeeds afterwards. Only this manager is struck; and the leases of what it runs are
    still renewed, so that a long faint does not lose a run.
    """

    async def refuse(move: str, attempt: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ARG001 - none is made
        raise LostError("it has fainted, on command", sent=False)

    async with _around(manager, refuse):
        await manager.broker.sever()
        yield


@asynccontextmanager
async def losing_answers(
    manager: TaskManager, move: str = "enqueue", *, count: int | None = None
) -> AsyncIterator[list[str]]:
    """Within, the server carries out this move of the manager's, but the manager is never told.

    The first `count` answers are lost (None: all of them). `move` is a broker's move, such as `enqueue`,
    `claim` or `settle`. Yields the moves whose answers were lost until now.
    """
    if move not in MOVES:
        raise DeclarationError(f"no move {move!r}: expected one of {', '.join(sorted(MOVES))}")
    lost: list[str] = []

    async def lose(called: str, attempt: Callable[[], Awaitable[Any]]) -> Any:
        answer = await attempt()
        if called != move or (count is not None and len(lost) >= count):
            return answer
        lost.append(called)
        raise LostError("its answer was lost, on command", sent=True)

    async with _around(manager, lose):
        yield lost


@asynccontextmanager
async def _around(manager: TaskManager, way: AroundCall) -> AsyncIterator[None]:
    around = manager.broker.listeners.around
    around.append(way)
    try:
        yield
    finally:
        around.remove(way)
