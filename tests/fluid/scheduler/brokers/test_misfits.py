"""Parameters that do not fit one model: each other model alive is tried once, then the run is dead."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fluid.clock import elapsed
from fluid.scheduler.codec import MESSAGE_VERSION
from fluid.scheduler.moves import Claimed, Kind
from fluid.scheduler.states import TaskState
from tests.fluid.scheduler.brokers.desk import ABOUT, LONG, Desk, ids, outcome

pytestmark = pytest.mark.usefixtures("key_leaks")


def alive(desk: Desk, consumer: str, model: str) -> None:
    """This consumer says that it is alive, and what its model of `greet` is."""
    desk.renew(consumer=consumer, about=replace(ABOUT, name=consumer, models={"greet": model}))


async def misfit(desk: Desk, run: Claimed, model: str) -> str:
    """What became of a run whose parameters do not fit this model."""
    told = await desk.broker.settle([outcome(run, Kind.held, reason="invalid_params", model=model)])
    assert told.accepted == [True]
    record = await desk.broker.get_run(run.id)
    assert record is not None
    assert record.reason == "invalid_params"
    assert (record.state is TaskState.dead) == told.dead[0]
    return str(record.state)


async def takable(desk: Desk, consumer: str) -> list[str]:
    return ids(await desk.take(10, consumer, held=["greet"]))


async def discard(desk: Desk, *run_ids: str) -> None:
    for run_id in run_ids:
        assert await desk.broker.cancel(run_id, only="dead") == "ended"


async def test_nobody_else_can_try_so_it_is_dead_at_once(desk: Desk) -> None:
    alive(desk, "ann", "old")
    alive(desk, "bob", "old")
    await desk.queue("a")
    assert await misfit(desk, await desk.take_one("ann"), "old") == "dead"
    assert (await desk.balanced()).dead == 1
    assert await takable(desk, "bob") == []
    await discard(desk, "a")


async def test_a_consumer_with_another_model_gets_it_and_one_with_the_same_does_not(desk: Desk) -> None:
    alive(desk, "ann", "old")
    alive(desk, "bob", "old")
    alive(desk, "cyd", "new")
    await desk.queue("a")
    assert await misfit(desk, await desk.take_one("ann"), "old") == "held"
    assert (await desk.balanced()).held == 1
    assert await takable(desk, "ann") == await takable(desk, "bob") == []
    (run,) = await desk.take(10, "cyd", held=["greet"])
    assert await desk.settle(run)
    assert (await desk.balanced()).books.success == 1


async def test_each_model_is_tried_once_and_then_it_is_dead(desk: Desk) -> None:
    models = {"ann": "one", "bob": "two", "cyd": "three", "dan": "two"}
    for consumer, model in models.items():
        alive(desk, consumer, model)
    await desk.queue("a")
    assert await misfit(desk, await desk.take_one("ann"), "one") == "held"
    tried = [
        (model, await misfit(desk, run, model))
        for consumer, model in models.items()
        for run in await desk.take(10, consumer, held=["greet"])
    ]
    assert tried == [("two", "held"), ("three", "dead")]
    await discard(desk, "a")


async def test_a_model_that_had_it_twice_because_it_was_lost_counts_once(desk: Desk) -> None:
    alive(desk, "ann", "one")
    alive(desk, "bob", "two")
    await desk.queue("a")
    assert await misfit(desk, await desk.take_one("ann"), "one") == "held"
    await desk.lose(await desk.take_one("bob", held=["greet"]))
    assert await misfit(desk, await desk.take_one("ann"), "one") == "held"
    assert await misfit(desk, await desk.take_one("bob", held=["greet"]), "two") == "dead"
    await discard(desk, "a")


async def test_when_the_last_that_could_try_has_gone_it_is_dead(desk: Desk) -> None:
    alive(desk, "ann", "old")
    alive(desk, "bob", "new")
    await desk.queue("a", "b", unique="")
    for run in await desk.take(2, "ann"):
        assert await misfit(desk, run, "old") == "held"
    tidied = await desk.broker.tidy(interval=0.0, silence=LONG)
    assert (tidied.gone, tidied.dead) == (0, [])
    assert await desk.broker.leave("bob")
    tidied = await desk.broker.tidy(interval=0.0, silence=LONG)
    assert [(run.id, run.state, run.task) for run in tidied.dead] == [
        ("a", TaskState.dead, "greet"),
        ("b", TaskState.dead, "greet"),
    ]
    snapshot = await desk.balanced()
    assert (snapshot.dead, snapshot.held) == (2, 0)
    record = await desk.broker.wait_end("a", elapsed() + 10)
    assert record is not None
    assert record.reason == "invalid_params"
    await discard(desk, "a", "b")


async def test_while_nobody_knows_the_task_it_waits(desk: Desk) -> None:
    alive(desk, "ann", "old")
    alive(desk, "bob", "new")
    await desk.queue("a")
    assert await misfit(desk, await desk.take_one("ann"), "old") == "held"
    for consumer in ("ann", "bob"):
        assert await desk.broker.leave(consumer)
    assert (await desk.broker.tidy(interval=0.0, silence=LONG)).dead == []
    alive(desk, "cyd", "newer")
    (run,) = await desk.take(1, "cyd", held=["greet"])
    assert await desk.settle(run)


async def test_a_replay_has_every_model_to_try_again(desk: Desk) -> None:
    alive(desk, "ann", "old")
    await desk.queue("a")
    assert await misfit(desk, await desk.take_one("ann"), "old") == "dead"
    assert await desk.broker.replay("a") == "replayed"
    alive(desk, "bob", "new")
    assert await misfit(desk, await desk.take_one("bob"), "new") == "held"
    (run,) = await desk.take(1, "ann", held=["greet"])
    assert await desk.settle(run)


async def test_who_cannot_read_the_message_is_not_given_it_for_the_sake_of_its_model(desk: Desk) -> None:
    alive(desk, "ann", "old")
    alive(desk, "bob", "new")
    await desk.queue("a", version=MESSAGE_VERSION + 1)
    assert await misfit(desk, await desk.take_one("ann"), "old") == "held"
    assert await takable(desk, "bob") == []
    assert await desk.broker.cancel("a") == "ended"
