"""Limits are the whole fleet's: no consumer starts what all of them together may not."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from fluid.scheduler import Event, QueueOptions, Task, TaskConsumer, TaskPriority, TaskRun, TaskState, task
from fluid.testing import Recorder
from tests.fluid.scheduler.consuming import Gate, consuming, eventually, reasons

PLACES = 3
RUNS = 30


class Body:
    """What is in its place now, by key, and what was at most; and in which order it came."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.inside: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.order: list[str] = []

    async def __call__(self, ctx: TaskRun) -> None:
        key = ctx.params.get("key", "")
        self.order.append(ctx.id)
        self.inside[key] += 1
        self.most[key] = max(self.most[key], self.inside[key])
        await self.gate.wait()
        self.inside[key] -= 1


def limited(body: Body, places: int = PLACES) -> Task:
    """A task with so many places."""

    @task("limited", max_concurrency=places)
    async def run(ctx: TaskRun) -> None:
        await body(ctx)

    return run


Fleet = Sequence[tuple[TaskConsumer, Recorder]]


@asynccontextmanager
async def fleet_of(url: str, *tasks: Task) -> AsyncIterator[Fleet]:
    """Three consumers with room for everything."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(consuming(url, *tasks)) for _ in range(3)]


def told(fleet: Fleet, event: str) -> list[Event]:
    """What all of them announced."""
    return [one for _, heard in fleet for one in heard.of(event)]


async def ended(fleet: Fleet, count: int) -> None:
    """Until so many runs have succeeded, and the books agree."""
    await eventually(lambda: len(told(fleet, "success")) == count, f"{count} runs to end")
    books = (await fleet[0][0].broker.snapshot()).books
    assert (books.accepted, books.success, books.unaccounted) == (count, count, 0)


async def test_no_more_runs_of_a_task_run_at_once_than_the_fleet_may(broker_url: str) -> None:
    body = Body()
    async with fleet_of(broker_url, limited(body)) as fleet:
        consumer, _ = fleet[0]
        await consumer.queue_many("limited", [{}] * RUNS)
        await body.gate.wait_for(PLACES)
        await eventually(lambda: len(told(fleet, "held")) == RUNS - PLACES, "the others to be held")
        snapshot = await consumer.broker.snapshot()
        assert (snapshot.running, snapshot.held, snapshot.ready) == (PLACES, RUNS - PLACES, 0)
        body.gate.open()
        await ended(fleet, RUNS)
        assert set(reasons(told(fleet, "held"))) == {"limit"}
        assert len(told(fleet, "held")) == RUNS - PLACES, "each was moved aside once"
    assert body.most == {"": PLACES}


async def test_runs_with_one_key_share_the_places_among_themselves_only(broker_url: str) -> None:
    body = Body()
    async with fleet_of(broker_url, limited(body, places=2)) as fleet:
        consumer, _ = fleet[0]
        for key in ("ann", "bob", "cid"):
            await consumer.queue_many(
                "limited", [{"key": key}] * 10, options=QueueOptions(concurrency_key=key)
            )
        await body.gate.wait_for(6)
        body.gate.open()
        await ended(fleet, 30)
    assert body.most == {"ann": 2, "bob": 2, "cid": 2}


async def test_held_runs_go_on_in_the_order_in_which_they_were_queued(broker_url: str) -> None:
    body = Body()
    async with consuming(broker_url, limited(body, places=1)) as (consumer, heard):
        runs = await consumer.queue_many("limited", [{}] * RUNS)
        await heard.wait_for("held", count=RUNS - 1)
        body.gate.open()
        await heard.wait_for("success", count=RUNS)
    assert body.order == [run.id for run in runs]


async def test_a_place_goes_to_the_most_urgent_and_then_to_the_others(broker_url: str) -> None:
    body = Body()
    async with consuming(broker_url, limited(body, places=1)) as (consumer, heard):
        first = await consumer.queue("limited", TaskPriority.low)
        await body.gate.wait_for()
        low = await consumer.queue_many("limited", [{}] * 3, TaskPriority.low)
        await heard.wait_for("held", count=3)
        high = await consumer.queue_many("limited", [{}] * 3, TaskPriority.high)
        await heard.wait_for("held", count=6)
        body.gate.open()
        await heard.wait_for("success", count=7)
    assert body.order == [run.id for run in (first, *high, *low)]


async def test_a_limited_task_holds_up_no_other(broker_url: str) -> None:
    body = Body()

    @task
    async def free(ctx: TaskRun) -> None: ...

    async with consuming(broker_url, limited(body, places=1), free) as (consumer, heard):
        await consumer.queue_many("limited", [{}] * 200, TaskPriority.high)
        await consumer.queue_and_wait(free, TaskPriority.low, timeout=20)
        body.gate.open()
        await heard.wait_for("success", count=201)


async def test_whatever_ends_a_run_hands_its_place_on(broker_url: str) -> None:
    body = Body()
    endings = ("raise", "cancel", "time out")

    @task("limited", max_concurrency=1, timeout_seconds=0.2)
    async def run(ctx: TaskRun) -> None:
        if ctx.params.get("how") == "raise":
            raise ValueError("as it was told")
        await body(ctx)

    async with consuming(broker_url, run) as (consumer, heard):
        for how in endings:
            one = await consumer.queue(run, how=how)
            if how == "cancel":
                await one.cancel()
            await heard.wait_for("end", one.id)
        body.gate.open()
        last = await consumer.queue_and_wait(run, timeout=20)
        assert last.state is TaskState.success


async def test_a_waiting_run_that_is_cancelled_takes_no_place(broker_url: str) -> None:
    body = Body()
    async with consuming(broker_url, limited(body, places=1)) as (consumer, heard):
        runs = await consumer.queue_many("limited", [{}] * 3)
        await heard.wait_for("held", count=2)
        await runs[1].cancel()
        body.gate.open()
        await heard.wait_for("success", count=2)
    assert body.order == [runs[0].id, runs[2].id]


async def test_a_limit_that_was_raised_lets_more_go(broker_url: str) -> None:
    body = Body()
    async with consuming(broker_url, limited(body, places=1)) as (consumer, heard):
        await consumer.queue_many("limited", [{}] * 10)
        await heard.wait_for("held", count=9)
        async with consuming(broker_url, limited(body, places=4)):
            await body.gate.wait_for(4)
        body.gate.open()


async def test_no_run_starts_before_the_rate_allows_its_turn(broker_url: str) -> None:
    starts: list[timedelta] = []

    @task(rate="4/s")
    async def paced(ctx: TaskRun) -> None: ...

    async with fleet_of(broker_url, paced) as fleet:
        consumer, _ = fleet[0]
        runs = await consumer.queue_many(paced, [{}] * 10)
        await ended(fleet, 10)
        assert set(reasons(told(fleet, "held"))) == {"rate"}
        held = Counter(event.run.id for event in told(fleet, "held") if event.run)
        for event in told(fleet, "start"):
            assert event.run is not None
            assert event.run.start is not None
            claimed = event.run.start.timestamp() - (event.dispatched or 0)
            starts.append(timedelta(seconds=claimed))
        starts.sort()
    assert len(starts) == 10
    assert max(held.values()) == 1, "each was moved aside once, to the instant of its turn"
    assert len(held) == len(runs) - 4
    # the first is claimed at its turn, each later one at its turn or, on a busy machine, after it
    turns = [starts[0] + timedelta(seconds=place // 4, milliseconds=-2) for place in range(10)]
    assert all(start >= turn for start, turn in zip(starts, turns, strict=True))
