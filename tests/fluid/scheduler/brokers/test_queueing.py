"""Runs go in once, in order, and not before they are due."""

from __future__ import annotations

import asyncio

import pytest

from fluid.clock import elapsed
from fluid.scheduler.moves import Claimed, Kind, Refusal
from fluid.scheduler.states import TaskPriority, TaskState
from tests.fluid.scheduler.brokers.desk import HIGH, LONG, LOW, MEDIUM, Desk, ids, submission


async def test_a_run_id_is_accepted_once(desk: Desk) -> None:
    await desk.queue("a")
    answer = await desk.submit(submission("a"), submission("b"))
    assert answer.verdicts == [Refusal("already_queued", "a"), None]
    assert ids(await desk.take(10)) == ["a", "b"]
    assert (await desk.balanced()).books.accepted == 2


async def test_what_a_producer_was_answered_is_kept_for_as_long_as_it_may_ask_again(desk: Desk) -> None:
    await desk.broker.enqueue([submission("a")], deadline=elapsed() + LONG)
    with desk.own.server.client() as client:
        (kept,) = client.scan_iter(match=f"{desk.keys['flush']}*", count=1000)
        assert LONG <= client.ttl(kept) < LONG + 600


async def test_a_run_id_is_accepted_once_within_one_batch(desk: Desk) -> None:
    answer = await desk.submit(submission("a"), submission("b"), submission("a"))
    assert answer.verdicts == [None, None, Refusal("already_queued", "a")]
    assert ids(await desk.take(10)) == ["a", "b"]
    assert (await desk.balanced()).books.accepted == 2


@pytest.mark.parametrize("kind", [Kind.success, Kind.failure, Kind.aborted, Kind.held, Kind.dead, Kind.retry])
async def test_a_run_id_is_taken_as_long_as_its_record_lives(desk: Desk, kind: Kind) -> None:
    await desk.queue("a")
    assert await desk.settle(await desk.take_one(), kind, reason="unknown_task", delay=LONG)
    assert (await desk.submit(submission("a"))).verdicts == [Refusal("already_queued", "a")]
    assert (await desk.balanced()).books.accepted == 1


async def test_a_run_id_is_free_again_when_its_record_has_expired(desk: Desk) -> None:
    await desk.queue("a")
    assert await desk.settle(await desk.take_one(), ttl=0.001)
    await desk.expired("a")
    await desk.queue("a")
    assert (await desk.balanced()).books.accepted == 2


@pytest.mark.parametrize("priority", TaskPriority)
async def test_runs_of_one_priority_come_in_the_order_they_went_in(
    desk: Desk, priority: TaskPriority
) -> None:
    await desk.queue(*"abc", priority=priority)
    await desk.queue(*"de", priority=priority)
    assert ids(await desk.take(2)) == ["a", "b"]
    assert ids(await desk.take(10)) == ["c", "d", "e"]


async def test_a_message_comes_out_as_it_went_in(desk: Desk) -> None:
    message = bytes(range(256)) * 10
    await desk.queue("a", priority=LOW, task="send.mail", message=message, unique="key")
    run = await desk.take_one()
    assert (run.id, run.task, run.priority, run.version) == ("a", "send.mail", LOW, 1)
    assert (run.message, run.unique) == (message, "key")
    assert (run.failures, run.losses) == (0, 0)
    assert run.queued == run.ready


async def test_a_batch_longer_than_one_script_takes_stays_in_order(desk: Desk) -> None:
    names = [f"run-{number}" for number in range(1201)]
    await desk.queue(*names)
    assert (await desk.balanced()).ready == 1201
    taken = [*await desk.take(500), *await desk.take(500), *await desk.take(500)]
    assert ids(taken) == names


async def test_an_empty_batch_is_no_fault(desk: Desk) -> None:
    assert (await desk.submit()).verdicts == []
    assert (await desk.balanced()).books.accepted == 0


# -- due later -----------------------------------------------------------------------------


async def test_a_delayed_run_waits_and_its_instant_is_told(desk: Desk) -> None:
    await desk.queue("later", delay=LONG)
    await desk.queue("much_later", delay=2 * LONG, priority=HIGH)
    claim = await desk.claim(10)
    assert claim.runs == []
    assert claim.next_due is not None
    assert LONG - 60 < claim.next_due <= LONG
    assert await desk.state("later") is TaskState.scheduled
    snapshot = await desk.balanced()
    assert (snapshot.scheduled, snapshot.ready) == (2, 0)
    assert (snapshot.by_priority[MEDIUM].scheduled, snapshot.by_priority[HIGH].scheduled) == (1, 1)


async def test_nothing_is_due_where_nothing_is_scheduled(desk: Desk) -> None:
    await desk.queue("a")
    assert (await desk.claim(10)).next_due is None


async def test_no_run_comes_before_it_is_due_by_the_brokers_clock(desk: Desk) -> None:
    start = (await desk.balanced()).now
    await desk.submit(
        *(submission(f"delay-{n}", delay=n / 100) for n in range(1, 21)),
        *(submission(f"at-{n}", at=start + 10 * n + 5) for n in range(1, 21)),
    )
    taken: list[Claimed] = []
    wait = 0.0
    while len(taken) < 40:
        claim = await desk.claim(100, wait=wait)
        assert all(claim.now >= run.ready for run in claim.runs)
        taken += claim.runs
        wait = claim.next_due or 0.0
    for run in taken:
        kind, _, number = run.id.partition("-")
        due = run.queued + 10 * int(number) if kind == "delay" else start + 10 * int(number) + 5
        assert run.ready in (due, run.queued)
    assert [run.ready for run in taken] == sorted(run.ready for run in taken)


async def test_a_past_instant_is_now(desk: Desk) -> None:
    await desk.queue("a", at=1000.0)
    run = await desk.take_one()
    assert run.ready == run.queued > 1000.0


async def test_an_instant_wins_over_a_delay(desk: Desk) -> None:
    await desk.queue("a", at=1000.0, delay=LONG)
    assert ids(await desk.take()) == ["a"]


async def test_what_falls_due_wakes_who_waits_for_something_later(desk: Desk) -> None:
    await desk.queue("later", delay=LONG)
    claim = await desk.claim(1, wait=LONG)  # answers the bell, which rang for this one
    assert claim.next_due is not None
    waiting = asyncio.create_task(desk.claim(1, wait=min(20.0, claim.next_due)))
    await desk.queue("soon", delay=0.01)
    woken = await waiting
    assert woken.runs or woken.next_due is not None
    assert woken.next_due is None or woken.next_due < 1


# -- unique keys ---------------------------------------------------------------------------


async def refused(desk: Desk, run_id: str) -> list[Refusal | None]:
    return (await desk.submit(submission(run_id, unique="key"))).verdicts


async def test_a_unique_key_is_refused_while_its_run_is_open_and_its_owner_is_told(desk: Desk) -> None:
    told: list[Refusal | None] = [Refusal("unique", "owner")]
    await desk.queue("owner", unique="key", delay=0.001)
    assert await refused(desk, "other") == told
    while not (taken := await desk.take(wait=0.01)):
        continue
    assert await refused(desk, "other") == told
    for kind in (Kind.interrupted, Kind.retry, Kind.held):
        assert await desk.settle(taken[0], kind, reason="unknown_task")
        assert await refused(desk, "other") == told
        taken = await desk.take(held=["greet"])
    await desk.lose(*taken)
    assert await refused(desk, "other") == told
    assert await desk.state("other") is None
    assert (await desk.balanced()).books.accepted == 1


@pytest.mark.parametrize("kind", [Kind.success, Kind.failure, Kind.aborted, Kind.dead])
async def test_a_unique_key_is_free_once_its_run_has_ended(desk: Desk, kind: Kind) -> None:
    await desk.queue("owner", unique="key")
    assert await desk.settle(await desk.take_one(), kind)
    assert await refused(desk, "other") == [None]
    assert await refused(desk, "third") == [Refusal("unique", "other")]


async def test_a_unique_key_is_free_once_its_run_was_lost_too_often(desk: Desk) -> None:
    await desk.queue("owner", unique="key")
    await desk.lose(await desk.take_one(), max_deliveries=1)
    assert await desk.state("owner") is TaskState.dead
    assert await refused(desk, "other") == [None]


@pytest.mark.parametrize("delay", [0.0, LONG])
async def test_a_unique_key_is_free_once_its_run_was_cancelled(desk: Desk, delay: float) -> None:
    await desk.queue("owner", unique="key", delay=delay)
    assert await desk.broker.cancel("owner") == "ended"
    assert await refused(desk, "other") == [None]


async def test_a_unique_key_whose_owner_has_no_record_is_taken_over(desk: Desk) -> None:
    await desk.queue("owner", unique="key")
    with desk.own.server.client() as client:
        client.delete(desk.keys.run("owner"))
    assert await refused(desk, "other") == [None]
    assert await refused(desk, "third") == [Refusal("unique", "other")]


async def test_a_late_end_does_not_free_the_key_of_the_next_owner(desk: Desk) -> None:
    await desk.queue("first", unique="key")
    assert await desk.settle(await desk.take_one(), Kind.dead)
    await desk.queue("second", unique="key")
    assert await desk.broker.cancel("first", only="dead") == "ended"
    assert await refused(desk, "third") == [Refusal("unique", "second")]


async def test_within_one_batch_the_first_gets_the_unique_key(desk: Desk) -> None:
    answer = await desk.submit(submission("a", unique="key"), submission("b", unique="key"))
    assert answer.verdicts == [None, Refusal("unique", "a")]
    assert (await desk.balanced()).ready == 1


async def test_a_replay_is_counted_beside_the_sum(desk: Desk) -> None:
    await desk.submit(submission("a", replays="long_ago"))
    books = (await desk.balanced()).books
    assert (books.accepted, books.replayed) == (1, 1)
