"""What a server came back with that had carried out half a move is found, and every run of it ends."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from redis import Redis

from fluid.scheduler import Event, TaskManager
from fluid.scheduler.announcing import Announcer
from fluid.scheduler.moves import Claimed, Fate, Kind, Limit, Swept
from fluid.scheduler.states import TaskState
from fluid.scheduler.upkeep.janitor import Janitor
from fluid.scheduler.upkeep.rescuer import Rescuer
from tests.fluid.scheduler.brokers.desk import LONG, Desk, ids, outcome

NOTHING = Swept(0, 0)


async def sweep(desk: Desk, looks: int = 100) -> Swept:
    """A pass that is not turned away because of another one."""
    return await desk.broker.sweep(interval=0.0, looks=looks)


def client_of(desk: Desk) -> Redis:
    return desk.own.server.client()


async def nothing_is_left(desk: Desk) -> None:
    """Nothing is pending or leased, nobody is kept from leaving, and the books balance."""
    assert await sweep(desk) == NOTHING
    with client_of(desk) as client:
        assert client.zcard(desk.keys["leases"]) == 0
    assert await desk.broker.leave("ann")
    assert await desk.broker.leave("bob")
    snapshot = await desk.balanced()
    assert (snapshot.ready, snapshot.running) == (0, 0)


# -- deliveries ----------------------------------------------------------------------------


async def test_what_is_in_order_is_left_alone(desk: Desk) -> None:
    await desk.broker.set_limits([Limit("greet", places=2)])
    await desk.queue("a", "b", "c", "d")
    await desk.queue("later", delay=LONG)
    await desk.queue("dead", task="mail")
    runs = await desk.take(4)
    assert await desk.settle(runs.pop(), Kind.dead, reason="unreadable")
    assert await sweep(desk) == NOTHING
    assert await desk.rescue() == []
    assert [await desk.settle(run) for run in runs] == [True, True]
    snapshot = await desk.balanced()
    assert (snapshot.ready, snapshot.held, snapshot.scheduled, snapshot.dead) == (2, 0, 1, 1)


async def test_a_delivery_that_lost_its_lease_is_delivered_again_and_told_as_stranded(desk: Desk) -> None:
    await desk.queue("a", message=b"parcel")
    first = await desk.take_one("ann")
    with client_of(desk) as client:
        client.zrem(desk.keys["leases"], first.token)
    assert await desk.rescue() == []
    assert await sweep(desk) == Swept(1, 0)
    (rescued,) = await desk.rescue()
    assert (rescued.fate, rescued.owner, rescued.stranded) == (Fate.returned, "ann", True)
    assert await desk.rescue(nonce="again", interval=LONG) == []
    again = await desk.take_one("bob")
    assert (again.id, again.losses, again.message) == ("a", 1, b"parcel")
    assert not await desk.settle(first)
    assert await desk.settle(again)
    await nothing_is_left(desk)


async def test_a_lease_that_ran_out_is_not_told_as_stranded(desk: Desk) -> None:
    await desk.queue("a")
    (rescued,) = await desk.lose(await desk.take_one())
    assert not rescued.stranded


async def test_the_rescue_of_a_stranded_run_is_told_again_as_it_was(desk: Desk) -> None:
    await desk.queue("a")
    first = await desk.take_one()
    with client_of(desk) as client:
        client.zrem(desk.keys["leases"], first.token)
    await sweep(desk)
    told = await desk.rescue(nonce="pass")
    assert [one.stranded for one in told] == [True]
    assert await desk.rescue(nonce="pass") == told


async def test_a_delivery_by_hand_is_found(desk: Desk) -> None:
    await desk.queue("a")
    with client_of(desk) as client:
        client.xreadgroup("fluid", "ann", {desk.keys["stream_rm"]: ">"}, count=1)
    assert await sweep(desk) == Swept(1, 0)
    await desk.rescue()
    assert await desk.settle(await desk.take_one("bob"))
    await nothing_is_left(desk)


@pytest.mark.parametrize("others", [0, 3])
async def test_what_was_delivered_and_is_not_pending_is_found(desk: Desk, others: int) -> None:
    names = [f"run-{n}" for n in range(2 * others + 1)]
    await desk.queue(*names)
    runs = await desk.take(len(names))
    stray = runs.pop(others)
    with client_of(desk) as client:
        client.xack(desk.keys["stream_rm"], "fluid", stray.entry)
        client.zrem(desk.keys["leases"], stray.token)
    assert await sweep(desk) == Swept(1, 0)
    (rescued,) = await desk.rescue()
    assert (rescued.record.id, rescued.owner) == (stray.id, "")
    runs.append(await desk.take_one("bob"))
    assert [await desk.settle(run) for run in runs] == [True] * len(names)
    await nothing_is_left(desk)


async def test_what_is_pending_though_its_entry_has_gone_keeps_nobody_from_leaving(desk: Desk) -> None:
    """As when a settlement was cut right after it had removed the entry."""
    await desk.queue("a")
    run = await desk.take_one()
    with client_of(desk) as client:
        client.hset(desk.keys.run("a"), mapping={"at": "success", "token": run.token})
        client.hincrby(desk.keys["books"], "success", 1)
        client.xdel(desk.keys["stream_rm"], run.entry)
        client.zrem(desk.keys["leases"], run.token)
    assert not await desk.broker.leave("ann")
    assert await sweep(desk) == Swept(1, 0)
    assert await desk.rescue() == []
    await nothing_is_left(desk)


async def test_a_lease_whose_entry_has_gone_goes_when_it_has_run_out(desk: Desk) -> None:
    with client_of(desk) as client:
        client.zadd(desk.keys["leases"], {"rm/1-1": 1})
    assert await desk.rescue() == []
    await nothing_is_left(desk)


async def test_what_nobody_would_look_for_comes_back(desk: Desk) -> None:
    """An entry of the direct lane, which a claim fills and empties in one move."""
    await desk.queue("a")
    with client_of(desk) as client:
        ((entry, fields),) = client.xrange(desk.keys["stream_rm"])
        client.xdel(desk.keys["stream_rm"], entry)
        moved = client.xadd(desk.keys["stream_dm"], fields)
        client.hset(desk.keys.run("a"), mapping={"at": "dm", "entry": moved})
    assert await desk.take(1) == []
    assert await sweep(desk) == Swept(1, 0)
    await desk.rescue()
    assert await desk.settle(await desk.take_one("bob"))
    await nothing_is_left(desk)


# -- a run in two places -------------------------------------------------------------------


def copy_entry(desk: Desk, client: Redis) -> None:
    """A second entry of the only run, as half a move leaves it: the record names the first one."""
    raw: Any = client
    ((_, fields),) = raw.xrange(desk.keys["stream_rm"])
    raw.xadd(desk.keys["stream_bm"], fields)


async def two_deliveries(desk: Desk) -> list[Claimed]:
    """Of one run, the one through the second entry first."""
    await desk.queue("a")
    with client_of(desk) as client:
        copy_entry(desk, client)
    return await desk.take(2)


async def test_of_two_entries_of_one_run_one_counts(desk: Desk) -> None:
    one, other = await two_deliveries(desk)
    assert (one.id, other.id) == ("a", "a")
    assert await desk.settle(one)
    assert not await desk.settle(other, Kind.failure)
    assert await desk.state("a") is TaskState.success
    await nothing_is_left(desk)


async def test_of_two_entries_of_one_run_that_are_settled_together_one_counts(desk: Desk) -> None:
    told = [outcome(run) for run in await two_deliveries(desk)]
    assert (await desk.broker.settle(told)).accepted == [True, False]
    await nothing_is_left(desk)


@pytest.mark.parametrize("kind", [Kind.retry, Kind.interrupted, Kind.held, Kind.dead])
async def test_a_run_that_has_ended_comes_back_through_no_second_entry(desk: Desk, kind: Kind) -> None:
    one, other = await two_deliveries(desk)
    assert await desk.settle(one)
    assert not await desk.settle(other, kind, reason="unknown_task")
    assert await desk.state("a") is TaskState.success
    await nothing_is_left(desk)


async def test_a_second_entry_that_is_lost_is_not_delivered_again(desk: Desk) -> None:
    copy, first = await two_deliveries(desk)
    assert (copy.code, first.code) == ("bm", "rm")
    assert await desk.lose(copy) == []
    assert await desk.settle(first)
    await nothing_is_left(desk)


async def test_a_second_entry_is_not_held_when_its_run_has_ended(desk: Desk) -> None:
    await desk.queue("a")
    with client_of(desk) as client:
        copy_entry(desk, client)
    assert await desk.settle(await desk.take_one())
    await desk.broker.pause("greet")
    claim = await desk.claim(1)
    assert (claim.runs, claim.aside) == ([], [])
    assert await desk.state("a") is TaskState.success
    await nothing_is_left(desk)


@pytest.mark.parametrize("family", ["scheduled", "held", "dead"])
async def test_a_run_leaves_a_list_in_which_it_is_not(desk: Desk, family: str) -> None:
    await desk.queue("a")
    member = b"%015d\0greet\0\0a" % 1 if family != "held" else b"greet\0paused\0%013d\0a" % 1
    with client_of(desk) as client:
        client.zadd(desk.keys[f"{family}_m"], {member: 0})
    assert await sweep(desk) == Swept(0, 1)
    assert await desk.settle(await desk.take_one())
    await nothing_is_left(desk)


async def test_a_run_in_a_list_in_which_it_is_not_is_not_let_out_of_it(desk: Desk) -> None:
    await desk.queue("a")
    with client_of(desk) as client:
        client.zadd(desk.keys["scheduled_m"], {b"%015d\0greet\0\0a" % 1: 0})
        client.zadd(desk.keys["held_m"], {b"greet\0paused\0%013d\0a" % 1: 0})
    await desk.broker.resume("greet")
    assert ids(await desk.take(3)) == ["a"]


# -- what is told --------------------------------------------------------------------------


async def test_a_stranded_run_is_told_in_the_log_and_as_lost(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    await desk.queue("a")
    run = await desk.take_one()
    with client_of(desk) as client:
        client.zrem(desk.keys["leases"], run.token)
    announcer, told = Announcer(stopping_grace_period=0.0), list[Event]()
    announcer.dispatcher.register_handler("lost.here", told.append)
    door = TaskManager(broker_url=desk.own.url)
    at_once = 0.001
    with caplog.at_level(logging.WARNING, "fluid"):
        await Janitor(broker=desk.broker, announcer=announcer, door=door, lease=at_once).once()
    (said,) = caplog.records
    assert "to deliver again: 1; " in said.getMessage()
    await Rescuer(broker=desk.broker, announcer=announcer, door=door, lease=at_once, max_deliveries=5).once()
    (event,) = told
    assert event.run is not None
    assert (event.run.id, event.reason, event.owner) == ("a", "stranded", "ann")


# -- bounds --------------------------------------------------------------------------------


async def test_a_pass_has_a_bound_and_the_next_one_goes_on_behind_it(desk: Desk) -> None:
    names = [f"run-{n}" for n in range(25)]
    await desk.queue(*names)
    await desk.queue(*(f"later-{n}" for n in range(25)), delay=LONG)
    runs = await desk.take(25)
    with client_of(desk) as client:
        client.zrem(desk.keys["leases"], *(run.token for run in runs[15:]))
        last = client.zrange(desk.keys["scheduled_m"], -1, -1)[0]
        client.hset(desk.keys.run(last.rpartition(b"\0")[2].decode()), "listed", "elsewhere")
    assert [await sweep(desk, looks=10) for _ in range(4)] == [
        Swept(0, 0),
        Swept(5, 0),
        Swept(5, 1),
        Swept(0, 0),
    ]


async def test_one_sweep_an_interval_in_the_whole_fleet(desk: Desk) -> None:
    await desk.broker.sweep(interval=LONG)
    await desk.queue("a")
    run = await desk.take_one()
    with client_of(desk) as client:
        client.zrem(desk.keys["leases"], run.token)
    assert await desk.broker.sweep(interval=LONG) == NOTHING
    assert await sweep(desk) == Swept(1, 0)
