"""What a CPU-bound body says in its process is heard in the consumer's: log records, progress, trouble."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import pytest

from fluid.scheduler import TaskConsumer, TaskRun, TaskState
from tests.fluid.scheduler import cpu_tasks
from tests.fluid.scheduler.consuming import consuming, managing
from tests.support.servers import Flavour

WHO: ContextVar[str] = ContextVar("who", default="nobody")


@pytest.fixture
def flavour() -> Flavour:
    """What happens in processes does not depend on the server."""
    return "valkey"


class Knows:
    """An interceptor that makes a context, and sends a trace along."""

    def queueing(self, runs: Sequence[TaskRun[Any]]) -> Any:
        for run in runs:
            run.headers["trace"] = "abc"
        return nullcontext()

    @contextmanager
    def executing(self, run: TaskRun[Any]) -> Iterator[None]:
        token = WHO.set(run.id)
        yield
        WHO.reset(token)

    in_process: Any = staticmethod(cpu_tasks.traced)


class Raises(Knows):
    in_process = staticmethod(cpu_tasks.refuses)


class IsBound(Knows):
    def in_process(self, headers: Any) -> Any:
        return nullcontext()


class Listener(logging.Handler):
    """Keeps records, and who was known when each came."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[logging.LogRecord, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.process != os.getpid():
            self.heard.append((record, WHO.get()))


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    pages = logging.getLogger("pages")
    before = pages.level
    pages.setLevel(logging.INFO)
    logging.getLogger().addHandler(listener)
    yield listener
    logging.getLogger().removeHandler(listener)
    pages.setLevel(before)


async def finished(consumer: TaskConsumer, task: Any) -> TaskRun[Any]:
    run = await consumer.queue_and_wait(task, timeout=25)
    assert run.state is TaskState.success, run.error
    return run


async def test_log_records_come_to_the_consumers_loggers_in_order_and_before_the_outcome(
    broker_url: str, listener: Listener
) -> None:
    heard_by_the_end: list[int] = []
    async with consuming(broker_url, cpu_tasks.talks) as (consumer, _):
        consumer.interceptors.append(Knows())
        consumer.dispatcher.register_handler(
            "end.count", lambda _: heard_by_the_end.append(len(listener.heard))
        )
        run = await finished(consumer, cpu_tasks.talks)
    records = [record for record, _ in listener.heard]
    assert heard_by_the_end == [4]
    assert [(record.name, record.levelno) for record in records] == [
        ("fluid.run", logging.WARNING),
        ("pages", logging.INFO),
        ("pages", logging.ERROR),
        ("pages", logging.ERROR),
    ]
    half, turned, lost, long = records
    assert half.getMessage() == "half of 84"
    assert (vars(half)["task"], vars(half)["run_id"], vars(half)["attempt"]) == ("talks", run.id, 1)
    assert (vars(turned)["page"], vars(turned)["who"]) == (2, "<unspeakable>")
    assert lost.getMessage() == "lost \\udcff"
    assert "LookupError: no such page" in (lost.exc_text or "")
    assert long.getMessage() == "x" * 20_000
    assert {who for _, who in listener.heard} == {run.id}


async def test_what_the_consumers_loggers_do_not_let_through_is_not_told(
    broker_url: str, listener: Listener
) -> None:
    logging.getLogger("pages").setLevel(logging.CRITICAL)
    async with consuming(broker_url, cpu_tasks.talks) as (consumer, _):
        await finished(consumer, cpu_tasks.talks)
    assert [record.name for record, _ in listener.heard] == ["fluid.run"]


@pytest.mark.parametrize(
    ("body", "last"),
    [
        (cpu_tasks.counts_up, {"done": 500, "total": 500, "message": "counting"}),
        (cpu_tasks.counts_and_awaits, {"done": 1, "total": 2, "message": "half"}),
    ],
    ids=["sync", "async"],
)
async def test_progress_is_told_with_and_without_await_and_the_newest_is_kept(
    broker_url: str, body: Any, last: dict[str, Any]
) -> None:
    async with consuming(broker_url, body) as (consumer, _):
        run = await finished(consumer, body)
        assert (await consumer.get_evidence(run.id))["progress"] == last


async def test_progress_of_a_body_that_is_executed_here_needs_no_broker(free_port: int) -> None:
    async with managing(f"redis://127.0.0.1:{free_port}") as (manager, _):
        run = await manager.execute(cpu_tasks.counts_and_awaits)
        assert run.state is TaskState.success


async def test_what_a_body_cannot_ask_for_in_its_process_is_a_clear_error(broker_url: str) -> None:
    async with consuming(broker_url, cpu_tasks.asks_for_more) as (consumer, _):
        run = await consumer.queue(cpu_tasks.asks_for_more)
        said = await run.result(timeout=25)
    for what in ("queue runs", "cancel runs", "wait for results"):
        assert f"a CPU-bound body cannot {what}" in said


async def test_an_interceptor_surrounds_a_body_in_its_process(broker_url: str) -> None:
    async with consuming(broker_url, cpu_tasks.is_traced) as (consumer, _):
        consumer.interceptors.append(Knows())
        assert await (await consumer.queue(cpu_tasks.is_traced)).result(timeout=25) == "abc"


@pytest.mark.parametrize(
    ("interceptor", "handler", "said"),
    [
        (Raises(), "Raises", "no trace today"),
        (IsBound(), "IsBound", "make it a static method"),
    ],
    ids=["raises", "bound"],
)
async def test_an_interceptor_that_cannot_surround_a_body_in_its_process_is_gone_on_without(
    broker_url: str, interceptor: Any, handler: str, said: str
) -> None:
    async with consuming(broker_url, cpu_tasks.is_traced) as (consumer, heard):
        consumer.interceptors.extend([interceptor, Knows()])
        assert await (await consumer.queue(cpu_tasks.is_traced)).result(timeout=25) == "abc"
        facts = (await heard.wait_for("handler_failed")).facts
    assert (facts["event"], facts["handler"], facts["count"]) == ("in_process", handler, 1)
    assert said in facts["error"]
