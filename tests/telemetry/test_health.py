"""What the probes say, state by state."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from fluid.errors import BrokerError
from fluid.scheduler import TaskConsumer, TaskManager, TaskRun, task
from fluid.testing import Recorder, fainting
from telemetry.health import Health, Verdict
from tests.support.waiting import poll


@dataclass(frozen=True)
class Answers:
    """What the three probes said."""

    live: bool
    ready: bool
    started: bool


def ask(health: Health) -> Answers:
    return Answers(health.livez().ok, health.readyz().ok, health.startupz().ok)


def reasons(verdict: Verdict) -> dict[str, bool]:
    return {check.name: check.ok for check in verdict.checks}


async def test_before_the_start_it_lives_but_is_neither_ready_nor_started(consumer: TaskConsumer) -> None:
    assert ask(Health(consumer)) == Answers(live=True, ready=False, started=False)


async def test_while_it_claims_all_is_well(consumer: TaskConsumer) -> None:
    async with consumer:
        await consumer.queue_and_wait("greet", timeout=10)
        assert ask(Health(consumer)) == Answers(live=True, ready=True, started=True)


async def test_while_it_stops_it_lives_and_is_not_ready(consumer: TaskConsumer) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    @task
    async def linger(ctx: TaskRun) -> None:
        begun.set()
        await go.wait()

    consumer.register_task(linger)
    health = Health(consumer)
    async with consumer:
        await consumer.queue("linger")
        await begun.wait()
        assert health.startupz().ok
        consumer.gracefully_stop()
        assert ask(health) == Answers(live=True, ready=False, started=True)
        assert not reasons(health.readyz())["running"]
        go.set()
    assert ask(health) == Answers(live=True, ready=False, started=True)


async def test_a_broker_away_makes_it_unready_and_nothing_else(consumer: TaskConsumer) -> None:
    heard, health = Recorder(consumer), Health(consumer)
    health.listen()
    async with consumer:
        await heard.wait_for("consumer_started")
        assert ask(health) == Answers(live=True, ready=True, started=True)
        async with fainting(consumer):
            await heard.wait_for("broker_lost")
            assert ask(health) == Answers(live=True, ready=False, started=True)
            assert not reasons(health.readyz())["broker"]
        await heard.wait_for("broker_recovered")

        async def look() -> Answers:
            return ask(health)

        # A call that was under way may still fail, and then the broker is lost for another moment.
        await poll(look, lambda answers: answers.ready, "readiness")
    health.stop_listening()


async def test_without_a_broker_at_the_start_it_lives_and_goes_on_starting(consumer: TaskConsumer) -> None:
    heard, health = Recorder(consumer), Health(consumer)
    async with AsyncExitStack() as life:
        async with fainting(consumer):
            await life.enter_async_context(consumer)
            await heard.wait_for("broker_lost")
            assert ask(health) == Answers(live=True, ready=False, started=False)
        await heard.wait_for("consumer_started")
        assert ask(health) == Answers(live=True, ready=True, started=True)


async def test_a_manager_is_ready_before_it_has_asked_the_broker(queue_url: str) -> None:
    manager = TaskManager(broker_url=queue_url)
    health = Health(manager)
    health.listen()
    async with manager:
        assert ask(health) == Answers(live=True, ready=True, started=True)
        async with fainting(manager):
            with pytest.raises(BrokerError):
                await manager.broker.open(0.0)
            assert ask(health) == Answers(live=True, ready=False, started=True)
        await manager.broker.snapshot()
        assert ask(health) == Answers(live=True, ready=True, started=True)


async def test_an_answer_says_why(consumer: TaskConsumer) -> None:
    told = Health(consumer).readyz().as_json()
    assert told["ok"] is False
    assert set(told["checks"]) == {"running", "broker", "claiming"}
    assert told["checks"]["claiming"] == {"ok": False, "reason": "the claim loop does not run"}
