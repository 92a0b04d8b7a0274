"""What can be asked of a broker: one run, runs in a state, the end of a run, who is alive."""

from __future__ import annotations

import asyncio

import pytest

from fluid.clock import elapsed
from fluid.scheduler.moves import Kind, RunRecord
from fluid.scheduler.states import TaskState
from fluid.testing.waiting import Watch
from tests.fluid.scheduler.brokers.desk import HIGH, LONG, LOW, Desk, desk_at
from tests.support.proxy import CuttingProxy
from tests.support.queues import OwnQueue
from tests.support.waiting import poll

PATIENCE = 20.0


async def end_of(desk: Desk, run_id: str) -> RunRecord:
    record = await desk.broker.wait_end(run_id, elapsed() + PATIENCE)
    assert record is not None
    return record


async def waited_for(desk: Desk, *run_ids: str) -> list[asyncio.Task[RunRecord]]:
    """Tasks that wait for these ends, once the broker knows of it."""
    waiting = [asyncio.create_task(end_of(desk, run_id)) for run_id in run_ids]
    with desk.own.server.client() as client:

        async def known() -> int:
            return int(client.zcard(desk.keys["waited"]))

        await poll(known, lambda count: count == len(set(run_ids)), "the broker to know who waits")
    return waiting


# -- runs in a state -----------------------------------------------------------------------


async def test_nothing_is_known_of_a_run_that_was_never_queued(desk: Desk) -> None:
    assert await desk.broker.get_run("never") is None


async def test_runs_are_listed_where_they_are(desk: Desk) -> None:
    await desk.queue(*"abcdef")
    await desk.queue("later", delay=LONG)
    a, b, c, d, _ = await desk.take(5)
    assert await desk.settle(a, Kind.failure, ttl=LONG)
    assert await desk.settle(b, Kind.dead)
    assert await desk.settle(c, Kind.held, reason="unknown_task")
    assert await desk.settle(d)
    expected = {
        TaskState.queued: ["f"],
        TaskState.running: ["e"],
        TaskState.scheduled: ["later"],
        TaskState.held: ["c"],
        TaskState.dead: ["b"],
        TaskState.failure: ["a"],
        TaskState.success: [],
    }
    for state, listed in expected.items():
        runs = await desk.broker.list_runs(state)
        assert [run.id for run in runs] == listed
        assert {run.state for run in runs} <= {state}


async def test_ready_runs_are_listed_in_the_order_they_will_be_claimed(desk: Desk) -> None:
    await desk.queue("low", priority=LOW)
    await desk.queue("a", "b")
    assert await desk.settle(await desk.take_one(), Kind.interrupted)
    await desk.queue("high", priority=HIGH)
    listed = [run.id for run in await desk.broker.list_runs(TaskState.queued)]
    assert listed == ["high", "a", "b", "low"]


@pytest.mark.parametrize(("state", "kind"), [(TaskState.failure, Kind.failure), (TaskState.dead, Kind.dead)])
async def test_what_went_wrong_last_is_listed_first(desk: Desk, state: TaskState, kind: Kind) -> None:
    for number, name in enumerate("abc"):
        await desk.queue(name)
        assert await desk.settle(await desk.take_one(), kind, ttl=LONG)
        desk.date("failed" if kind is Kind.failure else "dead_m", {name: 1000 + number})
    assert [run.id for run in await desk.broker.list_runs(state)] == ["c", "b", "a"]


@pytest.mark.parametrize("state", [TaskState.dead, TaskState.scheduled])
async def test_a_list_begins_with_the_highest_priority_but_for_failed_runs(
    desk: Desk, state: TaskState
) -> None:
    for name, priority in (("low", LOW), ("high", HIGH)):
        await desk.queue(name, priority=priority, delay=LONG if state is TaskState.scheduled else 0)
        if state is TaskState.dead:
            assert await desk.settle(await desk.take_one(), Kind.dead)
        await desk.queue(f"failed-{name}", priority=priority)
        assert await desk.settle(await desk.take_one(), Kind.failure, ttl=LONG)
    desk.date("failed", {"failed-high": 1000})
    assert [run.id for run in await desk.broker.list_runs(state)] == ["high", "low"]
    listed = [run.id for run in await desk.broker.list_runs(TaskState.failure)]
    assert listed == ["failed-low", "failed-high"]


async def test_a_list_has_pages_and_can_be_of_one_task(desk: Desk) -> None:
    await desk.queue(*(f"mail-{n}" for n in range(5)), task="mail")
    await desk.queue(*(f"greet-{n}" for n in range(5)))
    first = await desk.broker.list_runs(TaskState.queued, task="mail", limit=1)
    assert [run.id for run in first] == ["mail-0"]
    listed = await desk.broker.list_runs(TaskState.queued, task="mail", limit=2, after=first.after)
    assert [run.id for run in listed] == ["mail-1", "mail-2"]
    assert await desk.broker.list_runs(TaskState.queued, task="nobody") == []


async def test_a_list_goes_on_past_its_first_page(desk: Desk) -> None:
    names = [f"run-{n:04}" for n in range(1100)]
    await desk.queue(*names, delay=LONG)
    first = await desk.broker.list_runs(TaskState.scheduled, limit=1050)
    listed = await desk.broker.list_runs(TaskState.scheduled, limit=1, after=first.after)
    assert [run.id for run in listed] == ["run-1050"]


async def test_a_list_can_be_for_one_reason(desk: Desk) -> None:
    await desk.queue("a", "b", "c")
    for run, why in zip(await desk.take(3), ("error", "timeout", "error"), strict=True):
        assert await desk.settle(run, Kind.failure, reason=why, ttl=LONG)
    listed = await desk.broker.list_runs(TaskState.failure, reason="error")
    assert sorted(run.id for run in listed) == ["a", "c"]


async def placed_in_time(desk: Desk, state: TaskState) -> None:
    """Runs a, b and c in this state: they came to it, or are due, at the instants 1000, 2000 and 3000."""
    instants = {"a": 1000, "b": 2000, "c": 3000}
    await desk.queue(*instants, delay=LONG if state is TaskState.scheduled else 0.0)
    if state is TaskState.scheduled:
        desk.date("scheduled_m", instants)
    if state in (TaskState.failure, TaskState.dead):
        kind = Kind(str(state))
        for run in await desk.take(3):
            assert await desk.settle(run, kind, ttl=LONG)
        desk.date("failed" if kind is Kind.failure else "dead_m", instants)
    if state is TaskState.held:
        await desk.broker.pause("greet")
        with desk.own.server.client() as client:
            # an entry cannot be changed, so each becomes ready at its instant by being written anew
            for run_id, instant in instants.items():
                entry, fields = next(
                    (entry, fields)
                    for entry, fields in client.xrange(desk.keys["stream_rm"])
                    if fields[b"id"] == run_id.encode()
                )
                client.xdel(desk.keys["stream_rm"], entry)
                client.xadd(desk.keys["stream_rm"], fields | {b"ready": instant})
            assert await desk.take(3) == []


@pytest.mark.parametrize("state", [TaskState.failure, TaskState.dead, TaskState.scheduled, TaskState.held])
@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        (None, None, "abc"),
        (1000.0, None, "abc"),
        (1001.0, None, "bc"),
        (None, 2000.0, "ab"),
        (1500.0, 2500.0, "b"),
        (2000.0, 2000.0, "b"),
        (3001.0, None, ""),
        (None, 999.0, ""),
    ],
)
async def test_a_list_can_be_of_a_time(
    desk: Desk, state: TaskState, since: float | None, until: float | None, expected: str
) -> None:
    await placed_in_time(desk, state)
    listed = await desk.broker.list_runs(state, since=since, until=until)
    order = reversed(expected) if state in (TaskState.failure, TaskState.dead) else expected
    assert [run.id for run in listed] == list(order)


async def test_ready_runs_are_listed_from_the_time_they_became_ready(desk: Desk) -> None:
    await desk.queue("a")
    record = await desk.broker.get_run("a")
    assert record is not None
    listed = desk.broker.list_runs
    assert [run.id for run in await listed(TaskState.queued, since=record.ready)] == ["a"]
    assert await listed(TaskState.queued, since=record.ready + 1) == []
    assert await listed(TaskState.queued, until=record.ready - 1) == []


async def test_held_runs_of_one_task_are_found_among_those_of_others(desk: Desk) -> None:
    for name in ("mail", "mail2", "ma"):
        await desk.queue(f"{name}-1", f"{name}-2", task=name)
        await desk.broker.pause(name)
    assert await desk.take(10) == []
    listed = await desk.broker.list_runs(TaskState.held, task="mail", reason="paused")
    assert [run.id for run in listed] == ["mail-1", "mail-2"]


# -- the end of a run ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Kind.success, Kind.failure, Kind.aborted, Kind.dead])
async def test_who_waits_is_told_of_the_end(desk: Desk, kind: Kind) -> None:
    await desk.queue("a")
    run = await desk.take_one()
    (waiting,) = await waited_for(desk, "a")
    assert await desk.settle(run, kind, outcome=b"words", ttl=0.001)
    record = await waiting
    assert (record.state, record.outcome) == (TaskState(kind), b"words")


async def test_who_waits_is_told_when_the_run_is_cancelled(desk: Desk) -> None:
    await desk.queue("a", delay=LONG)
    (waiting,) = await waited_for(desk, "a")
    assert await desk.broker.cancel("a") == "ended"
    assert (await waiting).state is TaskState.aborted


async def test_who_waits_is_told_when_the_run_was_lost_too_often(desk: Desk) -> None:
    await desk.queue("a")
    run = await desk.take_one()
    (waiting,) = await waited_for(desk, "a")
    await desk.lose(run, max_deliveries=1)
    assert (await waiting).state is TaskState.dead


async def test_a_retry_is_no_end(desk: Desk) -> None:
    await desk.queue("a")
    run = await desk.take_one()
    (waiting,) = await waited_for(desk, "a")
    assert await desk.settle(run, Kind.retry)
    assert await desk.settle(await desk.take_one())
    assert (await waiting).failures == 0
    assert (await waiting).state is TaskState.success


async def test_many_wait_for_one_run_and_one_for_many(desk: Desk) -> None:
    names = [f"run-{n}" for n in range(50)]
    await desk.queue(*names)
    runs = await desk.take(50)
    waiting = await waited_for(desk, *names, *names)
    for run in reversed(runs):
        assert await desk.settle(run, ttl=LONG)
    assert [record.id for record in await asyncio.gather(*waiting)] == names * 2


async def test_an_end_before_the_question_is_told_at_once(desk: Desk) -> None:
    await desk.queue("a")
    assert await desk.settle(await desk.take_one(), ttl=LONG)
    assert (await end_of(desk, "a")).state is TaskState.success


async def test_waiting_for_nothing_ends_at_once_and_for_too_long_ends_in_time(desk: Desk) -> None:
    assert await desk.broker.wait_end("never", None) is None
    await desk.queue("a")
    assert await desk.broker.wait_end("a", elapsed()) is None


async def test_an_end_that_was_told_while_the_subscription_was_broken_is_found(
    desk: Desk, broker_queue: OwnQueue, proxied_url: str, proxy: CuttingProxy
) -> None:
    await desk.queue("a")
    run = await desk.take_one()
    async with desk_at(proxied_url, broker_queue) as other:
        (waiting,) = await waited_for(other, "a")
        await proxy.wait_for_command("SUBSCRIBE")
        proxy.refuse()
        assert await desk.settle(run, ttl=LONG)
        await proxy.accept()
        assert (await waiting).state is TaskState.success


async def test_a_cancellation_is_heard_at_once(desk: Desk) -> None:
    heard: list[str] = []
    watch = Watch()

    def hear(run_id: str) -> None:
        heard.append(run_id)
        watch.changed()

    desk.broker.listeners.cancel.append(hear)
    desk.broker.hear_cancellations()
    await desk.queue("a")
    await desk.take_one()
    with desk.own.server.client() as client:

        async def listeners() -> int:
            return int(client.pubsub_numsub(desk.keys["done"])[0][1])

        await poll(listeners, lambda count: count == 1, "the subscription")
    assert await desk.broker.cancel("a") == "asked"
    await watch.until(lambda: heard == ["a"], lambda: f"word of a's cancellation; heard: {heard}")


# -- progress ------------------------------------------------------------------------------


async def test_progress_is_kept_and_the_last_word_counts(desk: Desk) -> None:
    await desk.queue("a")
    await desk.take_one()
    for report in (b"1 of 2", b"2 of 2"):
        await desk.broker.report_progress("a", report)
    record = await desk.broker.get_run("a")
    assert record is not None
    assert record.progress == b"2 of 2"


@pytest.mark.usefixtures("key_leaks")
async def test_progress_of_an_unknown_run_leaves_nothing(desk: Desk) -> None:
    await desk.broker.report_progress("never", b"1 of 2")
    assert await desk.broker.get_run("never") is None
