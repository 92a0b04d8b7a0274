"""A paused task: its runs are held, wherever they come from, and go on in their order when it is resumed."""

from __future__ import annotations

import pytest

from fluid.scheduler.brokers.redis import RedisBroker
from fluid.scheduler.moves import Kind, Limit
from fluid.scheduler.states import TaskState
from tests.fluid.scheduler.brokers.desk import HIGH, LOW, Desk, ids, submission

pytestmark = pytest.mark.usefixtures("key_leaks")


async def held_for(desk: Desk) -> dict[str, str]:
    """Why each held run is held."""
    return {run.id: run.reason for run in await desk.broker.list_runs(TaskState.held, limit=10_000)}


async def finish(desk: Desk) -> list[str]:
    """Take and settle whatever can be claimed, as a consumer that asks for held runs of `greet`; in order."""
    done: list[str] = []
    while runs := await desk.take(10, held=["greet"]):
        assert [await desk.settle(run) for run in runs] == [True] * len(runs)
        done += ids(runs)
    return done


async def test_runs_of_a_paused_task_are_held_and_those_of_others_claimed(desk: Desk) -> None:
    await desk.broker.pause("greet")
    await desk.queue("a", "b")
    await desk.queue("other", task="mail")
    claim = await desk.claim(10)
    assert ids(claim.runs) == ["other"]
    assert [(why, record.id, record.state) for why, record in claim.aside] == [
        ("paused", "a", TaskState.held),
        ("paused", "b", TaskState.held),
    ]
    assert await held_for(desk) == {"a": "paused", "b": "paused"}
    snapshot = await desk.balanced()
    assert (snapshot.held, snapshot.ready) == (2, 0)
    assert (snapshot.paused, snapshot.paused_tasks) == (False, ("greet",))
    assert await desk.settle(claim.runs[0])
    await desk.broker.resume("greet")
    assert (await desk.balanced()).paused_tasks == ()
    assert await finish(desk) == ["a", "b"]


async def test_held_runs_go_on_by_priority_and_age_before_what_came_later(desk: Desk) -> None:
    await desk.queue("low", priority=LOW)
    await desk.queue("first")
    await desk.queue("second")
    await desk.queue("high", priority=HIGH)
    await desk.broker.pause("greet")
    assert await desk.take(10) == []
    await desk.queue("third")
    await desk.broker.resume("greet")
    assert (await desk.balanced()).held == 0
    assert await finish(desk) == ["high", "first", "second", "third", "low"]


async def test_a_run_that_fell_due_or_came_back_is_held_too(desk: Desk) -> None:
    await desk.queue("retried", "returned", "lost")
    retried, returned, lost = await desk.take(3)
    await desk.broker.pause("greet")
    assert await desk.settle(retried, Kind.retry)
    assert await desk.settle(returned, Kind.interrupted)
    await desk.lose(lost)
    assert await desk.take(10) == []
    assert await held_for(desk) == {"retried": "paused", "returned": "paused", "lost": "paused"}
    await desk.balanced()
    await desk.broker.resume("greet")
    assert sorted(await finish(desk)) == ["lost", "retried", "returned"]


async def test_what_runs_when_its_task_is_paused_goes_on(desk: Desk) -> None:
    await desk.queue("a")
    run = await desk.take_one()
    await desk.broker.pause("greet")
    assert await desk.settle(run)
    assert (await desk.balanced()).books.success == 1


async def test_a_pause_takes_no_place_of_a_limit_and_keeps_none(desk: Desk) -> None:
    await desk.broker.set_limits([Limit("greet", places=1)])
    await desk.queue("a", "b", "c", "d")
    running = await desk.take_one()
    assert await desk.take(10) == []
    assert await held_for(desk) == {"b": "limit", "c": "limit", "d": "limit"}
    await desk.broker.pause("greet")
    assert await desk.settle(running)
    assert await desk.take(10) == []
    assert await held_for(desk) == {"b": "paused", "c": "paused", "d": "paused"}
    with desk.own.server.client() as client:
        assert client.scard(desk.keys["running"] + "greet") == 0
    await desk.broker.resume("greet")
    assert await finish(desk) == ["b", "c", "d"]


async def test_a_run_that_was_paced_before_its_pause_gets_another_turn(desk: Desk) -> None:
    await desk.broker.set_limits([Limit("greet", starts=1, period=3600.0)])
    await desk.queue("a", "b")
    running = await desk.take(2)
    assert ids(running) == ["a"]
    assert await desk.settle(running[0])
    desk.date("scheduled_m", {"b": 1})  # its turn comes
    await desk.broker.pause("greet")
    assert await desk.take(2) == []
    await desk.broker.resume("greet")
    assert await desk.take(2) == []
    assert await desk.state("b") is TaskState.scheduled
    assert await desk.broker.cancel("b") == "ended"


async def test_a_held_run_can_be_cancelled(desk: Desk) -> None:
    await desk.queue("a")
    await desk.broker.pause("greet")
    assert await desk.take(1) == []
    assert await desk.broker.cancel("a") == "ended"
    await desk.broker.resume("greet")
    assert await finish(desk) == []


async def test_who_resumes_many_leaves_the_rest_to_claims_and_the_order_stands(desk: Desk) -> None:
    names = [f"run-{n:04}" for n in range(1200)]
    await desk.broker.pause("greet")
    await desk.submit(*map(submission, names))
    while (await desk.balanced()).ready:
        assert await desk.take(500) == []
    await desk.broker.resume("greet")
    assert (await desk.balanced()).held == 700
    assert await finish(desk) == names


async def test_pausing_and_resuming_twice_is_doing_it_once(desk: Desk) -> None:
    await desk.queue("a")
    for _ in range(2):
        await desk.broker.pause("greet")
    assert await desk.take(1) == []
    for _ in range(2):
        await desk.broker.resume("greet")
    assert await finish(desk) == ["a"]


async def test_a_pause_is_the_brokers_and_outlives_who_asked_for_it(desk: Desk) -> None:
    other = RedisBroker(desk.own.url)
    try:
        await other.pause("greet")
    finally:
        await other.close()
    await desk.queue("a")
    assert await desk.take(1) == []
    await desk.broker.resume("greet")
    assert await finish(desk) == ["a"]


async def test_a_resume_wakes_who_waits(desk: Desk) -> None:
    await desk.queue("a")
    await desk.broker.pause("greet")
    assert await desk.take(1) == []
    with desk.own.server.client() as client:
        client.delete(desk.keys["bell"])
        await desk.broker.resume("greet")
        assert client.llen(desk.keys["bell"]) == 1
    assert await finish(desk) == ["a"]
