"""A lease is renewed while its run runs; when it runs out, the run is delivered again."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from fluid.scheduler.moves import Fate, Kind, Renewal
from fluid.scheduler.states import TaskState
from tests.fluid.scheduler.brokers.desk import ABOUT, HIGH, LONG, LOW, Desk, ids


async def expiries(desk: Desk) -> dict[str, float]:
    with desk.own.server.client() as client:
        found = client.zrange(desk.keys["leases"], 0, -1, withscores=True)
    return {token.decode(): expiry for token, expiry in found}


# -- renewing ------------------------------------------------------------------------------


async def test_a_renewal_moves_every_lease_of_the_consumer(desk: Desk) -> None:
    await desk.queue("a", "b")
    runs = await desk.take(2, lease=1.0)
    before = await expiries(desk)
    assert desk.renew(*runs, lease=100.0) == [Renewal.renewed, Renewal.renewed]
    after = await expiries(desk)
    assert set(after) == set(before)
    assert all(after[token] >= before[token] + 99_000 for token in after)


async def test_a_renewal_never_brings_back_a_lease_that_has_gone(desk: Desk) -> None:
    await desk.queue("a", "b")
    settled, kept = await desk.take(2)
    assert await desk.settle(settled)
    assert desk.renew(settled, kept) == [Renewal.gone, Renewal.renewed]
    await desk.lose(kept)
    assert desk.renew(kept) == [Renewal.gone]
    assert await expiries(desk) == {}


async def test_a_renewed_run_is_not_rescued(desk: Desk) -> None:
    await desk.queue("a")
    run = await desk.take_one(lease=0.0)
    assert desk.renew(run) == [Renewal.renewed]
    assert await desk.rescue() == []
    assert await desk.settle(run)


async def test_a_consumer_without_runs_still_says_that_it_is_alive(desk: Desk) -> None:
    assert desk.renew() == []
    (told,) = await desk.broker.consumers()
    assert (told.name, told.slots, told.busy) == ("ann", ABOUT.slots, ABOUT.busy)
    assert (told.version, told.tasks) == (ABOUT.version, ABOUT.tasks)
    assert told.seen >= 0


@pytest.mark.parametrize("count", [1, 501, 5000])
async def test_any_number_of_leases_is_renewed(desk: Desk, count: int) -> None:
    await desk.queue(*(f"run-{n}" for n in range(count)))
    runs = []
    while claimed := await desk.take(500):
        runs += claimed
    assert desk.renew(*runs) == [Renewal.renewed] * count


# -- rescuing ------------------------------------------------------------------------------


async def test_a_lost_run_comes_back_with_its_owner_named(desk: Desk) -> None:
    await desk.queue("a", message=b"parcel", priority=LOW)
    first = await desk.take_one("ann")
    (rescued,) = await desk.lose(first)
    assert (rescued.fate, rescued.owner) == (Fate.returned, "ann")
    assert (rescued.record.id, rescued.record.task, rescued.record.losses) == ("a", "greet", 1)
    assert await desk.state("a") is TaskState.queued
    again = await desk.take_one("bob")
    assert (again.losses, again.failures, again.message) == (1, 0, b"parcel")
    (rescued,) = await desk.lose(again)
    assert rescued.owner == "bob"
    assert rescued.record.owners == ("ann", "bob")
    await desk.balanced()


async def test_a_lease_that_has_not_run_out_is_left_alone(desk: Desk) -> None:
    await desk.queue("a", "b")
    a, b = await desk.take(2)
    (rescued,) = await desk.lose(a)
    assert rescued.record.id == "a"
    assert await desk.settle(b)


async def test_a_run_that_was_lost_too_often_is_dead(desk: Desk) -> None:
    await desk.queue("a")
    fates = [(await desk.lose(await desk.take_one(), max_deliveries=3))[0].fate for _ in range(3)]
    assert fates == [Fate.returned, Fate.returned, Fate.dead]
    record = await desk.broker.get_run("a")
    assert record is not None
    assert (record.state, record.reason, record.losses) == (TaskState.dead, "lost_too_often", 3)
    assert record.owners == ("ann",) * 3
    assert await desk.take(10) == []
    assert (await desk.balanced()).dead == 1


@pytest.mark.parametrize(("own", "fleets", "losses"), [(1, 5, 1), (4, 2, 4), (None, 2, 2)])
async def test_the_tasks_own_max_deliveries_wins(
    desk: Desk, own: int | None, fleets: int, losses: int
) -> None:
    await desk.queue("a", deliveries=own)
    for number in range(1, losses + 1):
        (rescued,) = await desk.lose(await desk.take_one(), max_deliveries=fleets)
        assert rescued.fate is (Fate.dead if number == losses else Fate.returned)


async def test_failures_do_not_count_towards_max_deliveries(desk: Desk) -> None:
    await desk.queue("a")
    for _ in range(5):
        assert await desk.settle(await desk.take_one(), Kind.retry)
    (rescued,) = await desk.lose(await desk.take_one(), max_deliveries=2)
    assert rescued.fate is Fate.returned


async def test_one_pass_an_interval_in_the_whole_fleet(desk: Desk) -> None:
    await desk.queue("a", "b")
    a, b = await desk.take(2)
    assert len(await desk.lose(a, interval=LONG)) == 1
    assert await desk.lose(b, interval=LONG) == []
    assert await desk.state("b") is TaskState.running
    assert len(await desk.rescue(interval=0.0)) == 1


async def test_of_many_rescuers_one_finds_each_lost_run(desk: Desk) -> None:
    await desk.queue(*"abcdef")
    await desk.run_out(*await desk.take(6))
    passes = await asyncio.gather(*(desk.rescue(interval=LONG) for _ in range(10)))
    assert sorted(len(found) for found in passes) == [0] * 9 + [6]
    assert (await desk.balanced()).ready == 6


async def test_the_same_pass_told_again_answers_the_same(desk: Desk) -> None:
    await desk.queue("a")
    first = await desk.lose(await desk.take_one(), nonce="pass")
    assert await desk.rescue(nonce="pass", interval=0.0) == first
    assert (await desk.balanced()).ready == 1


async def test_what_is_kept_of_a_pass_grows_with_its_runs_and_not_with_their_messages(desk: Desk) -> None:
    count, message = 50, b"x" * 20_000
    await desk.queue(*(f"run-{n}" for n in range(count)), message=message, unique="")
    first = await desk.lose(*await desk.take(count), nonce="pass")
    with desk.own.server.client() as client:
        assert client.hstrlen(desk.keys["upkeep"], "rescue_answer") < count * 300
    again = await desk.rescue(nonce="pass", interval=0.0)
    assert again == first
    assert {one.record.message for one in again} == {message}


async def test_a_pass_told_again_knows_a_run_that_has_moved_on(desk: Desk) -> None:
    await desk.queue("a", "b", message=b"parcel")
    first = await desk.lose(*await desk.take(2), nonce="pass")
    settled, running = await desk.take(2)
    assert await desk.settle(settled)
    again = await desk.rescue(nonce="pass", interval=0.0)
    messages = {settled.id: b"", running.id: b"parcel"}
    assert again == [
        replace(one, record=replace(one.record, message=messages[one.record.id])) for one in first
    ]


async def test_many_lost_runs_come_back_pass_by_pass(desk: Desk) -> None:
    names = [f"run-{n:03}" for n in range(450)]
    await desk.queue(*names, priority=HIGH)
    await desk.run_out(*await desk.take(450))
    found = [len(await desk.rescue()) for _ in range(4)]
    assert found == [200, 200, 50, 0]
    assert sorted(ids(await desk.take(450))) == names


# -- leaving -------------------------------------------------------------------------------


async def group_consumers(desk: Desk) -> set[bytes]:
    with desk.own.server.client() as client:
        return {
            told["name"]
            for name in ("stream_rm", "stream_bm")
            for told in client.xinfo_consumers(desk.keys[name], "fluid")
        }


async def test_who_has_settled_everything_leaves_nothing_behind(desk: Desk) -> None:
    await desk.queue("a")
    run = await desk.take_one()
    desk.renew(run)
    assert not await desk.broker.leave("ann")
    assert await group_consumers(desk) == {b"ann"}
    assert len(await desk.broker.consumers()) == 1
    assert await desk.settle(run)
    assert await desk.broker.leave("ann")
    assert await group_consumers(desk) == set()
    assert await desk.broker.consumers() == []
    with desk.own.server.client() as client:
        assert not client.hexists(desk.keys["claims"], "ann")


async def test_a_silent_consumer_is_forgotten_only_with_nothing_pending(desk: Desk) -> None:
    await desk.queue("a")
    run = await desk.take_one()
    desk.renew(run)
    assert (await desk.broker.tidy(interval=0.0, silence=0.0)).gone == 0
    assert await group_consumers(desk) == {b"ann"}
    await desk.lose(run)
    assert (await desk.broker.tidy(interval=0.0, silence=0.0)).gone == 1
    assert await group_consumers(desk) == set()
    assert ids(await desk.take(1, "bob")) == ["a"]


async def test_who_shows_signs_of_life_is_not_forgotten(desk: Desk) -> None:
    desk.renew()
    assert (await desk.broker.tidy(interval=0.0, silence=LONG)).gone == 0
    assert len(await desk.broker.consumers()) == 1


async def test_one_tidying_an_interval_in_the_whole_fleet(desk: Desk) -> None:
    desk.renew()
    assert (await desk.broker.tidy(interval=LONG, silence=LONG)).gone == 0
    assert (await desk.broker.tidy(interval=LONG, silence=0.0)).gone == -1
    assert len(await desk.broker.consumers()) == 1


async def test_tidying_forgets_expired_evidence_and_waiters_that_gave_up(desk: Desk) -> None:
    await desk.queue("a", "b")
    a, _ = await desk.take(2)
    assert await desk.settle(a, Kind.failure, ttl=LONG)
    with desk.own.server.client() as client:
        client.zadd(desk.keys["failed"], {b"%015d\0greet\0error\0long_ago" % 1: 0})
        client.zadd(desk.keys["waited"], {"long_ago": 1})
        await desk.broker.tidy(interval=0.0, silence=LONG)
        assert [member.rpartition(b"\0")[2] for member in client.zrange(desk.keys["failed"], 0, -1)] == [b"a"]
        assert client.zcard(desk.keys["waited"]) == 0


async def test_after_a_silence_a_pass_is_only_noted_so_that_keepers_renew_first(desk: Desk) -> None:
    """As when the server stood still, and a pass that waited in its socket is the first thing it sees."""
    await desk.queue("a")
    run = await desk.take_one()
    assert await desk.rescue(silence=LONG) == []
    with desk.own.server.client() as client:
        client.hincrby(desk.keys["upkeep"], "rescued", -60_000)
    await desk.run_out(run)
    assert await desk.rescue(silence=30.0) == []
    assert desk.renew(run) == [Renewal.renewed]
    assert await desk.rescue(silence=30.0) == []
    assert await desk.settle(run)


async def test_after_a_silence_the_second_pass_rescues(desk: Desk) -> None:
    await desk.queue("a")
    run = await desk.take_one()
    await desk.run_out(run)
    assert await desk.rescue(silence=30.0) == []
    assert [one.record.id for one in await desk.rescue(silence=30.0)] == ["a"]
