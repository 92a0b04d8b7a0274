"""A broker that faints looks to its manager like one that is away, and to everybody else as it is."""

from __future__ import annotations

import pytest

from fluid.errors import BrokerUnavailableError, DeclarationError, QueueUncertainError
from fluid.scheduler import TaskManager, TaskRun, TaskState, task
from fluid.testing import Recorder, fainting, losing_answers
from tests.fluid.scheduler.consuming import consuming, managing


@task
async def ship(ctx: TaskRun) -> int:
    return 1


async def test_a_manager_is_told_that_nothing_was_queued(broker_url: str) -> None:
    async with managing(broker_url, ship, queue_timeout=0.1) as (manager, heard):
        async with fainting(manager):
            with pytest.raises(BrokerUnavailableError, match="fainted"):
                await manager.queue(ship)
            assert not manager.broker.up
        (refused,) = heard.of("refused")
        assert refused.reason == "unavailable"
        await manager.queue(ship)
        assert (await manager.broker.snapshot()).books.accepted == 1
        assert len(heard.of("broker_lost")) == len(heard.of("broker_recovered")) == 1


async def test_a_consumer_that_waits_for_work_notices_at_once_and_comes_back(broker_url: str) -> None:
    async with consuming(broker_url, ship) as (consumer, heard), managing(broker_url, ship) as (other, _):
        async with fainting(consumer):
            run = await other.queue(ship)
            await heard.wait_for("broker_lost")
            assert heard.names(run) == [], "the wait at the bell was not broken off"
        await heard.wait_for("broker_recovered")
        assert await run.result(timeout=30) == 1
        await heard.wait_for("success", run)
        assert heard.names(run) == ["start", "end", "success"]


async def test_an_outcome_waits_until_the_faint_is_over(broker_url: str) -> None:
    faint: list[str] = []

    @task
    async def call_back(ctx: TaskRun) -> None:
        await entered.wait_for("queue_paused", timeout=30)

    entered = Recorder()
    async with consuming(broker_url, call_back) as (consumer, heard):
        entered.listen_to(consumer)
        run = await consumer.queue(call_back)
        await heard.wait_for("start", run)
        async with fainting(consumer):
            consumer._announcer.announce("queue_paused")
            await heard.wait_for("broker_lost")
            faint += heard.names(run)
        await heard.wait_for("success", run)
        assert faint[-1] == "start"
        assert (await consumer.broker.snapshot()).books.unaccounted == 0


async def test_only_the_one_that_faints_is_struck(broker_url: str) -> None:
    async with managing(broker_url, ship) as (one, _), managing(broker_url, ship) as (two, heard):
        async with fainting(one):
            await two.queue(ship)
        assert heard.of("broker_lost") == []


async def test_a_lost_answer_leaves_the_producer_uncertain_and_the_run_queued(broker_url: str) -> None:
    async with managing(broker_url, ship, queue_timeout=0.1) as (manager, heard):
        async with losing_answers(manager) as lost:
            with pytest.raises(QueueUncertainError) as raised:
                await manager.queue(ship)
        assert set(lost) == {"enqueue"}
        (refused,) = heard.of("refused")
        assert refused.reason == "uncertain"
        assert (await manager.get_run(raised.value.run_id)).state is TaskState.queued


@pytest.mark.parametrize("move", ["enqueue", "claim", "settle"])
async def test_one_lost_answer_doubles_and_loses_nothing(broker_url: str, move: str) -> None:
    async with consuming(broker_url, ship) as (consumer, heard):
        async with losing_answers(consumer, move, count=1) as lost:
            runs = []
            for _ in range(2):  # the first one may go to a claim that was waiting before
                runs.append(await consumer.queue(ship))
                await heard.wait_for("success", runs[-1])
            assert lost == [move]
        assert [heard.names(run).count("start") for run in runs] == [1, 1]
        books = (await consumer.broker.snapshot()).books
        assert (books.accepted, books.success, books.unaccounted) == (2, 2, 0)


async def test_a_move_that_does_not_exist_is_refused() -> None:
    manager = TaskManager(broker_url="redis://127.0.0.1:1")
    with pytest.raises(DeclarationError, match=r"no move 'push'.*enqueue"):
        async with losing_answers(manager, "push"):
            pass
    assert manager.broker.listeners.around == []
