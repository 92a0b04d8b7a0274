"""What a person decides of a run: it is cancelled, discarded or replayed."""

from __future__ import annotations

import asyncio

import pytest

from fluid.clock import elapsed
from fluid.scheduler.brokers.redis import RedisBroker
from fluid.scheduler.moves import Kind, Limit, Refusal, Renewal
from fluid.scheduler.states import TaskState
from tests.fluid.scheduler.brokers.desk import LONG, Desk, ids, submission
from tests.support.waiting import poll


@pytest.mark.parametrize("where", ["ready", "returned", "scheduled", "held", "dead"])
async def test_a_run_that_does_not_run_is_cancelled_there_and_then(desk: Desk, where: str) -> None:
    await desk.queue("a", delay=LONG if where == "scheduled" else 0.0)
    kinds = {"returned": Kind.interrupted, "held": Kind.held, "dead": Kind.dead}
    if where in kinds:
        assert await desk.settle(await desk.take_one(), kinds[where], reason="unknown_task")
    assert await desk.broker.cancel("a") == "ended"
    record = await desk.broker.get_run("a")
    assert record is not None
    assert (record.state, record.reason) == (TaskState.aborted, "cancelled")
    snapshot = await desk.balanced()
    assert (snapshot.books.aborted, snapshot.ready, snapshot.scheduled, snapshot.held) == (1, 0, 0, 0)
    assert await desk.take(10, held=["greet"]) == []


async def test_a_running_run_is_asked_to_end_and_its_keeper_learns_of_it(desk: Desk) -> None:
    await desk.queue("a", "b")
    a, b = await desk.take(2)
    assert await desk.broker.cancel("a") == "asked"
    assert await desk.state("a") is TaskState.running
    assert desk.renew(a, b) == [Renewal.cancelled, Renewal.renewed]
    assert await desk.settle(a, Kind.aborted, reason="cancelled")
    assert (await desk.balanced()).books.aborted == 1


async def test_a_run_that_was_to_be_cancelled_is_not_delivered_again_when_lost(desk: Desk) -> None:
    await desk.queue("a")
    run = await desk.take_one()
    assert await desk.broker.cancel("a") == "asked"
    (rescued,) = await desk.lose(run)
    assert rescued.fate == "aborted"
    assert await desk.state("a") is TaskState.aborted
    assert await desk.take(10) == []
    assert (await desk.balanced()).books.aborted == 1


@pytest.mark.parametrize("kind", [Kind.retry, Kind.interrupted, Kind.held])
async def test_the_wish_to_cancel_stands_until_the_run_has_ended(desk: Desk, kind: Kind) -> None:
    await desk.queue("a")
    run = await desk.take_one()
    assert await desk.broker.cancel("a") == "asked"
    assert await desk.settle(run, kind, reason="unknown_task")
    for again in await desk.take(1, held=["greet"]):
        assert desk.renew(again) == [Renewal.cancelled]
        assert await desk.settle(again, Kind.aborted)
    assert await desk.state("a") is TaskState.aborted
    with desk.own.server.client() as client:
        assert not client.exists(desk.keys["cancelled"])


async def test_who_claims_a_run_learns_at_once_of_the_wish_to_cancel_it(desk: Desk) -> None:
    await desk.queue("a", "b")
    a, b = await desk.take(2)
    assert (a.cancelled, b.cancelled) == (False, False)
    assert await desk.broker.cancel("a") == "asked"
    assert await desk.settle(a, Kind.interrupted)
    assert await desk.settle(b, Kind.interrupted)
    assert {run.id: run.cancelled for run in await desk.take(2, "bob")} == {"a": True, "b": False}


async def test_the_wish_to_cancel_does_not_outlive_its_run(desk: Desk) -> None:
    await desk.queue("a")
    run = await desk.take_one()
    assert await desk.broker.cancel("a") == "asked"
    assert await desk.settle(run, Kind.interrupted)
    assert await desk.broker.cancel("a") == "ended"
    with desk.own.server.client() as client:
        assert not client.exists(desk.keys["cancelled"])


async def test_what_has_ended_cannot_be_cancelled(desk: Desk) -> None:
    await desk.queue("a")
    assert await desk.settle(await desk.take_one())
    assert await desk.broker.cancel("a") == "over"
    assert await desk.broker.cancel("never_queued") == "unknown"
    assert (await desk.balanced()).books.success == 1


@pytest.mark.parametrize("where", ["ready", "dead"])
async def test_of_all_who_cancel_a_run_one_is_told_that_it_did(desk: Desk, where: str) -> None:
    await desk.queue("a")
    if where == "dead":
        assert await desk.settle(await desk.take_one(), Kind.dead)
    told = await asyncio.gather(*(desk.broker.cancel("a") for _ in range(3)))
    assert sorted(told) == ["ended", "over", "over"]
    assert await desk.broker.cancel("a") == "over"
    assert (await desk.balanced()).books.aborted == 1


@pytest.mark.parametrize("running", [False, True])
async def test_what_is_kept_of_a_cancelled_run_goes_when_results_go(desk: Desk, running: bool) -> None:
    broker = RedisBroker(desk.own.url, result_ttl=100.0, failure_ttl=LONG)
    await desk.queue("a")
    if running:
        run = await desk.take_one()
        assert await broker.cancel("a") == "asked"
        await desk.run_out(run)
        (rescued,) = await broker.rescue(nonce="pass", interval=0.0, max_deliveries=5)
        assert rescued.fate == "aborted"
    else:
        assert await broker.cancel("a") == "ended"
    await broker.close()
    with desk.own.server.client() as client:
        assert 0 < client.pttl(desk.keys.run("a")) <= 100_000


async def test_what_is_kept_of_a_cancelled_run_waits_for_those_who_wait_for_it(desk: Desk) -> None:
    broker = RedisBroker(desk.own.url, result_ttl=0.001)
    await desk.queue("a")
    assert await desk.broker.wait_end("a", elapsed()) is None
    assert await broker.cancel("a") == "ended"
    await broker.close()
    assert await desk.state("a") is TaskState.aborted


async def test_only_a_dead_run_is_discarded(desk: Desk) -> None:
    await desk.queue("a", "b")
    assert await desk.settle(await desk.take_one(), Kind.dead)
    assert await desk.broker.cancel("b", only="dead", reason="discarded") == "elsewhere"
    assert await desk.broker.cancel("a", only="dead", reason="discarded") == "ended"
    record = await desk.broker.get_run("a")
    assert record is not None
    assert (record.state, record.reason) == (TaskState.aborted, "discarded")
    assert ids(await desk.take(10)) == ["b"]


async def test_only_a_run_that_waits_makes_way(desk: Desk) -> None:
    await desk.queue("a", "b", "c", delay=0.0)
    running, dead = await desk.take(2)
    assert await desk.settle(dead, Kind.dead)
    for run_id, answered in ((running.id, "elsewhere"), (dead.id, "elsewhere"), ("c", "ended")):
        assert await desk.broker.cancel(run_id, only="waiting") == answered
    assert desk.renew(running) == [Renewal.renewed]
    assert (await desk.balanced()).books.aborted == 1


async def test_a_dead_run_is_ready_again_as_itself_with_all_its_attempts(desk: Desk) -> None:
    await desk.queue("a", message=b"parcel")
    assert await desk.settle(await desk.take_one(), Kind.retry)
    await desk.lose(await desk.take_one(), max_deliveries=1)
    assert await desk.broker.replay("a") == "replayed"
    assert await desk.state("a") is TaskState.queued
    run = await desk.take_one()
    assert (run.id, run.message, run.failures, run.losses) == ("a", b"parcel", 0, 0)
    books = (await desk.balanced()).books
    assert (books.accepted, books.replayed) == (1, 1)


async def test_only_a_dead_run_is_replayed(desk: Desk) -> None:
    await desk.queue("a")
    assert await desk.broker.replay("a") == "elsewhere"
    assert await desk.broker.replay("never_queued") == "unknown"
    assert await desk.settle(await desk.take_one())
    assert await desk.broker.replay("a") == "elsewhere"


async def test_a_replay_takes_its_unique_key_again_or_is_refused(desk: Desk) -> None:
    await desk.queue("a", unique="key")
    assert await desk.settle(await desk.take_one(), Kind.dead)
    await desk.queue("b", unique="key")
    assert await desk.broker.replay("a") == Refusal("unique", "b")
    assert await desk.state("a") is TaskState.dead
    assert await desk.settle(await desk.take_one())
    assert await desk.broker.replay("a") == "replayed"
    assert (await desk.submit(submission("c", unique="key"))).verdicts == [Refusal("unique", "a")]


async def test_a_replayed_run_may_be_lost_as_often_as_its_task_allows(desk: Desk) -> None:
    await desk.queue("a", deliveries=2)
    for _ in range(2):
        assert [one.fate for one in await desk.lose(await desk.take_one())] == ["returned"]
        assert [one.fate for one in await desk.lose(await desk.take_one())] == ["dead"]
        assert await desk.broker.replay("a") == "replayed"


async def test_a_replay_waits_for_its_turn_under_a_rate(desk: Desk) -> None:
    await desk.broker.set_limits([Limit("greet", starts=1, period=0.05)])
    await desk.queue("first", "a")
    assert ids(await desk.take(2)) == ["first"]
    run = (await poll(lambda: desk.take(1), bool, "its turn"))[0]
    assert (run.id, await desk.settle(run, Kind.dead)) == ("a", True)
    await desk.broker.set_limits([Limit("greet", starts=1, period=LONG)])
    await desk.queue("next")
    # it starts if nothing is remembered of the start of `a`; in either case the turn is taken
    await desk.take(1)
    assert await desk.broker.replay("a") == "replayed"
    assert await desk.take(1) == []
    assert await desk.state("a") is TaskState.scheduled


async def test_a_replay_takes_over_a_unique_key_whose_owner_has_no_record(desk: Desk) -> None:
    await desk.queue("a", unique="key")
    assert await desk.settle(await desk.take_one(), Kind.dead)
    await desk.queue("b", unique="key")
    with desk.own.server.client() as client:
        client.delete(desk.keys.run("b"))
    assert await desk.broker.replay("a") == "replayed"


async def test_a_broker_that_knows_only_the_url_sees_the_same(desk: Desk) -> None:
    await desk.queue("a")
    assert await desk.settle(await desk.take_one(), outcome=b"kept")
    other = RedisBroker(desk.own.url)
    try:
        record = await other.get_run("a")
    finally:
        await other.close()
    assert record is not None
    assert (record.state, record.outcome) == (TaskState.success, b"kept")


async def test_hastened_runs_are_due_now_and_have_not_waited_before(desk: Desk) -> None:
    await desk.queue("a", "b", "c", delay=LONG)
    await desk.queue("d")
    with desk.own.server.client() as client:
        client.delete(desk.keys["bell"])
        assert await desk.broker.hasten(["a", "c", "d", "nobody"]) == 2
        assert client.llen(desk.keys["bell"]) == 1
    record, snapshot = await desk.broker.get_run("a"), await desk.balanced()
    assert record is not None
    assert record.ready <= snapshot.now
    assert sorted(ids(await desk.take(10))) == ["a", "c", "d"]
    assert await desk.state("b") is TaskState.scheduled


async def after_waiting_for_a_place(desk: Desk) -> None:
    """Two runs that had their turn, but no place, and have the places of two that ended."""
    await desk.broker.set_limits([Limit("greet", places=2, starts=1, period=LONG)])
    await desk.queue("a", "b", "c", "d")
    (a,) = await desk.take(4)
    await desk.broker.hasten(["b"])
    (b,) = await desk.take(4)
    await desk.broker.hasten(["c", "d"])
    assert await desk.take(4) == []
    assert [await desk.state(run_id) for run_id in ("c", "d")] == [TaskState.held, TaskState.held]
    assert await desk.settle(a)
    assert await desk.settle(b)


async def test_who_waited_for_a_place_waits_for_a_turn_again(desk: Desk) -> None:
    await after_waiting_for_a_place(desk)
    assert await desk.take(4) == []
    assert [await desk.state(run_id) for run_id in ("c", "d")] == [TaskState.scheduled, TaskState.scheduled]
    await desk.broker.hasten(["c", "d"])
    assert ids(await desk.take(4)) == ["c", "d"]


async def test_a_place_that_waits_for_a_turn_is_given_back_by_the_run_that_is_cancelled(desk: Desk) -> None:
    await after_waiting_for_a_place(desk)
    assert await desk.take(4) == []
    assert [await desk.broker.cancel(run_id) for run_id in ("c", "d")] == ["ended", "ended"]
    await desk.broker.set_limits([Limit("greet", places=2)])
    await desk.queue("e", "f")
    assert ids(await desk.take(4)) == ["e", "f"]
    await desk.balanced()
