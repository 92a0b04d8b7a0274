"""What the probes say, state by state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from fluid.errors import BrokerError
from fluid.scheduler import TaskConsumer, TaskManager, TaskRun, task
from telemetry.health import Health, Verdict
from tests.support.proxy import CuttingProxy
from tests.support.recorder import EventRecorder
from tests.support.servers import RedisServer, queue_url
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


@pytest.fixture
async def server_proxy(valkey_server: RedisServer) -> AsyncIterator[CuttingProxy]:
    """A way to the broker that can be closed."""
    async with CuttingProxy(valkey_server.port) as proxy:
        yield proxy


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


async def test_a_broker_away_makes_it_unready_and_nothing_else(server_proxy: CuttingProxy) -> None:
    consumer = TaskConsumer(broker_url=queue_url("valkey", server_proxy.port, "test-health"))
    heard = EventRecorder()
    for event in ("broker_lost", "broker_recovered", "consumer_started"):
        consumer.dispatcher.register_handler(f"{event}.test", heard)
    health = Health(consumer)
    health.listen()
    async with consumer:
        await heard.wait_for("consumer_started")
        assert ask(health) == Answers(live=True, ready=True, started=True)
        server_proxy.refuse()
        await heard.wait_for("broker_lost")
        assert ask(health) == Answers(live=True, ready=False, started=True)
        assert not reasons(health.readyz())["broker"]
        await server_proxy.accept()
        await heard.wait_for("broker_recovered")

        async def look() -> Answers:
            return ask(health)

        # A call that was under way may still fail, and then the broker is lost for another moment.
        await poll(look, lambda answers: answers.ready, "readiness")
    health.stop_listening()


async def test_without_a_broker_at_the_start_it_lives_and_goes_on_starting(
    server_proxy: CuttingProxy,
) -> None:
    server_proxy.refuse()
    consumer = TaskConsumer(broker_url=queue_url("valkey", server_proxy.port, "test-health"))
    heard = EventRecorder()
    consumer.dispatcher.register_handler("broker_lost.test", heard)
    consumer.dispatcher.register_handler("consumer_started.test", heard)
    health = Health(consumer)
    async with consumer:
        await heard.wait_for("broker_lost")
        assert ask(health) == Answers(live=True, ready=False, started=False)
        await server_proxy.accept()
        await heard.wait_for("consumer_started")
        assert ask(health) == Answers(live=True, ready=True, started=True)


async def test_a_manager_is_ready_before_it_has_asked_the_broker(server_proxy: CuttingProxy) -> None:
    manager = TaskManager(broker_url=queue_url("valkey", server_proxy.port, "test-health"), queue_timeout=0.1)
    health = Health(manager)
    health.listen()
    async with manager:
        assert ask(health) == Answers(live=True, ready=True, started=True)
        server_proxy.refuse()
        with pytest.raises(BrokerError):
            await manager.broker.open(0.0)
        assert ask(health) == Answers(live=True, ready=False, started=True)
        await server_proxy.accept()
        await manager.broker.snapshot()
        assert ask(health) == Answers(live=True, ready=True, started=True)


async def test_an_answer_says_why(consumer: TaskConsumer) -> None:
    told = Health(consumer).readyz().as_json()
    assert told["ok"] is False
    assert set(told["checks"]) == {"running", "broker", "claiming"}
    assert told["checks"]["claiming"] == {"ok": False, "reason": "the claim loop does not run"}
