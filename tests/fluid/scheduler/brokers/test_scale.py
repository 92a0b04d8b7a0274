"""What a move costs does not depend on how many runs wait: commands are counted, never seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis import Redis

from fluid.scheduler.moves import Claim, Kind
from fluid.scheduler.states import TaskPriority
from tests.fluid.scheduler.brokers.desk import LONG, Desk, desk_at, ids, outcome, submission
from tests.support.queues import OwnQueue
from tests.support.servers import Flavour, RedisServer

FEW, MANY = 1_000, 1_000_000
BATCHES = 10_000

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
async def desk(flavour: Flavour) -> AsyncIterator[Desk]:
    """A queue on a server of its own, whose commands can be counted."""
    with RedisServer(flavour) as server:
        async with desk_at(server.queue_url("scale"), OwnQueue(server, "scale")) as desk:
            yield desk


async def fill(desk: Desk, start: int, end: int) -> None:
    """Ready runs of medium priority, in a producer's batches."""
    for first in range(start, end, BATCHES):
        await desk.submit(*(submission(f"run-{n}") for n in range(first, min(end, first + BATCHES))))


async def cost(client: Redis, move: Callable[[], Awaitable[object]]) -> Counter[str]:
    """The commands that a move makes the server carry out, inside scripts too."""
    client.config_resetstat()
    await move()
    stats = client.info("commandstats")
    return Counter(
        {
            name.removeprefix("cmdstat_"): told["calls"]
            for name, told in stats.items()
            if not name.startswith(("cmdstat_config", "cmdstat_info"))
        }
    )


async def test_a_million_ready_runs_cost_no_more_than_a_thousand(desk: Desk) -> None:
    claims: list[Claim] = []

    async def claim() -> None:
        claims.append(await desk.claim(10))

    async def settle() -> None:
        told = await desk.broker.settle([outcome(run) for run in claims.pop().runs])
        assert told.accepted == [True] * 10

    async def queue() -> None:
        await desk.queue(f"one-more-{client.xlen(desk.keys['stream_rm'])}")

    moves: dict[str, Callable[[], Awaitable[object]]] = {
        "snapshot": desk.balanced,
        "claim": claim,
        "settle": settle,
        "queue": queue,
        "show": lambda: desk.state("run-500"),
        "rescue": desk.rescue,
    }
    costs: dict[int, dict[str, Counter[str]]] = {}
    with desk.own.server.client() as client:
        await fill(desk, 0, 20)
        for move in moves.values():
            await move()
        filled = 20
        for size in (FEW, MANY):
            await fill(desk, filled, size)
            filled = size
            costs[size] = {name: await cost(client, move) for name, move in moves.items()}
    snapshot = await desk.balanced()
    assert (snapshot.books.accepted, snapshot.books.success) == (MANY + 3, 30)
    assert costs[MANY] == costs[FEW]
    assert all(sum(commands.values()) > 0 for commands in costs[FEW].values())


async def test_what_is_not_ready_costs_a_claim_and_a_snapshot_nothing(desk: Desk) -> None:
    async def claim() -> None:
        assert ids(await desk.take(1)) == []

    async def costs() -> list[Counter[str]]:
        return [await cost(client, move) for move in (claim, desk.balanced)]

    async def aside(start: int, end: int) -> None:
        await desk.submit(*(submission(f"later-{n}", delay=LONG) for n in range(start, end)))
        await desk.submit(*(submission(f"held-{n}") for n in range(start, end)))
        while runs := await desk.take(500):
            told = [outcome(run, Kind.held, reason="unknown_task") for run in runs]
            await desk.broker.settle(told)

    with desk.own.server.client() as client:
        await aside(0, 100)
        await costs()
        few = await costs()
        await aside(100, 10_000)
        assert await costs() == few
    snapshot = await desk.balanced()
    assert (snapshot.held, snapshot.scheduled) == (10_000, 10_000)


async def test_memory_is_bounded_by_what_is_open(desk: Desk) -> None:
    async def pass_through(count: int) -> None:
        await fill(desk, 0, count)
        while runs := await desk.take(500):
            await desk.broker.settle([outcome(run, ttl=0.001) for run in runs])
        await desk.expired("run-0", f"run-{count - 1}")

    with desk.own.server.client() as client:
        sizes = []
        for count in (2_000, 10_000, 40_000):
            await pass_through(count)
            # what has expired goes when it is looked at, or little by little
            for key in desk.own.keys(client):
                client.exists(key)
            sizes.append({key: client.memory_usage(key) for key in desk.own.keys(client)})
    assert desk.own.leaks() == []
    totals = [sum(size.values()) for size in sizes]
    assert max(totals) < 32_768, totals
    snapshot = await desk.balanced()
    assert (snapshot.books.success, snapshot.ready) == (52_000, 0)


@pytest.mark.parametrize("priority", TaskPriority)
async def test_counts_are_exact_with_many_holes(desk: Desk, priority: TaskPriority) -> None:
    await desk.queue(*(f"run-{n}" for n in range(2_000)), priority=priority)
    runs = await desk.take(500)
    told = await desk.broker.settle([outcome(run) for run in runs[::3]])
    assert all(told.accepted)
    for n in range(500, 2_000, 50):
        assert await desk.broker.cancel(f"run-{n}") == "ended"
    snapshot = await desk.balanced()
    depths = snapshot.by_priority[priority]
    assert (depths.ready, depths.running) == (1_470, 333)
