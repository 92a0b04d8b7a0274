"""A claim hands out as many runs as there are free slots, most urgent first, each to one consumer."""

from __future__ import annotations

import asyncio

import pytest

from fluid.scheduler.brokers import claims as room
from fluid.scheduler.moves import Claimed, Kind
from fluid.scheduler.states import TaskPriority, TaskState
from tests.fluid.scheduler.brokers.desk import (
    HIGH,
    LONG,
    LOW,
    MEDIUM,
    PATIENCE,
    Desk,
    desk_at,
    ids,
    submission,
)
from tests.support.proxy import CuttingProxy
from tests.support.queues import OwnQueue
from tests.support.waiting import poll


@pytest.mark.parametrize("slots", [1, 3, 7, 100])
async def test_a_claim_takes_no_more_than_its_slots(desk: Desk, slots: int) -> None:
    for priority in (LOW, MEDIUM, HIGH):
        await desk.queue(*(f"{priority}-{n}" for n in range(3)), priority=priority)
    claim = await desk.claim(slots)
    assert len(claim.runs) == min(slots, 9)
    assert claim.filled is (slots <= 9)
    snapshot = await desk.balanced()
    assert (snapshot.running, snapshot.ready) == (len(claim.runs), 9 - len(claim.runs))


async def fill_every_lane(desk: Desk, priority: TaskPriority) -> None:
    """A suspect, a returned run, a held one and two ready ones."""
    names = [f"{lane}-{priority}" for lane in ("suspect", "returned", "held")]
    await desk.queue(*names, priority=priority)
    suspect, returned, held = await desk.take(3)
    await desk.lose(suspect)
    await desk.lose(await desk.take_one())
    assert await desk.settle(returned, Kind.interrupted)
    assert await desk.settle(held, Kind.held, reason="unknown_task")
    await desk.queue(f"ready-{priority}-1", f"ready-{priority}-2", priority=priority)


async def test_all_lanes_together_hold_to_slots_and_priority(desk: Desk) -> None:
    for priority in (LOW, MEDIUM, HIGH):
        await fill_every_lane(desk, priority)
    claims = [await desk.take(2, held=["greet"]) for _ in range(8)]
    assert [len(claim) for claim in claims] == [2] * 7 + [1]
    lanes = ["held", "suspect", "returned", "ready", "ready"]
    assert [run.id.split("-")[0] for claim in claims for run in claim] == lanes * 3
    assert [run.priority for claim in claims for run in claim] == [HIGH] * 5 + [MEDIUM] * 5 + [LOW] * 5


async def test_a_higher_priority_comes_first_even_when_all_are_full(desk: Desk) -> None:
    for priority in (LOW, MEDIUM, HIGH):
        await desk.queue(*(f"{priority}-{n}" for n in range(20)), priority=priority)
    order = [run.priority for _ in range(12) for run in await desk.take(5)]
    assert order == [HIGH] * 20 + [MEDIUM] * 20 + [LOW] * 20


async def test_a_returned_run_of_a_lower_priority_waits_for_ready_ones_of_a_higher(desk: Desk) -> None:
    await desk.queue("low", priority=LOW)
    assert await desk.settle(await desk.take_one(), Kind.interrupted)
    await desk.queue("high", priority=HIGH)
    assert ids(await desk.take()) == ["high"]
    assert ids(await desk.take()) == ["low"]


async def test_a_returned_run_comes_before_ready_ones(desk: Desk) -> None:
    await desk.queue("a", "b", "c", "d")
    lost, handed_back = await desk.take(2)
    assert await desk.settle(handed_back, Kind.interrupted)
    await desk.lose(lost)
    assert ids(await desk.take(10)) == ["b", "a", "c", "d"]


async def test_a_claimed_run_belongs_to_one_consumer(desk: Desk) -> None:
    await desk.queue(*"abcdef")
    claims = await asyncio.gather(*(desk.take(4, consumer) for consumer in ("ann", "bob", "cleo")))
    assert sorted(run.id for claim in claims for run in claim) == list("abcdef")


async def test_the_token_is_the_lane_and_the_entry(desk: Desk) -> None:
    await desk.queue("a", priority=HIGH)
    run = await desk.take_one()
    assert run.token == f"rh/{run.entry}"
    with desk.own.server.client() as client:
        assert client.zscore(desk.keys["leases"], run.token) is not None
        assert client.xrange(desk.keys["stream_rh"], run.entry, run.entry)
        (pending,) = client.xpending_range(desk.keys["stream_rh"], "fluid", run.entry, run.entry, 1)
    assert pending["consumer"] == b"ann"


async def test_every_delivery_has_a_token_of_its_own(desk: Desk) -> None:
    await desk.queue("a")
    tokens = set()
    for kind in (Kind.interrupted, Kind.retry, Kind.interrupted):
        run = await desk.take_one()
        tokens.add(run.token)
        assert await desk.settle(run, kind)
    await desk.lose(run := await desk.take_one())
    tokens |= {run.token, (await desk.take_one()).token}
    assert len(tokens) == 5


async def test_a_claimed_run_is_running_under_a_lease(desk: Desk) -> None:
    await desk.queue("a")
    claim = await desk.claim(1, "ann", lease=12.5)
    record = await desk.broker.get_run("a")
    assert record is not None
    assert (record.state, record.owner) == (TaskState.running, "ann")
    assert record.lease_until == claim.now + 12500


async def test_waiting_is_counted_from_ready_and_a_delay_is_not_waiting(desk: Desk) -> None:
    await desk.queue("a", delay=0.02)
    while not (claim := await desk.claim(wait=0.01)).runs:
        continue
    (run,) = claim.runs
    assert run.ready == run.queued + 20
    assert run.waited == (claim.now - run.ready) / 1000 >= 0


async def test_coming_back_does_not_restart_the_wait(desk: Desk) -> None:
    await desk.queue("a")
    first = await desk.take_one()
    assert await desk.settle(first, Kind.interrupted)
    assert (await desk.take_one()).ready == first.ready


# -- who stood still -----------------------------------------------------------------------


async def at_the_bell(desk: Desk, count: int) -> None:
    """Return once so many claims wait there."""

    async def waiting() -> int:
        with desk.own.server.client() as client:
            return int(client.info("clients")["blocked_clients"])

    await poll(waiting, lambda found: found == count, f"{count} claims at the bell")


async def test_a_claim_whose_consumer_fell_silent_at_the_bell_leaves_the_run_to_another(
    desk: Desk, broker_queue: OwnQueue, proxied_url: str, proxy: CuttingProxy
) -> None:
    async with desk_at(proxied_url, broker_queue) as frozen:
        asleep = asyncio.create_task(frozen.claim(1, "ann", wait=PATIENCE))
        await at_the_bell(desk, 1)
        proxy.freeze()
        desk.silence("ann")
        awake = asyncio.create_task(desk.claim(1, "bob", wait=PATIENCE))
        await at_the_bell(desk, 2)
        await desk.queue("a")
        assert ids((await awake).runs) == ["a"]
        await desk.queue("b")
        claims = proxy.commands["EVALSHA"]
        proxy.thaw()
        assert ids((await asleep).runs) == ["b"]
        assert proxy.commands["EVALSHA"] == claims + 1


@pytest.mark.parametrize("wait", [0.0, PATIENCE])
async def test_a_consumer_that_was_held_up_claims_at_once_and_is_heard_of(desk: Desk, wait: float) -> None:
    desk.renew()
    desk.silence("ann")
    await desk.queue("a")
    claim = await desk.claim(wait=wait)
    assert ids(claim.runs) == ["a"]
    (ann,) = await desk.broker.consumers()
    assert ann.seen < LONG


async def test_a_consumer_that_nobody_has_heard_of_claims(desk: Desk) -> None:
    """In the first moment of its life, and of the server's."""
    assert await desk.broker.consumers() == []
    await desk.queue("a")
    assert ids(await desk.take()) == ["a"]


# -- suspects ------------------------------------------------------------------------------


async def test_suspects_come_one_at_a_time(desk: Desk) -> None:
    await desk.queue(*"abc", priority=HIGH)
    await desk.lose(*await desk.take(3))
    await desk.lose(*await desk.take(3))
    await desk.queue("innocent", priority=LOW)
    runs = await desk.take(10)
    assert ids(runs) == ["a", "innocent"]
    assert [run.suspect for run in runs] == [True, False]
    assert await desk.take(10, suspects=0) == []
    assert ids(await desk.take(10, "bob")) == ["b"]


async def test_a_run_lost_once_is_no_suspect(desk: Desk) -> None:
    await desk.queue("a")
    await desk.lose(await desk.take_one())
    (run,) = await desk.take(1, suspects=0)
    assert (run.losses, run.suspect) == (1, False)


async def test_a_suspect_that_has_to_wait_does_not_stop_others_of_its_priority(desk: Desk) -> None:
    await desk.queue("suspect", priority=HIGH)
    await desk.lose_times("suspect", 2)
    await desk.queue("a", priority=HIGH)
    assert ids(await desk.take(10, suspects=0)) == ["a"]
    assert (await desk.balanced()).ready == 1


# -- scheduled -----------------------------------------------------------------------------


async def test_a_claim_makes_due_runs_ready_in_the_order_they_fell_due(desk: Desk) -> None:
    await desk.queue(*"abc")
    a, b, c = await desk.take(3)
    for run, delay in ((c, 0.001), (a, 0.002), (b, 0.003)):
        assert await desk.settle(run, Kind.retry, delay=delay)
    taken: list[str] = []
    while len(taken) < 3:
        claim = await desk.claim(3, wait=0.01)
        taken += ids(claim.runs)
    assert taken == ["c", "a", "b"]


async def test_more_due_runs_than_one_claim_makes_ready_are_told_as_due_now(desk: Desk) -> None:
    names = [f"run-{n:03}" for n in range(250)]
    await desk.queue(*names)
    for run in await desk.take(250):
        assert await desk.settle(run, Kind.retry)
    first = await desk.claim(1)
    assert first.next_due == 0
    assert (await desk.balanced()).scheduled == 150
    taken = ids(first.runs)
    while claimed := await desk.take(100):
        taken += ids(claimed)
    assert taken == names


# -- held ----------------------------------------------------------------------------------


async def hold(
    desk: Desk, *names: str, task: str = "greet", version: int = 1, why: str = "unknown_task"
) -> None:
    await desk.queue(*names, task=task, version=version)
    for run in await desk.take(len(names)):
        assert await desk.settle(run, Kind.held, reason=why)


async def test_held_runs_are_never_seen_by_who_does_not_name_their_task(desk: Desk) -> None:
    await hold(desk, "a", "b", task="rare")
    for held in ((), ("greet",), ("rar",), ("rare2",)):
        claim = await desk.claim(10, held=held)
        assert claim.runs == []
        assert claim.held_tasks == ("rare",)
    assert (await desk.balanced()).held == 2


async def test_held_runs_come_first_to_who_names_their_task(desk: Desk) -> None:
    await hold(desk, "a", "b", "c", task="rare")
    await desk.queue("d")
    claim = await desk.claim(3, held=["other", "rare"])
    assert ids(claim.runs) == ["a", "b", "c"]
    assert ids(await desk.take(3, held=["rare"])) == ["d"]
    assert (await desk.balanced()).held == 0


async def test_a_held_run_does_not_bounce(desk: Desk) -> None:
    await hold(desk, "a", task="rare")
    for _ in range(20):
        assert (await desk.claim(10)).runs == []
    (run,) = await desk.take(1, held=["rare"])
    assert (run.failures, run.losses) == (0, 0)
    assert await desk.settle(run)


async def test_held_runs_of_a_higher_priority_come_first(desk: Desk) -> None:
    for name, priority in (("low", LOW), ("high", HIGH)):
        await desk.queue(name, priority=priority, task="rare")
        assert await desk.settle(await desk.take_one(), Kind.held, reason="unknown_task")
    assert ids(await desk.take(2, held=["rare"])) == ["high", "low"]


async def test_a_newer_message_stays_held_for_a_consumer_that_can_read_it(desk: Desk) -> None:
    await hold(desk, "newer", version=2, why="newer_message")
    await hold(desk, "unknown")
    assert ids(await desk.take(10, held=["greet"])) == ["unknown"]
    assert await desk.take(10, held=["greet"]) == []
    record = await desk.broker.get_run("newer")
    assert record is not None
    assert (record.state, record.reason, record.version) == (TaskState.held, "newer_message", 2)


async def test_one_newer_message_does_not_stand_before_others(desk: Desk) -> None:
    await hold(desk, "newer", version=2, why="newer_message")
    await hold(desk, "a", "b")
    assert [ids(await desk.take(1, held=["greet"])) for _ in range(2)] == [["a"], ["b"]]


async def test_newer_messages_do_not_hide_those_behind_them_that_can_be_read(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hold(desk, *(f"newest-{n}" for n in range(5)), version=3, why="newer_message")
    await hold(desk, "ours", version=2, why="newer_message")
    await hold(desk, "unknown-newest", version=3)
    await hold(desk, "unknown-ours", version=2)
    monkeypatch.setattr(room, "MESSAGE_VERSION", 2)
    taken = [ids(await desk.take(1, held=["greet"])) for _ in range(3)]
    assert taken == [["unknown-ours"], ["ours"], []]
    monkeypatch.setattr(room, "MESSAGE_VERSION", 3)
    assert len(await desk.take(10, held=["greet"])) == 6
    assert (await desk.balanced()).held == 0


async def test_a_held_run_can_be_cancelled_whatever_its_version(desk: Desk) -> None:
    await hold(desk, "newer", version=2, why="newer_message")
    assert await desk.broker.cancel("newer") == "ended"
    assert (await desk.balanced()).held == 0


async def test_every_task_with_held_runs_is_named_sooner_or_later(desk: Desk) -> None:
    tasks = {f"task-{n:02}" for n in range(30)}
    await desk.submit(*(submission(f"run-{task}", task=task) for task in sorted(tasks)))
    for run in await desk.take(30):
        assert await desk.settle(run, Kind.held, reason="unknown_task")
    named: set[str] = set()
    cursor = ""
    for _ in range(30):
        told = (await desk.claim(1, cursor=cursor)).held_tasks
        named |= set(told)
        cursor = told[-1]
    assert named == tasks


# -- streams that are missing --------------------------------------------------------------


def leased(desk: Desk, *runs: Claimed) -> bool:
    with desk.own.server.client() as client:
        return None not in client.execute_command(
            "ZMSCORE", desk.keys["leases"], *(run.token for run in runs)
        )


async def test_a_stream_missing_half_way_through_a_claim_strands_nothing(desk: Desk) -> None:
    await desk.queue("a", "b", priority=HIGH)
    with desk.own.server.client() as client:
        client.delete(desk.keys["stream_rm"])
    runs = await desk.take(10)
    assert ids(runs) == ["a", "b"]
    assert leased(desk, *runs)
    await desk.queue("c")
    assert ids(await desk.take(10)) == ["c"]
    assert [await desk.settle(run) for run in runs] == [True, True]
    assert (await desk.balanced()).running == 1


async def test_held_runs_stay_held_until_there_is_a_stream_to_hand_them_out_by(desk: Desk) -> None:
    await hold(desk, "a", task="rare")
    with desk.own.server.client() as client:
        client.delete(desk.keys["stream_dm"])
    assert ids(await desk.take(10, held=["rare"])) == ["a"]
    assert (await desk.balanced()).running == 1


# -- paused, stopped -----------------------------------------------------------------------


async def test_a_paused_queue_hands_out_nothing_until_it_goes_on(desk: Desk) -> None:
    await desk.queue("a")
    await hold(desk, "held", task="rare")
    await desk.broker.pause()
    assert (await desk.claim(10, held=["rare"])).runs == []
    assert (await desk.balanced()).paused is True
    await desk.broker.resume()
    assert (await desk.balanced()).paused is False
    assert len(await desk.take(10, held=["rare"])) == 1


async def test_a_stopped_consumer_gets_nothing_and_others_do(desk: Desk) -> None:
    await desk.queue("a")
    await desk.broker.stop_claiming("ann")
    assert await desk.take(10, "ann") == []
    assert ids(await desk.take(10, "bob")) == ["a"]


# -- the bell ------------------------------------------------------------------------------


async def test_who_waits_at_the_bell_is_woken_by_a_run(desk: Desk) -> None:
    waiting = asyncio.create_task(desk.take(1, wait=LONG))
    await desk.queue("a")
    assert ids(await waiting) == ["a"]


async def test_a_full_consumer_rings_for_the_next_one(desk: Desk) -> None:
    await desk.queue("a", "b")
    assert ids(await desk.take(1, wait=LONG)) == ["a"]
    assert ids(await desk.take(1, "bob", wait=LONG)) == ["b"]


@pytest.mark.parametrize("kind", [Kind.interrupted, Kind.retry, Kind.held])
async def test_who_waits_at_the_bell_is_woken_by_what_comes_back(desk: Desk, kind: Kind) -> None:
    await desk.queue("a")
    run = await desk.take_one()
    assert (await desk.take(1, wait=0.001)) == []
    async with asyncio.timeout(20):
        waiting = asyncio.create_task(desk.claim(1, wait=LONG))
        assert await desk.settle(run, kind, reason="unknown_task")
        claim = await waiting
    assert ids(claim.runs) == ([] if kind is Kind.held else ["a"])


async def test_who_waits_at_the_bell_is_woken_by_the_rescuer(desk: Desk) -> None:
    await desk.queue("a")
    run = await desk.take_one()
    assert (await desk.take(1, wait=0.001)) == []
    waiting = asyncio.create_task(desk.take(1, "bob", wait=LONG))
    await desk.lose(run)
    assert ids(await waiting) == ["a"]


async def test_who_waits_at_the_bell_is_woken_by_the_end_of_a_suspect_for_the_next(desk: Desk) -> None:
    await desk.queue("a", "b")
    for _ in range(2):
        await desk.lose(*await desk.take(2))
    suspect = await desk.take_one()
    assert suspect.suspect
    assert await desk.take(1, suspects=0, wait=0.001) == []
    waiting = asyncio.create_task(desk.take(1, "bob", wait=LONG))
    assert await desk.settle(suspect)
    assert ids(await waiting) == ["b"]


async def test_stopping_ends_the_wait_at_the_bell(desk: Desk) -> None:
    waiting = asyncio.create_task(desk.take(1, "ann", wait=LONG))
    while not waiting.done():
        await desk.broker.stop_claiming("ann")
        await asyncio.wait({waiting}, timeout=0.02)
    assert await waiting == []


async def test_what_a_stopping_consumer_was_given_in_a_lost_answer_is_told_it_again(
    desk: Desk, proxied_url: str, proxy: CuttingProxy, broker_queue: OwnQueue
) -> None:
    async with desk_at(proxied_url, broker_queue) as cut_off:
        await desk.queue("a", "b")
        proxy.cut_next_answer(b"ann")
        claiming = asyncio.create_task(cut_off.take())
        await proxy.wait_for_cut()
        proxy.refuse()
        await desk.broker.stop_claiming("ann")
        await proxy.accept()
        assert ids(await claiming) == ["a"]
        assert await cut_off.take() == []
