"""Secrets among the parameters reach the body and nobody else."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel, SecretStr

from fluid.errors import ConfigurationError
from fluid.scheduler import TaskConsumer, TaskManager, TaskRun, task
from fluid.settings import TaskManagerConfig


class Payment(BaseModel):
    customer: str
    card: SecretStr


@task
async def pay(ctx: TaskRun[Payment]) -> None:
    raise ValueError(f"no money on {ctx.params.card.get_secret_value()}")


@task
async def reveal(ctx: TaskRun[Payment]) -> dict[str, str]:
    return {"card": ctx.params.card.get_secret_value()[-4:], "access_token": "abcdef"}


async def test_who_does_not_know_the_task_does_not_show_its_secrets_either(broker_url: str) -> None:
    consumer = TaskConsumer(broker_url=broker_url)
    consumer.register_from_dict(globals())
    async with consumer, TaskManager(broker_url=broker_url) as stranger:
        failed = await consumer.queue_and_wait(pay, timeout=20, customer="ada", card="4111222233334444")
        told = await stranger.get_evidence(failed.id)
        replayed = await stranger.replay(failed.id)
        told_again = await stranger.get_evidence(replayed.id)
    for evidence in (told, told_again):
        assert evidence["params"] == {"customer": "ada", "card": "***"}
        assert "4111222233334444" not in json.dumps(evidence)
    assert told["error"] == failed.error == "ValueError: no money on ***"
    assert "ValueError: no money on ***" in told["traceback"]


async def test_the_body_has_its_secrets_and_a_result_is_shown_without(broker_url: str) -> None:
    consumer = TaskConsumer(broker_url=broker_url)
    consumer.register_from_dict(globals())
    async with consumer:
        run = await consumer.queue_and_wait(reveal, timeout=20, customer="ada", card="4111222233334444")
        assert await run.result() == {"card": "4444", "access_token": "abcdef"}
        assert (await consumer.get_evidence(run.id))["result"] == {"card": "4444", "access_token": "***"}


async def test_the_error_of_a_local_run_holds_no_secret() -> None:
    manager = TaskManager(broker_url="redis://127.0.0.1:1")
    run = await manager.execute(pay, customer="ada", card="4111222233334444")
    assert run.error == "ValueError: no money on ***"


def test_a_fault_in_the_settings_is_told_without_the_password() -> None:
    with pytest.raises(ConfigurationError) as caught:
        TaskManagerConfig(broker_url=["redis://user:pass9@host"])
    assert "pass9" not in str(caught.value)
    assert "***@host" in str(caught.value)
