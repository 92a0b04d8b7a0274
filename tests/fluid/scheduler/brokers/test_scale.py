"""What a move costs does not depend on how many runs wait: commands are counted, never seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest
from redis import Redis

from fluid.scheduler.brokers.listing import LOOKS_AT_ONCE
from fluid.scheduler.moves import Claim, Kind
from fluid.scheduler.states import TaskPriority, TaskState
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
        "sweep": lambda: desk.broker.sweep(interval=0.0),
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


FEW_DEAD, MANY_DEAD = 3_000, 20_000


async def settle_all(desk: Desk, kind: Kind, reason: str) -> None:
    while runs := await desk.take(500):
        told = [outcome(run, kind, reason=reason, ttl=LONG) for run in runs]
        assert all((await desk.broker.settle(told)).accepted)


async def dead(desk: Desk, start: int, end: int) -> None:
    """Dead runs, one in a thousand of another task and for another reason, in the order of their numbers."""
    for first in range(start, end, 1000):
        await desk.submit(*(submission(f"run-{n}") for n in range(first, first + 999)))
        await settle_all(desk, Kind.dead, "lost_too_often")
        await desk.queue(f"run-{first + 999}", task="rare")
        await settle_all(desk, Kind.dead, "unreadable")
    desk.date("dead_m", {f"run-{n}": 1000 * n for n in range(start, end)})


@contextmanager
def calls_of(desk: Desk) -> Iterator[Counter[str]]:
    """The round trips of the desk, by their move."""
    calls: Counter[str] = Counter()

    def count(move: str, _seconds: float, _kind: str) -> None:
        calls[move] += 1

    desk.broker.listeners.command.append(count)
    yield calls
    desk.broker.listeners.command.remove(count)


async def test_a_page_of_many_costs_what_one_of_few_does(desk: Desk) -> None:
    async def newest() -> None:
        listed = await desk.broker.list_runs(TaskState.dead, limit=20)
        assert [run.id for run in listed] == [f"run-{size - 1 - n}" for n in range(20)]

    async def of_a_time() -> None:
        listed = await desk.broker.list_runs(TaskState.dead, since=100_000, until=119_000, limit=20)
        assert [run.id for run in listed] == [f"run-{119 - n}" for n in range(20)]

    async def of_a_task_and_reason() -> None:
        listed = await desk.broker.list_runs(TaskState.dead, task="rare", reason="unreadable", limit=1)
        assert [run.id for run in listed] == [f"run-{size - 1}"]

    pages = (newest, of_a_time, of_a_task_and_reason)
    costs = {}
    with desk.own.server.client() as client:
        filled = 0
        for size in (FEW_DEAD, MANY_DEAD):
            await dead(desk, filled, size)
            filled = size
            for page in pages:
                await page()  # a script that is new to the server costs a call more
            costs[size] = [await cost(client, page) for page in pages]
    assert costs[MANY_DEAD] == costs[FEW_DEAD]
    # a list of each priority, and a look at each run that is listed and at the one that comes after
    assert max(sum(commands.values()) for commands in costs[FEW_DEAD]) <= 3 * 2 + 20 + 1


async def test_what_is_rare_among_many_is_found_by_looking_at_a_thousand_at_a_time(desk: Desk) -> None:
    await dead(desk, 0, MANY_DEAD)
    looks = MANY_DEAD // LOOKS_AT_ONCE
    rare = [f"run-{n}" for n in range(MANY_DEAD - 1, 0, -1000)]
    with desk.own.server.client() as client:

        async def find() -> None:
            with calls_of(desk) as calls:
                found = await desk.broker.list_runs(
                    TaskState.dead, task="rare", reason="unreadable", limit=100
                )
            assert ([run.id for run in found], found.after) == (rare, "")
            # and one more look, at nothing, for an end that is on the edge
            assert calls == {"list": looks + 1 + 2}

        await find()
        commands = await cost(client, find)
    assert commands["hgetall"] == len(rare)
    assert sum(commands.values()) <= 2 * (looks + 3) + len(rare)
    with calls_of(desk) as calls:
        assert await desk.broker.list_runs(TaskState.dead, reason="unheard_of") == []
    assert calls == {"list": looks + 1 + 2}


@pytest.mark.parametrize(("until", "before"), [(None, 15_000), (1000.0 * 10_009, 5_000)])
async def test_a_page_costs_the_same_wherever_it_begins(desk: Desk, until: float | None, before: int) -> None:
    await dead(desk, 0, MANY_DEAD)
    newest = MANY_DEAD - 1 if until is None else 10_009
    skipped = await desk.broker.list_runs(TaskState.dead, limit=before, until=until)
    assert len(skipped) == before
    with calls_of(desk) as calls:
        page = await desk.broker.list_runs(TaskState.dead, limit=10, until=until, after=skipped.after)
    assert [run.id for run in page] == [f"run-{newest - before - n}" for n in range(10)]
    assert calls == {"list": 1}


async def test_held_runs_of_one_task_are_listed_without_a_look_at_others(desk: Desk) -> None:
    await desk.broker.pause("greet")
    await desk.broker.pause("mail")
    await desk.queue("mail-1", "mail-2", task="mail")
    assert await desk.take(1) == []
    await fill(desk, 0, MANY_DEAD)
    while (await desk.balanced()).ready:
        assert await desk.take(500) == []
    with calls_of(desk) as calls:
        listed = await desk.broker.list_runs(TaskState.held, task="mail")
    assert [run.id for run in listed] == ["mail-1", "mail-2"]
    assert calls == {"list": 3}


async def test_running_runs_are_listed_without_a_look_at_those_that_wait(desk: Desk) -> None:
    await fill(desk, 0, FEW_DEAD)
    running = ids(await desk.take(5))
    with calls_of(desk) as calls:
        listed = await desk.broker.list_runs(TaskState.running, task="greet")
    assert [run.id for run in listed] == running
    assert calls == {"list": 12}


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
