"""Every script may arrive twice: an answer is lost, the call is made again, and nothing differs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
from msgspec import structs

from fluid.clock import elapsed
from fluid.errors import BrokerUnavailableError
from fluid.scheduler.brokers import scripts
from fluid.scheduler.brokers.redis import RedisBroker
from fluid.scheduler.brokers.scripts import SCRIPTS, Script
from fluid.scheduler.moves import ClaimRequest, Kind, Limit, Rescued, RunRecord
from fluid.scheduler.states import TaskState
from tests.fluid.scheduler.brokers.desk import ABOUT, HIGH, LONG, Desk, desk_at, ids, outcome, submission
from tests.support.proxy import CuttingProxy
from tests.support.queues import OwnQueue, queue_of_its_own

Story = Callable[[Desk, RedisBroker], Awaitable[Any]]
STORIES: dict[str, tuple[Script, Story]] = {}
PATIENCE = 30.0


def story(script: Script) -> Callable[[Story], Story]:
    """One move of this script, made through the second broker; what its caller was told is compared."""

    def tell(told: Story) -> Story:
        STORIES[told.__name__] = script, told
        return told

    return tell


# -- what is compared ----------------------------------------------------------------------


def kept_of(record: RunRecord | None) -> Any:
    """A record without its instants."""
    return None if record is None else asdict(replace(record, queued=0, ready=0, lease_until=None))


def rescued_as(found: list[Rescued]) -> Any:
    return [(one.fate, one.owner, kept_of(one.record)) for one in found]


async def portrait(desk: Desk) -> dict[str, Any]:
    """Everything that the queue is, without its instants."""
    snapshot = await desk.balanced()
    with desk.own.server.client() as client:
        # what else there is expires by itself
        lasting = (*desk.keys.permanent(), *(desk.keys.run(run_id) for run_id in "abcd"))
        present = [key.removeprefix(desk.keys.prefix) for key in desk.own.keys(client) if key in lasting]
        lengths = {
            f"stream {name}": int(client.xlen(desk.keys[f"stream_{name}"])) for name in ("rm", "bm", "dm")
        }
        for name in ("leases", "failed", "waited", "seen"):
            lengths[name] = int(client.zcard(desk.keys[name]))
        lengths["cancelled"] = int(client.scard(desk.keys["cancelled"]))
        unique = client.hgetall(desk.keys["unique"])
    records = {run_id: kept_of(await desk.broker.get_run(run_id)) for run_id in "abcd"}
    counts = asdict(replace(snapshot, now=0, oldest_ready_age={}))
    return {"keys": present, "lengths": lengths, "unique": unique, "runs": records, "counts": counts}


# -- the stories ---------------------------------------------------------------------------


def soon() -> float:
    return elapsed() + PATIENCE


@story(scripts.OPEN)
async def opening(desk: Desk, tried: RedisBroker) -> Any:
    with desk.own.server.client() as client:
        client.delete(*(desk.keys[name] for name in scripts.OPEN.key_names))
    await tried.open(soon())


@story(scripts.ENQUEUE)
async def queueing(desk: Desk, tried: RedisBroker) -> Any:
    await desk.queue("d")
    runs = [submission("a"), submission("b", delay=LONG), submission("c", HIGH, unique="key")]
    return (await tried.enqueue(runs, deadline=soon())).verdicts


@story(scripts.ENQUEUE)
async def queueing_what_is_refused(desk: Desk, tried: RedisBroker) -> Any:
    await desk.queue("a")
    await desk.queue("b", unique="key")
    runs = [submission("a"), submission("c", unique="key")]
    return (await tried.enqueue(runs, deadline=soon())).verdicts


@story(scripts.ENQUEUE)
async def queueing_a_replay(desk: Desk, tried: RedisBroker) -> Any:
    return (await tried.enqueue([submission("a", replays="z")], deadline=soon())).verdicts


@story(scripts.ENQUEUE)
async def queueing_the_only_replay(desk: Desk, tried: RedisBroker) -> Any:
    await desk.queue("a")
    assert await desk.settle(await desk.take_one(), Kind.failure, ttl=LONG)
    runs = [submission("b", replays="a", once=True), submission("c", replays="a", once=True)]
    return (await tried.enqueue(runs, deadline=soon())).verdicts


async def claiming(desk: Desk, tried: RedisBroker, wait: float, held: tuple[str, ...] = ()) -> Any:
    claim = await tried.claim(ClaimRequest("ann", 2, lease=30, wait=wait, held=held))
    assert [await desk.settle(run) for run in claim.runs] == [True] * len(claim.runs)
    return ids(claim.runs), claim.filled


@story(scripts.CLAIM)
async def claiming_ready_runs(desk: Desk, tried: RedisBroker) -> Any:
    await desk.queue("a", "b", "c")
    return await claiming(desk, tried, wait=0)


@story(scripts.CLAIM)
async def claiming_after_a_wait(desk: Desk, tried: RedisBroker) -> Any:
    waiting = asyncio.create_task(claiming(desk, tried, wait=PATIENCE))
    await desk.queue("a", "b", "c")
    return await waiting


@story(scripts.CLAIM)
async def claiming_after_a_silence(desk: Desk, tried: RedisBroker) -> Any:
    await desk.queue("a", "b", "c")
    desk.silence("ann")
    return await claiming(desk, tried, wait=0)


@story(scripts.CLAIM)
async def claiming_held_and_due_runs(desk: Desk, tried: RedisBroker) -> Any:
    await desk.queue("a", "b")
    a, b = await desk.take(2)
    await desk.broker.settle([outcome(a, Kind.held, reason="unknown_task"), outcome(b, Kind.retry)])
    return await claiming(desk, tried, wait=0, held=("greet",))


@story(scripts.CLAIM)
async def claiming_under_a_limit(desk: Desk, tried: RedisBroker) -> Any:
    await desk.broker.set_limits([Limit("greet", places=1)])
    await desk.queue("a", "b", "c")
    claim = await tried.claim(ClaimRequest("ann", 2, lease=30))
    return ids(claim.runs)


async def settling(desk: Desk, tried: RedisBroker, kind: Kind) -> Any:
    await desk.broker.set_limits([Limit("greet", places=2)])
    await desk.queue("a", "b", "c", "d")
    a, b = await desk.take(3)
    assert await desk.broker.wait_end("a", elapsed()) is None
    await desk.broker.cancel("a")
    told = [
        outcome(a, kind, reason="unknown_task", delay=LONG, ttl=LONG),
        structs.replace(outcome(b), entry="1-1"),
    ]
    return (await tried.settle(told)).accepted


def settling_as(kind: Kind) -> Story:
    async def settle(desk: Desk, tried: RedisBroker) -> Any:
        return await settling(desk, tried, kind)

    settle.__name__ = f"settling_as_{kind}"
    return settle


for kind in Kind:
    story(scripts.SETTLE)(settling_as(kind))


def settling_what_fits_no_model(others: str) -> Story:
    async def settle(desk: Desk, tried: RedisBroker) -> Any:
        desk.renew(about=replace(ABOUT, models={"greet": others}))
        await desk.queue("a", unique="key")
        told = [outcome(await desk.take_one(), Kind.held, reason="invalid_params", model="mine")]
        settled = await tried.settle(told)
        return settled.accepted, settled.dead

    settle.__name__ = f"settling_what_fits_no_model_but_{others}"
    return settle


for others in ("mine", "theirs"):
    story(scripts.SETTLE)(settling_what_fits_no_model(others))


@story(scripts.RENEW)
async def renewing(desk: Desk, tried: RedisBroker) -> Any:
    await desk.queue("a", "b", "c")
    a, b, c = await desk.take(3)
    assert await desk.settle(a, ttl=LONG)
    assert await desk.broker.cancel("b") == "asked"
    runs = [(run.token, run.id) for run in (a, b, c)]
    renewer = tried.renewer()
    try:
        # trying again is its keeper's
        for _ in range(2):
            try:
                return await asyncio.to_thread(renewer.renew, "ann", 30.0, ABOUT, runs)
            except BrokerUnavailableError:
                continue
    finally:
        renewer.close()
    raise AssertionError("not even the second time")


async def rescuing(desk: Desk, tried: RedisBroker, max_deliveries: int) -> Any:
    await desk.broker.set_limits([Limit("greet", places=3)])
    await desk.queue("a", "b", "c", "d", unique="")
    runs = await desk.take(3)
    await desk.broker.cancel("c")
    await desk.run_out(*runs)
    try:
        found = await tried.rescue(nonce="pass", interval=LONG, max_deliveries=max_deliveries)
    except BrokerUnavailableError:
        # a rescue is tried once; whoever lost its answer asks again with the same nonce
        found = await tried.rescue(nonce="pass", interval=LONG, max_deliveries=max_deliveries)
    return rescued_as(found)


@story(scripts.RESCUE)
async def rescuing_what_returns(desk: Desk, tried: RedisBroker) -> Any:
    return await rescuing(desk, tried, 5)


@story(scripts.RESCUE)
async def rescuing_what_is_dead(desk: Desk, tried: RedisBroker) -> Any:
    return await rescuing(desk, tried, 1)


@story(scripts.SNAPSHOT)
async def looking(desk: Desk, tried: RedisBroker) -> Any:
    await desk.queue("a", "b")
    await desk.take(1)
    return asdict(replace(await tried.snapshot(), now=0, oldest_ready_age={}))


async def firing(desk: Desk, tried: RedisBroker, *, run: bool, known: bool = True, unique: str = "") -> Any:
    if known:
        await desk.broker.fire("greet", "hourly", 0, nonce="someone", run=None)
        with desk.own.server.client() as client:
            client.hset(desk.keys["schedules"], "greet", "hourly 1000 someone")
    told = await tried.fire(
        "greet", "hourly", 2000.0, nonce="ann", run=submission("a", unique=unique) if run else None
    )
    schedules = await desk.broker.schedules()
    assert schedules == {"greet": told.last}
    assert told.last == 2000.0 or not known
    return (told.tick, told.refusal) if known else "its first tick is yet to come"


@story(scripts.FIRE)
async def firing_a_tick(desk: Desk, tried: RedisBroker) -> Any:
    return await firing(desk, tried, run=True)


@story(scripts.FIRE)
async def firing_a_tick_that_takes_a_unique_key(desk: Desk, tried: RedisBroker) -> Any:
    return await firing(desk, tried, run=True, unique="key")


@story(scripts.FIRE)
async def firing_a_tick_whose_unique_key_is_taken(desk: Desk, tried: RedisBroker) -> Any:
    await desk.queue("b", unique="key")
    return await firing(desk, tried, run=True, unique="key")


@story(scripts.FIRE)
async def giving_up_missed_ticks(desk: Desk, tried: RedisBroker) -> Any:
    return await firing(desk, tried, run=False)


@story(scripts.FIRE)
async def registering_a_schedule(desk: Desk, tried: RedisBroker) -> Any:
    return await firing(desk, tried, run=True, known=False)


@story(scripts.SHOW)
async def showing(desk: Desk, tried: RedisBroker) -> Any:
    await desk.queue("a", message=b"parcel")
    await desk.take(1)
    return kept_of(await tried.get_run("a"))


@story(scripts.SHOW)
async def waiting_for_an_end(desk: Desk, tried: RedisBroker) -> Any:
    await desk.queue("a")
    return await tried.wait_end("a", elapsed() + 1)


async def cancelling(desk: Desk, tried: RedisBroker, where: str) -> Any:
    await desk.broker.set_limits([Limit("greet", places=1)])
    await desk.queue("a", delay=LONG if where == "scheduled" else 0, unique="key")
    if where in ("running", "dead"):
        run = await desk.take_one()
        if where == "dead":
            assert await desk.settle(run, Kind.dead)
    return await tried.cancel("a", only="dead" if where == "dead" else "", reason="cancelled")


def cancelling_where(where: str) -> Story:
    async def cancel(desk: Desk, tried: RedisBroker) -> Any:
        return await cancelling(desk, tried, where)

    cancel.__name__ = f"cancelling_what_is_{where}"
    return cancel


for where in ("ready", "scheduled", "running", "dead"):
    story(scripts.CANCEL)(cancelling_where(where))


@story(scripts.LIMIT)
async def limiting(desk: Desk, tried: RedisBroker) -> Any:
    await desk.broker.set_limits([Limit("greet", places=1)])
    await desk.queue("a", "b", "c", "d")
    await desk.take(4)
    await tried.set_limits([Limit("greet", places=3)])
    return ids(await desk.take(4))


@story(scripts.REPLAY)
async def replaying(desk: Desk, tried: RedisBroker) -> Any:
    await desk.queue("a", unique="key")
    assert await desk.settle(await desk.take_one(), Kind.dead)
    return await tried.replay("a")


@story(scripts.HASTEN)
async def hastening(desk: Desk, tried: RedisBroker) -> Any:
    await desk.queue("a", "b", delay=LONG)
    await desk.queue("c")
    return await tried.hasten(["a", "b", "c", "d"]), ids(await desk.take(4))


@story(scripts.REPLAY)
async def replaying_what_is_refused(desk: Desk, tried: RedisBroker) -> Any:
    await desk.queue("a", unique="key")
    assert await desk.settle(await desk.take_one(), Kind.dead)
    await desk.queue("b", unique="key")
    return await tried.replay("a")


@story(scripts.PAUSE)
async def pausing(desk: Desk, tried: RedisBroker) -> Any:
    await desk.queue("a")
    await tried.pause()
    return ids(await desk.take(1))


@story(scripts.PAUSE)
async def resuming(desk: Desk, tried: RedisBroker) -> Any:
    await desk.queue("a")
    await desk.broker.pause()
    await tried.resume()
    return ids(await desk.take(1))


@story(scripts.PAUSE_TASK)
async def pausing_a_task(desk: Desk, tried: RedisBroker) -> Any:
    await desk.queue("a")
    await tried.pause("greet")
    return ids(await desk.take(1))


@story(scripts.PAUSE_TASK)
async def resuming_a_task(desk: Desk, tried: RedisBroker) -> Any:
    await desk.queue("a", "b")
    await desk.broker.pause("greet")
    assert await desk.take(2) == []
    await tried.resume("greet")
    return ids(await desk.take(2))


@story(scripts.LIST)
async def listing(desk: Desk, tried: RedisBroker) -> Any:
    await desk.queue("a", "b", delay=LONG)
    return [kept_of(run) for run in await tried.list_runs(TaskState.scheduled, task="greet")]


@story(scripts.PROGRESS)
async def reporting(desk: Desk, tried: RedisBroker) -> Any:
    await desk.queue("a")
    await tried.report_progress("a", b"1 of 2")


@story(scripts.STOP_CLAIMING)
async def stopping(desk: Desk, tried: RedisBroker) -> Any:
    await desk.queue("a")
    # it is tried once; whoever stops asks until its wait has ended
    with contextlib.suppress(BrokerUnavailableError):
        await tried.stop_claiming("ann")
    await tried.stop_claiming("ann")
    return ids(await desk.take(1))


@story(scripts.TELL)
async def telling(desk: Desk, tried: RedisBroker) -> Any:
    for event in (b"a", b"b", b"c"):
        # the first one brings the script along, the next one names it
        tried.fleet.put(event)
        await tried.fleet.tell(soon())
    return [told.event async for told in desk.broker.fleet.read(None, follow=False)]


@story(scripts.NOTE)
async def noting(desk: Desk, tried: RedisBroker) -> Any:
    assert await desk.broker.notes.write("who", b"ann", instead_of=None, ttl=LONG)
    seen = await desk.broker.notes.read()
    told = await tried.notes.write("who", b"ben", instead_of=seen.notes["who"], ttl=LONG)
    return told, {name: note.value for name, note in (await desk.broker.notes.read()).notes.items()}


@story(scripts.LEAVE)
async def leaving(desk: Desk, tried: RedisBroker) -> Any:
    desk.renew()
    return await tried.leave("ann")


@story(scripts.LEAVE)
async def leaving_too_early(desk: Desk, tried: RedisBroker) -> Any:
    await desk.queue("a")
    desk.renew(await desk.take_one())
    return await tried.leave("ann")


@story(scripts.TIDY)
async def tidying(desk: Desk, tried: RedisBroker) -> Any:
    """Nobody is told what went, so only what is left is compared."""
    desk.renew()
    await tried.tidy(interval=0.0, silence=0.0)


@story(scripts.TIDY)
async def tidying_what_nobody_can_take(desk: Desk, tried: RedisBroker) -> Any:
    desk.renew(about=replace(ABOUT, models={"greet": "theirs"}))
    await desk.queue("a")
    run = await desk.take_one()
    await desk.broker.settle([outcome(run, Kind.held, reason="invalid_params", model="mine")])
    desk.renew(about=replace(ABOUT, models={"greet": "mine"}))
    await tried.tidy(interval=0.0, silence=LONG)
    return await desk.state("a")


@story(scripts.SWEEP)
async def sweeping(desk: Desk, tried: RedisBroker) -> Any:
    """Whoever finds it tells it; that the leases are there is compared."""
    await desk.leave_to_sweep()
    await tried.sweep(interval=0.0)


# -- the rule ------------------------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_every_script_has_its_story(script: Script) -> None:
    assert script in {told_of for told_of, _ in STORIES.values()}


@pytest.mark.parametrize("name", STORIES)
async def test_a_script_that_arrives_twice_is_one_move(
    name: str, broker_queue: OwnQueue, proxied_url: str, proxy: CuttingProxy
) -> None:
    script, tell = STORIES[name]
    with queue_of_its_own(broker_queue.server) as undisturbed:
        async with (
            desk_at(undisturbed.url, undisturbed) as desk,
            desk_at(undisturbed.url, undisturbed) as other,
        ):
            expected = await tell(desk, other.broker)
            once = await portrait(desk)
    async with desk_at(broker_queue.url, broker_queue) as desk, desk_at(proxied_url, broker_queue) as other:
        proxy.cut_next_answer(script.sha.encode())
        answer = await tell(desk, other.broker)
        assert proxy.cuts == 1, "the story does not come past its script"
        assert answer == expected
        assert await portrait(desk) == once
