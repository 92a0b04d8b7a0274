"""One run, whatever it does, ends by itself: its consumer goes on, and so do its neighbours."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from fluid.clock import elapsed
from fluid.errors import InvalidParamsError
from fluid.scheduler import Task, TaskConsumer, TaskPriority, TaskRun, TaskState, task
from fluid.scheduler.codec import MESSAGE_VERSION, encode_message
from fluid.scheduler.moves import Submission
from fluid.testing.waiting import Watch
from tests.fluid.scheduler.brokers.desk import LONG, desk_at
from tests.fluid.scheduler.consuming import consuming, managing
from tests.support.proxy import CuttingProxy
from tests.support.queues import OwnQueue
from tests.support.servers import Flavour, RedisServer


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@task
async def good(ctx: TaskRun) -> str:
    return "fine"


@task
async def leaves(ctx: TaskRun) -> None:
    sys.exit(3)


@task
async def has_a_strange_name(ctx: TaskRun) -> None:
    raise ValueError("no file \udcff")


@task
async def cannot_say(ctx: TaskRun) -> None:
    raise UnspeakableError


async def goes_on(consumer: TaskConsumer) -> None:
    after = await consumer.queue_and_wait(good, timeout=10)
    assert after.state is TaskState.success
    assert consumer.running
    books = (await consumer.broker.snapshot()).books
    assert books.unaccounted == 0


@pytest.mark.parametrize(
    ("body", "said"),
    [(leaves, "SystemExit: 3"), (has_a_strange_name, "udcff"), (cannot_say, "UnspeakableError")],
    ids=["exit", "surrogate", "unspeakable"],
)
async def test_a_body_that_misbehaves_fails_alone(broker_url: str, body: Task, said: str) -> None:
    async with consuming(broker_url, body, good) as (consumer, _):
        run = await consumer.queue_and_wait(body, timeout=10)
        assert run.state is TaskState.failure
        assert said in run.error
        await goes_on(consumer)


class Moody(BaseModel):
    mood: str

    @field_validator("mood")
    @classmethod
    def is_good(cls, mood: str) -> str:
        if mood == "bad":
            raise KeyError(mood)
        return mood


@task
async def moody(ctx: TaskRun[Moody]) -> None: ...


async def test_a_validator_that_raises_anything_is_a_clear_refusal(broker_url: str) -> None:
    async with consuming(broker_url, moody, good) as (consumer, _):
        with pytest.raises(InvalidParamsError, match="bad"):
            await consumer.queue(moody, mood="bad")
        await goes_on(consumer)


async def test_a_validator_that_raises_anything_at_the_claim_makes_the_run_dead(
    broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_an_older_release_would(run: TaskRun[Any], *rest: Any) -> bytes:
        return encode_message(run, *rest).replace(b"good", b"bad")

    monkeypatch.setattr("fluid.scheduler.submitting.encode_message", as_an_older_release_would)
    async with consuming(broker_url, moody, good) as (consumer, heard):
        run = await consumer.queue(moody, mood="good")
        dead = await heard.wait_for("dead", run.id)
        assert dead.reason == "invalid_params"
        await goes_on(consumer)


async def test_many_held_tasks_leave_an_idle_consumer_at_the_bell(
    proxied_url: str, proxy: CuttingProxy
) -> None:
    held = [_newer(f"held_{number}") for number in range(20)]
    async with consuming(proxied_url, *held, good) as (consumer, heard):
        for one in held:
            await _queue_newer(consumer, one.name)
        await heard.wait_for("held", count=len(held))
        waits = proxy.commands["BLPOP"]
        await goes_on(consumer)
        await proxy.wait_for_command("BLPOP", waits + 1)
        await goes_on(consumer)


async def test_suspects_follow_one_another_without_waiting_at_the_bell(
    broker_queue: OwnQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fluid.scheduler.claiming.LONGEST_WAIT", LONG)
    async with (
        managing(broker_queue.url, good) as (manager, _),
        desk_at(broker_queue.url, broker_queue) as desk,
    ):
        await manager.queue_many(good, [{}] * 5)
        for _ in range(2):
            await desk.lose(*await desk.take(5))
        async with consuming(broker_queue.url, good) as (_, heard):
            await heard.wait_for("success", count=5)


def _newer(name: str) -> Task:
    @task(name)
    async def body(ctx: TaskRun) -> None: ...

    return body


async def _queue_newer(consumer: TaskConsumer, name: str) -> None:
    message = encode_message(consumer.create_task_run(name))
    run = Submission(f"{name}-1", name, TaskPriority.high, message, MESSAGE_VERSION + 1)
    await consumer.broker.enqueue([run], deadline=elapsed() + 10)


@pytest.mark.slow
async def test_a_server_that_comes_back_empty_is_set_up_again_and_work_goes_on(flavour: Flavour) -> None:
    with RedisServer(flavour) as server:
        async with consuming(server.queue_url("empty"), good) as (consumer, heard):
            await goes_on(consumer)
            failed = Watch()
            tries = 0

            def count(_move: str, _seconds: float, error: str) -> None:
                nonlocal tries
                tries += error == "lost"
                failed.changed()

            consumer.broker.listeners.command.append(count)
            server.kill()
            await failed.until(lambda: tries > 8, lambda: f"more than {tries} tries")
            server.start()
            await heard.wait_for("broker_recovered")
            await goes_on(consumer)
