"""A snapshot is exact, whatever was settled in whatever order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from fluid.scheduler.moves import Kind
from fluid.scheduler.snapshot import Books, Depths, Snapshot
from fluid.scheduler.states import TaskPriority, TaskState
from tests.fluid.scheduler.brokers.desk import HIGH, LONG, LOW, MEDIUM, Desk, ids
from tests.support.waiting import poll


async def seen(desk: Desk, holds: Callable[[Snapshot], bool], what: str) -> Snapshot:
    """The first snapshot that holds: the broker's clock has to move for it."""
    look: Callable[[], Awaitable[Snapshot]] = desk.balanced
    return await poll(look, holds, what)


async def test_an_empty_queue_is_empty(desk: Desk) -> None:
    snapshot = await desk.balanced()
    assert snapshot.by_priority == dict.fromkeys(TaskPriority, Depths())
    assert snapshot.oldest_ready_age == dict.fromkeys(TaskPriority, 0.0)
    assert (snapshot.ready, snapshot.running, snapshot.scheduled, snapshot.held, snapshot.dead) == (0,) * 5
    assert snapshot.paused is False
    assert snapshot.books == Books(0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("priority", TaskPriority)
async def test_runs_are_counted_where_they_are(desk: Desk, priority: TaskPriority) -> None:
    await desk.queue(*"abcdefghij", priority=priority)
    await desk.queue("later", priority=priority, delay=LONG)
    a, b, c, d, e, f, g = await desk.take(7)
    assert await desk.settle(a)
    assert await desk.settle(b, Kind.retry, delay=LONG)
    assert await desk.settle(c, Kind.held, reason="unknown_task")
    assert await desk.settle(d, Kind.dead)
    assert await desk.settle(e, Kind.interrupted)
    await desk.lose(f)
    snapshot = await desk.balanced()
    counted = Depths(ready=5, running=1, scheduled=2, held=1, dead=1)
    assert snapshot.by_priority == {one: counted if one is priority else Depths() for one in TaskPriority}
    assert (
        Depths(snapshot.ready, snapshot.running, snapshot.scheduled, snapshot.held, snapshot.dead) == counted
    )
    assert snapshot.books == Books(11, 1, 0, 0, 0, 0)
    assert await desk.state(g.id) is TaskState.running


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5), (5, 4, 3, 2, 1, 0), (3, 0, 5, 1, 4, 2)])
async def test_outcomes_out_of_order_leave_no_miscount(desk: Desk, order: tuple[int, ...]) -> None:
    await desk.queue(*(f"run-{n}" for n in range(9)))
    runs = await desk.take(6)
    for number, place in enumerate(order, 1):
        assert await desk.settle(runs[place])
        snapshot = await desk.balanced()
        assert (snapshot.ready, snapshot.running) == (3, 6 - number)


async def test_holes_among_ready_runs_are_not_counted(desk: Desk) -> None:
    await desk.queue(*(f"run-{n}" for n in range(10)))
    await desk.take(2)
    for n in (2, 5, 9):
        assert await desk.broker.cancel(f"run-{n}") == "ended"
    snapshot = await desk.balanced()
    assert (snapshot.ready, snapshot.running, snapshot.books.aborted) == (5, 2, 3)
    assert ids(await desk.take(10)) == ["run-3", "run-4", "run-6", "run-7", "run-8"]


# -- the age of the oldest -----------------------------------------------------------------


async def test_the_oldest_is_the_first_that_nobody_has_claimed(desk: Desk) -> None:
    await desk.queue("a")
    await seen(desk, lambda now: now.oldest_ready_age[MEDIUM] > 0, "a to age")
    await desk.queue("b")
    await desk.take_one()
    (b,) = await desk.broker.list_runs(TaskState.queued)
    snapshot = await desk.balanced()
    assert b.id == "b"
    assert snapshot.oldest_ready_age[MEDIUM] == (snapshot.now - b.ready) / 1000
    await desk.take_one()
    assert (await desk.balanced()).oldest_ready_age[MEDIUM] == 0


async def test_a_hole_at_the_head_is_not_the_oldest(desk: Desk) -> None:
    await desk.queue("a")
    await seen(desk, lambda now: now.oldest_ready_age[MEDIUM] > 0, "a to age")
    await desk.queue("b")
    assert await desk.broker.cancel("a") == "ended"
    record = await desk.broker.get_run("b")
    assert record is not None
    snapshot = await desk.balanced()
    assert snapshot.oldest_ready_age[MEDIUM] == (snapshot.now - record.ready) / 1000


async def test_what_came_back_is_as_old_as_when_it_was_first_ready(desk: Desk) -> None:
    await desk.queue("a")
    run = await desk.take_one()
    assert await desk.settle(run, Kind.interrupted)
    snapshot = await seen(desk, lambda now: now.oldest_ready_age[MEDIUM] > 0, "a to age")
    assert snapshot.oldest_ready_age[MEDIUM] == (snapshot.now - run.ready) / 1000


async def test_an_overdue_scheduled_run_counts_for_the_oldest_but_as_scheduled(desk: Desk) -> None:
    await desk.queue("a", priority=LOW)
    assert await desk.settle(await desk.take_one(), Kind.retry)
    record = await desk.broker.get_run("a")
    assert record is not None
    snapshot = await seen(desk, lambda now: now.oldest_ready_age[LOW] > 0, "a to be overdue")
    assert snapshot.oldest_ready_age[LOW] == (snapshot.now - record.ready) / 1000
    assert (snapshot.scheduled, snapshot.ready) == (1, 0)


async def test_a_run_that_is_not_due_has_no_age(desk: Desk) -> None:
    await desk.queue("a", delay=LONG, priority=HIGH)
    await desk.queue("b", priority=LOW)
    snapshot = await seen(desk, lambda now: now.oldest_ready_age[LOW] > 0, "b to age")
    assert snapshot.oldest_ready_age[HIGH] == 0
