"""Any part of any move, carried out alone, strands no run: a server may come back with it.

Every story is told once to a server that writes an append-only file; then the queue is made anew as it
would be if the file had ended after each of the commands within a transaction of its move, and worked off.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from uuid import uuid4

import pytest
from redis import Redis

from fluid.clock import elapsed
from fluid.scheduler.moves import Claimed, Kind, Limit, Swept
from tests.fluid.scheduler.brokers.desk import ABOUT, HIGH, LONG, Desk, desk_at, outcome, submission
from tests.fluid.scheduler.brokers.halves import AppendOnlyFile, Restored, halves
from tests.support.queues import OwnQueue, queue_of_its_own
from tests.support.servers import Flavour, RedisServer

Move = Callable[[Desk], Awaitable[object]]
Story = Callable[[Desk], Awaitable[Move]]
STORIES: dict[str, Story] = {}


def story(told: Story) -> Story:
    """It makes a queue what it was, and answers the move that was cut; whoever made it may make it again."""
    STORIES[told.__name__] = told
    return told


# -- the stories ---------------------------------------------------------------------------


@story
async def queueing(desk: Desk) -> Move:
    await desk.queue("a")
    return lambda desk: desk.submit(submission("b"), submission("c", HIGH, unique="key"), submission("d"))


@story
async def queueing_for_later(desk: Desk) -> Move:
    await desk.queue("a", unique="other")
    return lambda desk: desk.submit(submission("b", delay=LONG), submission("c", delay=LONG, unique="key"))


@story
async def queueing_the_only_replay(desk: Desk) -> Move:
    await desk.queue("a")
    assert await desk.settle(await desk.take_one(), Kind.failure, ttl=LONG)
    return lambda desk: desk.submit(submission("b", replays="a", once=True))


@story
async def claiming(desk: Desk) -> Move:
    await desk.queue("a", "b")
    await desk.queue("c", priority=HIGH)
    return lambda desk: desk.claim(3)


@story
async def claiming_what_fell_due(desk: Desk) -> Move:
    await desk.queue("a", "b", delay=LONG)
    assert await desk.broker.hasten(["a", "b"]) == 2
    return lambda desk: desk.claim(3)


@story
async def claiming_under_a_limit(desk: Desk) -> Move:
    await desk.broker.set_limits([Limit("greet", places=1)])
    await desk.queue("a", "b", "c")
    return lambda desk: desk.claim(3)


@story
async def claiming_under_a_rate(desk: Desk) -> Move:
    await desk.broker.set_limits([Limit("greet", places=2, starts=1, period=LONG)])
    await desk.queue("a", "b", "c")
    return lambda desk: desk.claim(3)


@story
async def claiming_runs_of_a_task_that_is_paused(desk: Desk) -> Move:
    await desk.queue("a", "b")
    await desk.broker.pause("greet")
    return lambda desk: desk.claim(3)


@story
async def claiming_what_others_cannot_take(desk: Desk) -> Move:
    await desk.queue("a", "b")
    told = [outcome(run, Kind.held, reason="unknown_task") for run in await desk.take(2)]
    await desk.broker.settle(told)
    return lambda desk: desk.claim(3, held=("greet",))


@story
async def claiming_a_suspect(desk: Desk) -> Move:
    await desk.queue("a")
    await desk.lose_times("a", 2)
    await desk.queue("b")
    return lambda desk: desk.claim(3)


def settling_as(kind: Kind, limited: bool) -> Story:
    async def settle(desk: Desk) -> Move:
        if limited:
            await desk.broker.set_limits([Limit("greet", places=2)])
        await desk.queue("a", "b", "c", "d", unique="")
        await desk.queue("e", unique="key", priority=HIGH)
        runs = await desk.take(2 if limited else 3)
        if limited:
            assert await desk.take(3) == []
        await desk.broker.wait_end(runs[0].id, elapsed())
        await desk.broker.cancel(runs[1].id)
        told = [outcome(run, kind, reason="unknown_task", delay=LONG, ttl=LONG) for run in runs]
        return lambda desk: desk.broker.settle(told)

    settle.__name__ = f"settling_as_{kind}{'_under_a_limit' if limited else ''}"
    return settle


for kind in Kind:
    for limited in (False, True):
        story(settling_as(kind, limited))


@story
async def settling_what_fits_no_model(desk: Desk) -> Move:
    desk.renew(about=replace(ABOUT, models={"greet": "mine"}))
    await desk.queue("a", unique="key")
    told = [outcome(await desk.take_one(), Kind.held, reason="invalid_params", model="mine")]
    return lambda desk: desk.broker.settle(told)


async def three_lost(desk: Desk) -> None:
    await desk.broker.set_limits([Limit("greet", places=3)])
    await desk.queue("a", "b", "c", "d", unique="")
    runs: list[Claimed] = await desk.take(3)
    assert await desk.take(1) == []
    await desk.broker.cancel("c")
    await desk.run_out(*runs)


@story
async def rescuing(desk: Desk) -> Move:
    await three_lost(desk)
    return lambda desk: desk.rescue()


@story
async def rescuing_what_is_dead(desk: Desk) -> Move:
    await three_lost(desk)
    return lambda desk: desk.rescue(max_deliveries=1)


def cancelling_what(where: str) -> Story:
    async def cancel(desk: Desk) -> Move:
        await desk.queue("a", delay=LONG if where == "is_scheduled" else 0, unique="key")
        await desk.queue("b")
        if where == "is_dead":
            assert await desk.settle(await desk.take_one(), Kind.dead, reason="lost_too_often")
        elif where == "is_held":
            await desk.broker.pause("greet")
            assert await desk.take(3) == []
        elif where == "has_a_place":
            await desk.broker.set_limits([Limit("greet", places=1)])
            assert await desk.settle(await desk.take_one(), Kind.interrupted)
        return lambda desk: desk.broker.cancel("a")

    cancel.__name__ = f"cancelling_what_{where}"
    return cancel


for where in ("is_ready", "is_scheduled", "is_held", "is_dead", "has_a_place"):
    story(cancelling_what(where))


@story
async def firing(desk: Desk) -> Move:
    await desk.broker.fire("greet", "hourly", 0, nonce="someone", run=None)
    with desk.own.server.client() as client:
        client.hset(desk.keys["schedules"], "greet", "hourly 1000 someone")
    run = submission("a", unique="key")
    return lambda desk: desk.broker.fire("greet", "hourly", 2000.0, nonce=uuid4().hex[:16], run=run)


@story
async def replaying(desk: Desk) -> Move:
    await desk.queue("a", "b", unique="")
    for run in await desk.take(2):
        assert await desk.settle(run, Kind.dead, reason="lost_too_often")
    return lambda desk: desk.broker.replay_many(["a", "b"])


@story
async def hastening(desk: Desk) -> Move:
    await desk.queue("a", "b", delay=LONG)
    return lambda desk: desk.broker.hasten(["a", "b"])


@story
async def limiting(desk: Desk) -> Move:
    await desk.broker.set_limits([Limit("greet", places=1)])
    await desk.queue("a", "b", "c", "d")
    await desk.take(4)
    return lambda desk: desk.broker.set_limits([Limit("greet", places=3)])


@story
async def resuming_a_task(desk: Desk) -> Move:
    await desk.queue("a", "b")
    await desk.broker.pause("greet")
    assert await desk.take(2) == []
    return lambda desk: desk.broker.resume("greet")


@story
async def tidying(desk: Desk) -> Move:
    desk.renew(about=replace(ABOUT, models={"greet": "theirs"}))
    await desk.queue("a", "b", unique="")
    for run in await desk.take(2):
        assert await desk.settle(run, Kind.held, reason="invalid_params", model="mine")
    desk.renew(about=replace(ABOUT, models={"greet": "mine"}))
    return lambda desk: desk.broker.tidy(interval=0.0, silence=LONG)


@story
async def leaving(desk: Desk) -> Move:
    await desk.queue("a", "b")
    desk.renew(*await desk.take(1))
    desk.renew(consumer="bob")
    return lambda desk: desk.broker.leave("bob")


@story
async def sweeping(desk: Desk) -> Move:
    await desk.leave_to_sweep()
    return lambda desk: desk.broker.sweep(interval=0.0)


# -- the rule ------------------------------------------------------------------------------


Writer = Callable[[Flavour], tuple[RedisServer, AppendOnlyFile]]


@pytest.fixture(scope="module")
def writer() -> Iterator[Writer]:
    """A server of each flavour that writes down what it does, started when first asked for."""
    with ExitStack() as stack:

        @cache
        def start(flavour: Flavour) -> tuple[RedisServer, AppendOnlyFile]:
            settings = {"appendfsync": "no", "auto-aof-rewrite-percentage": "0"}
            server = stack.enter_context(RedisServer(flavour, appendonly=True, settings=settings))
            return server, AppendOnlyFile(server)

        yield start


@pytest.mark.parametrize("name", STORIES)
async def test_no_part_of_a_move_strands_or_doubles_a_run(
    name: str, broker_queue: OwnQueue, writer: Writer
) -> None:
    server, file = writer(broker_queue.server.flavour)
    file.news()
    with queue_of_its_own(server) as written:
        async with desk_at(written.url, written) as desk:
            move = await STORIES[name](desk)
            before = file.news()
            await move(desk)
            parts = list(halves(file.news()))
    assert parts, "the story has no move that could be cut"
    before = [words for words in before if words[0].upper() not in (b"MULTI", b"EXEC")]
    async with desk_at(broker_queue.url, broker_queue) as desk:
        with desk.own.server.client() as client:
            for part in parts:
                await work_off(
                    Restored(desk, client, before + part, of=written.name), client, desk, str(part)
                )
                again = Restored(desk, client, before + part, of=written.name)
                await move(desk)
                await work_off(again, client, desk, f"made again: {part}")


async def work_off(restored: Restored, client: Redis, desk: Desk, part: str) -> None:
    """Every run of this queue ends once, whoever is told so, and nothing is left."""
    prefix = desk.keys["run"]
    there = {key.removeprefix(prefix) for key in desk.own.keys(client) if key.startswith(prefix)}
    await restored.upkeep()
    before = restored.ends()
    await restored.work_off()
    await restored.upkeep()
    await restored.work_off()
    ends = restored.ends()
    assert there <= set(ends), part
    assert before + restored.ended == Counter(dict.fromkeys(ends, 1)), part
    assert await restored.left_over() == [], part
    # what half a move had not counted yet is never counted, but no run beyond its own
    assert abs((await desk.broker.snapshot()).books.unaccounted) <= len(ends), part
    assert await desk.broker.sweep(interval=0.0) == Swept(0, 0), part
