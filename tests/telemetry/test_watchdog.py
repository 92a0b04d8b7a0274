"""Who blocks the loop is named, and nobody else is."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from fluid.scheduler import Event, TaskConsumer, TaskManager, TaskRun, task
from fluid.testing import Recorder
from fluid.testing.waiting import PATIENCE
from telemetry import Telemetry, names
from telemetry.current import current_run
from telemetry.watchdog import Watchdog, context_of
from tests.support.processes import PythonProcess
from tests.support.waiting import poll
from tests.telemetry import jobs
from tests.telemetry.scraping import scrape

ALLOWED = 0.3
"""Seconds; a hog below blocks until it has been caught, however long that takes on a loaded machine."""


class Caught(logging.Handler):
    """Hears the watchdog's line, in its thread."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.heard = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg.startswith("the event loop is blocked"):
            self.records.append(record)
            self.heard.set()

    def block(self) -> None:
        """Block whoever calls this, until it was caught."""
        self.heard.clear()
        assert self.heard.wait(PATIENCE)


@pytest.fixture
def caught() -> Iterator[Caught]:
    """What the watchdog says."""
    caught = Caught()
    logging.getLogger("fluid").addHandler(caught)
    yield caught
    logging.getLogger("fluid").removeHandler(caught)


@pytest.fixture
async def watched(queue_url: str, no_environment: None) -> Any:
    """A consumer with a watchdog that has not started, its telemetry, and what it announces."""
    consumer = TaskConsumer(broker_url=queue_url, loop_blocked_after=ALLOWED, max_concurrent_tasks=64)
    telemetry = Telemetry(server=False)
    telemetry.attach(consumer)
    heard = Recorder()
    consumer.dispatcher.register_handler("loop_blocked.test", heard)
    yield consumer, telemetry, heard
    await consumer.shutdown()


Watched = tuple[TaskConsumer, Telemetry, Recorder]


async def test_one_hog_among_fifty_good_tasks_is_named_and_no_other(watched: Watched, caught: Caught) -> None:
    consumer, telemetry, heard = watched
    over = asyncio.Event()

    @task
    async def good(ctx: TaskRun) -> None:
        while not over.is_set():  # noqa: ASYNC110 - it shall be busy, in short steps
            await asyncio.sleep(0.001)

    @task
    async def hog(ctx: TaskRun) -> None:
        caught.block()

    consumer.register_task(good)
    consumer.register_task(hog)
    async with consumer:
        goods = await consumer.queue_many("good", [{}] * 50)
        run = await consumer.queue("hog")
        event = await heard.wait_for("loop_blocked")
        over.set()
        for one in (run, *goods):
            await one.result(timeout=20)
        (record,) = caught.records  # what is scraped is read in the loop too, and may block it
        seen = await scrape(telemetry)
    assert (event.facts["task"], event.facts["run_id"]) == ("hog", run.id)
    assert event.facts["seconds"] > ALLOWED
    assert "caught.block()" in event.facts["stack"]
    assert "run_forever" not in event.facts["stack"]
    assert seen.value(names.LOOP_BLOCKED, task="hog") == 1
    assert seen.value(names.LOOP_BLOCKED, task="good") == 0
    assert record.getMessage().endswith("by a run of hog")
    assert record.stack_info == event.facts["stack"]
    assert (vars(record)["run_id"], vars(record)["attempt"]) == (run.id, 1)


def test_a_stack_is_that_of_the_run_alone_whatever_the_loop_is_made_of(
    queue_url: str, caught: Caught
) -> None:
    @task
    async def hog(ctx: TaskRun) -> None:
        caught.block()

    async def consume() -> Any:
        consumer = TaskConsumer(broker_url=queue_url, loop_blocked_after=ALLOWED)
        consumer.register_task(hog)
        Telemetry(server=False).attach(consumer)
        heard = Recorder()
        consumer.dispatcher.register_handler("loop_blocked.test", heard)
        async with consumer:
            await consumer.queue("hog")
            return await heard.wait_for("loop_blocked")

    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        event = runner.run(consume())
    assert "caught.block()" in event.facts["stack"]
    assert "runners.py" not in event.facts["stack"]
    assert "pytest" not in event.facts["stack"]


async def test_a_hog_in_a_task_that_the_body_created_is_named(watched: Watched, caught: Caught) -> None:
    consumer, _, heard = watched

    @task
    async def parent(ctx: TaskRun) -> None:
        await asyncio.create_task(child())

    async def child() -> None:
        caught.block()

    consumer.register_task(parent)
    async with consumer:
        run = await consumer.queue("parent")
        event = await heard.wait_for("loop_blocked")
    assert (event.facts["task"], event.facts["run_id"]) == ("parent", run.id)


async def test_a_hog_that_holds_the_lock_of_the_interpreter_is_named(
    watched: Watched, caught: Caught
) -> None:
    consumer, _, heard = watched

    @task
    async def compute(ctx: TaskRun) -> None:
        while not caught.heard.is_set():
            sum(range(3_000_000))

    consumer.register_task(compute)
    async with consumer:
        run = await consumer.queue("compute")
        event = await heard.wait_for("loop_blocked")
    assert event.facts["run_id"] == run.id
    assert "sum(range(3_000_000))" in event.facts["stack"]


async def test_each_blocking_is_announced_once_also_to_async_handlers(
    watched: Watched, caught: Caught
) -> None:
    consumer, _, heard = watched
    told: list[Event] = []

    async def hear(event: Event) -> None:
        told.append(event)

    @task
    async def hog(ctx: TaskRun) -> None:
        caught.block()

    consumer.register_task(hog)
    consumer.register_async_handler("loop_blocked.test", hear)
    async with consumer:
        runs = []
        for count in (1, 2):
            runs.append(await consumer.queue_and_wait("hog", timeout=40))
            await heard.wait_for("loop_blocked", count=count)
    assert [event.facts["run_id"] for event in heard.of("loop_blocked")] == [run.id for run in runs]
    assert [event.facts for event in told] == [event.facts for event in heard.of("loop_blocked")]


async def test_what_is_nobodys_body_is_blamed_on_nobody(watched: Watched, caught: Caught) -> None:
    consumer, telemetry, heard = watched
    consumer.register_from_dict(vars(jobs))
    async with consumer:
        await consumer.queue_and_wait("say", timeout=20)
        asyncio.get_running_loop().call_soon(caught.block)
        event = await heard.wait_for("loop_blocked")
        seen = await scrape(telemetry)
    assert (event.facts["task"], event.facts["run_id"]) == ("", "")
    assert caught.records[0].getMessage().endswith("by none of the runs")
    assert seen.value(names.LOOP_BLOCKED, task=names.OTHER) == 1
    assert seen.value(names.LOOP_BLOCKED, task="say") == 0


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_handler_that_blocks_is_shown_by_the_stack_and_no_run_is_blamed(
    watched: Watched, caught: Caught, kind: str
) -> None:
    consumer, telemetry, heard = watched
    consumer.register_from_dict(vars(jobs))

    def blocking(event: Event) -> None:
        caught.block()

    async def blocking_async(event: Event) -> None:
        caught.block()

    if kind == "sync":
        consumer.dispatcher.register_handler("success.blocking", blocking)
    else:
        consumer.register_async_handler("success.blocking", blocking_async)
    async with consumer:
        run = await consumer.queue_and_wait("say", timeout=20)
        event = await heard.wait_for("loop_blocked")
        seen = await scrape(telemetry)
    assert str(run.state) == "success"
    assert (event.facts["task"], event.facts["run_id"]) == ("", "")
    assert f", in {'blocking' if kind == 'sync' else 'blocking_async'}\n" in event.facts["stack"]
    assert seen.value(names.LOOP_BLOCKED, task=names.OTHER) == 1
    assert seen.value(names.LOOP_BLOCKED, task="say") == 0


async def test_the_span_of_the_run_says_that_it_blocked_the_loop(watched: Watched, caught: Caught) -> None:
    consumer, telemetry, heard = watched
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))

    class Spans:
        def queueing(self, runs: Any) -> AbstractContextManager[Any]:
            return nullcontext()

        def executing(self, run: TaskRun) -> AbstractContextManager[Any]:
            return provider.get_tracer("test").start_as_current_span("process")

    @task
    async def hog(ctx: TaskRun) -> None:
        caught.block()
        # its span is told right after the line
        await poll(told, bool, "an event of the span")

    async def told() -> int:
        current = current_run()
        assert current is not None
        return len(getattr(current.span, "events", ()))

    telemetry.detach()
    consumer.interceptors.append(Spans())
    telemetry.attach(consumer)
    consumer.register_task(hog)
    async with consumer:
        await consumer.queue_and_wait("hog", timeout=40)
        await heard.wait_for("loop_blocked")
    (span,) = spans.get_finished_spans()
    (event,) = span.events
    assert event.name == "loop_blocked"
    assert event.attributes is not None
    assert "caught.block()" in str(event.attributes["code.stacktrace"])


async def test_a_process_that_stood_still_blames_nobody(queue_url: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    process = PythonProcess(
        "-m",
        "fluid.cli",
        "run",
        "tests.telemetry.jobs:consumer",
        output=tmp_path / "said",
        env={
            "FLUID_BROKER_URL": queue_url,
            "FLUID_TELEMETRY_PORT": "0",
            "FLUID_LOOP_BLOCKED_AFTER": str(ALLOWED),
            "FLUID_LEASE_SECONDS": "30",
        },
    )
    async with process, TaskManager(broker_url=queue_url) as manager:
        manager.register_from_dict(vars(jobs))
        run = await manager.queue("linger", gate=str(gate))
        await process.wait_for_line("lingering")
        process.pause()
        await asyncio.sleep(4 * ALLOWED)  # this is what happens to it, not what is waited for
        process.resume()
        await asyncio.to_thread(gate.write_bytes, b"go")
        await run.result(timeout=30)
        # and now it is watched again
        gate.unlink()
        os.mkfifo(gate)
        hog = await manager.queue("block", gate=str(gate))
        await process.wait_for_line("is blocked for .* by a run of block")
        await asyncio.to_thread(gate.write_bytes, b"go")
        await process.wait_for_line('"event":"loop_blocked"')
        blamed = [line for line in process.output.splitlines() if "is blocked for" in line]
        assert len(blamed) == 1
        assert hog.id in blamed[0]


async def test_the_environment_says_how_long_the_loop_may_stand(
    queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLUID_LOOP_BLOCKED_AFTER", "0.75")
    assert Watchdog(TaskManager(broker_url=queue_url))._allowed == 0.75


async def test_its_thread_ends_with_it(new_consumer: Callable[[], TaskConsumer]) -> None:
    consumer = new_consumer()
    watchdog = Watchdog(consumer)
    async with watchdog:
        assert "loop-watchdog" in {thread.name for thread in threading.enumerate()}
    assert "loop-watchdog" not in {thread.name for thread in threading.enumerate()}


async def test_what_also_works_for_others_does_not_count_as_the_run_that_started_it(
    new_consumer: Callable[[], TaskConsumer], queue_url: str
) -> None:
    manager = TaskManager(broker_url=queue_url)
    seen: dict[str, bool] = {}

    def look() -> None:
        for one in asyncio.all_tasks():
            context = context_of(one)
            within = context is not None and current_run(context) is not None
            seen[one.get_name()] = seen.get(one.get_name(), False) or within

    @task
    async def ask(ctx: TaskRun) -> None:
        queueing = asyncio.create_task(ctx.queue("say"), name="mine")
        while "fluid-producer" not in seen:
            await asyncio.sleep(0)
            look()
        asked = await queueing
        assert await asked.result(timeout=20) is None
        look()

    manager.register_from_dict(vars(jobs))
    manager.register_task(ask)
    Telemetry(server=False).attach(manager)
    consumer = new_consumer()
    consumer.register_from_dict(vars(jobs))
    async with consumer, manager:
        await manager.execute("ask")
    assert (seen["mine"], seen["fluid-producer"], seen["fluid-listener"]) == (True, False, False)
