"""A tick is fired once in the whole fleet, never ahead of the broker's clock."""

from __future__ import annotations

import asyncio

from fluid.scheduler.moves import Fired, Limit, Refusal, Submission, Tick
from tests.fluid.scheduler.brokers.desk import HIGH, Desk, ids, submission


async def fire(
    desk: Desk,
    tick: float,
    *,
    run: Submission | None = None,
    task: str = "greet",
    fingerprint: str = "hourly",
    nonce: str = "ann",
) -> Fired:
    return await desk.broker.fire(task, fingerprint, tick, nonce=nonce, run=run)


async def known(desk: Desk, last: float = 1000.0) -> None:
    """A schedule whose last tick was long ago."""
    await fire(desk, 0.0)
    with desk.own.server.client() as client:
        client.hset(desk.keys["schedules"], "greet", f"hourly {int(last)} someone")


async def test_a_new_schedule_starts_from_now(desk: Desk) -> None:
    told = await fire(desk, 1000.0, run=submission("greet@1000"))
    assert (told.tick, told.last) == (Tick.new, told.now)
    assert (await desk.balanced()).books.accepted == 0
    assert await desk.broker.schedules() == {"greet": told.now}


async def test_a_changed_schedule_starts_from_now(desk: Desk) -> None:
    await known(desk)
    told = await fire(desk, 2000.0, run=submission("greet@2000"), fingerprint="daily")
    assert (told.tick, told.last) == (Tick.new, told.now)
    assert (await desk.balanced()).books.accepted == 0


async def test_a_due_tick_is_fired(desk: Desk) -> None:
    await known(desk)
    told = await fire(desk, 2000.0, run=submission("greet@2000", HIGH, deliveries=7, message=b"parcel"))
    assert (told.tick, told.last) == (Tick.fired, 2000.0)
    (run,) = await desk.take(10)
    assert (run.id, run.priority, run.message) == ("greet@2000", HIGH, b"parcel")
    assert run.ready == run.queued == told.now
    assert (await desk.balanced()).books.accepted == 1
    assert await desk.broker.schedules() == {"greet": 2000.0}


async def test_a_tick_wakes_who_waits_at_the_bell(desk: Desk) -> None:
    await known(desk)
    waiting = asyncio.create_task(desk.take(1, wait=3600.0))
    await fire(desk, 2000.0, run=submission("greet@2000"))
    assert ids(await waiting) == ["greet@2000"]


async def test_of_many_schedulers_one_fires_a_tick(desk: Desk) -> None:
    await known(desk)
    told = await asyncio.gather(
        *(fire(desk, 2000.0, run=submission("greet@2000"), nonce=f"scheduler-{n}") for n in range(20))
    )
    assert sorted(one.tick for one in told) == [Tick.done] * 19 + [Tick.fired]
    assert ids(await desk.take(10)) == ["greet@2000"]


async def test_who_fired_a_tick_is_told_so_again(desk: Desk) -> None:
    await known(desk)
    for _ in range(2):
        assert (await fire(desk, 2000.0, run=submission("greet@2000"))).tick is Tick.fired
    assert (await desk.balanced()).books.accepted == 1


async def test_a_tick_whose_unique_key_is_taken_counts_and_its_run_is_refused(desk: Desk) -> None:
    await known(desk)
    await desk.queue("open", unique="key")
    told = await fire(desk, 2000.0, run=submission("greet@2000", unique="key"))
    assert (told.tick, told.last, told.refusal) == (Tick.fired, 2000.0, Refusal("unique", "open"))
    assert await desk.broker.schedules() == {"greet": 2000.0}
    assert await desk.state("greet@2000") is None
    assert (await desk.balanced()).books.accepted == 1
    assert ids(await desk.take(10)) == ["open"]


async def test_who_fired_a_tick_that_was_refused_is_told_so_again_and_nobody_else(desk: Desk) -> None:
    await known(desk)
    await desk.queue("open", unique="key")
    run = submission("greet@2000", unique="key")
    assert (await fire(desk, 2000.0, run=run)).refusal == Refusal("unique", "open")
    assert await desk.settle(await desk.take_one())
    again = await fire(desk, 2000.0, run=run)
    assert (again.tick, again.refusal) == (Tick.fired, Refusal("unique", "open"))
    other = await fire(desk, 2000.0, run=run, nonce="bob")
    assert (other.tick, other.refusal) == (Tick.done, None)
    assert (await desk.balanced()).books.accepted == 1


async def test_a_tick_takes_its_unique_key_until_its_run_has_ended(desk: Desk) -> None:
    await known(desk)
    for tick in (2000, 4000):
        told = await fire(desk, tick, run=submission(f"greet@{tick}", unique="key"))
        assert (told.tick, told.refusal) == (Tick.fired, None)
        refused = await fire(desk, tick + 1000, run=submission(f"greet@{tick + 1000}", unique="key"))
        assert refused.refusal == Refusal("unique", f"greet@{tick}")
        refusal = Refusal("unique", f"greet@{tick}")
        assert (await desk.submit(submission("later", unique="key"))).verdicts == [refusal]
        assert await desk.settle(await desk.take_one())


async def test_a_tick_shares_the_places_of_its_concurrency_key(desk: Desk) -> None:
    await known(desk)
    await desk.broker.set_limits([Limit("greet", places=1)])
    await desk.queue("a", group="rome")
    await desk.take(1)
    await fire(desk, 2000.0, run=submission("greet@2000", group="rome"))
    await fire(desk, 3000.0, run=submission("greet@3000", group="oslo"))
    assert ids(await desk.take(10)) == ["greet@3000"]


async def test_an_older_tick_is_done(desk: Desk) -> None:
    await known(desk, last=5000.0)
    told = await fire(desk, 2000.0, run=submission("greet@2000"))
    assert (told.tick, told.last) == (Tick.done, 5000.0)
    assert await desk.take(10) == []


async def test_a_tick_ahead_of_the_brokers_clock_is_refused(desk: Desk) -> None:
    await known(desk)
    ahead = (await desk.balanced()).now + 60_000
    told = await fire(desk, ahead, run=submission("early"))
    assert (told.tick, told.last) == (Tick.early, 1000.0)
    assert (await desk.balanced()).books.accepted == 0
    assert await desk.broker.schedules() == {"greet": 1000.0}


async def test_missed_ticks_are_given_up_without_a_run(desk: Desk) -> None:
    await known(desk)
    assert (await fire(desk, 4000.0)).tick is Tick.passed
    assert (await fire(desk, 3000.0, run=submission("greet@3000"), nonce="bob")).tick is Tick.done
    assert (await fire(desk, 5000.0, run=submission("greet@5000"), nonce="bob")).tick is Tick.fired
    assert (await desk.balanced()).books.accepted == 1


async def test_tick_zero_only_asks(desk: Desk) -> None:
    first = await fire(desk, 0.0)
    again = await fire(desk, 0.0, nonce="bob")
    assert (first.tick, again.tick) == (Tick.new, Tick.done)
    assert again.last == first.last
    assert (await desk.balanced()).books.accepted == 0


async def test_schedules_of_two_tasks_do_not_meet(desk: Desk) -> None:
    await known(desk)
    await fire(desk, 0.0, task="other", fingerprint="hourly")
    assert (await fire(desk, 2000.0, run=submission("greet@2000"))).tick is Tick.fired
    assert set(await desk.broker.schedules()) == {"greet", "other"}
