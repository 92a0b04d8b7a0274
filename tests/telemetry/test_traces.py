"""What a receiver that is not ours is sent of runs: the right spans, linked the right way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel, SecretStr

from fluid.errors import PayloadTooLargeError, UniqueRunError
from fluid.scheduler import (
    Abort,
    QueueOptions,
    RetryPolicy,
    TaskConsumer,
    TaskManager,
    TaskRun,
    TaskScheduler,
    TaskState,
    every,
    task,
)
from fluid.scheduler.history import evidence
from fluid.scheduler.moves import ClaimRequest
from fluid.testing import Recorder
from telemetry import Telemetry
from telemetry.settings import TelemetrySettings
from tests.support.processes import PythonProcess
from tests.telemetry.conventions.checker import faults_of, faults_of_record
from tests.telemetry.crunching import clear_away, crunch, linger
from tests.telemetry.logbook import Logbook
from tests.telemetry.tracing import Tap, own_opentelemetry, values_of

Start = Callable[..., Any]


class Unlock(BaseModel):
    key: SecretStr


OPERATIONS = {"create", "send", "process", "rescue"}


@pytest.fixture
async def tap() -> AsyncIterator[Tap]:
    """A receiver; whatever it was sent of runs keeps to the conventions."""
    async with Tap() as tap:
        yield tap
    ours = [span for span in tap.spans if span.name.split()[0] in OPERATIONS]
    faults = [f"{span}: {fault}" for span in ours for fault in faults_of(span)]
    exceptions = [record for record in tap.records if record.event_name]  # the others are lines
    faults += [f"{one.event_name}: {fault}" for one in exceptions for fault in faults_of_record(one)]
    assert faults == []


@pytest.fixture
def exporting(tap: Tap, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """This process sends to the tap."""
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": tap.url,
        "OTEL_BSP_SCHEDULE_DELAY": "20",
        "OTEL_BLRP_SCHEDULE_DELAY": "20",
        "OTEL_SERVICE_NAME": "shop",
    }
    with own_opentelemetry(monkeypatch, **variables):
        yield variables


@pytest.fixture
async def start(queue_url: str, no_environment: None, exporting: dict[str, str]) -> AsyncIterator[Start]:
    """Starts consumers that know these tasks and are traced; they end with the test."""
    async with AsyncExitStack() as running:

        async def start(
            *tasks: Any, traces: Any = "links", of: type[TaskConsumer] = TaskConsumer, **settings: Any
        ) -> TaskConsumer:
            consumer = of(broker_url=queue_url, lease_seconds=1, **settings)
            for one in tasks:
                consumer.register_task(one)
            Telemetry(TelemetrySettings(traces=traces), server=False).attach(consumer)
            return await running.enter_async_context(consumer)

        yield start


@task
async def greet(ctx: TaskRun) -> str:
    with trace.get_tracer("greetings").start_as_current_span("think"):
        return "hello"


@task(retry=RetryPolicy(max_attempts=3, wait=0.01))
async def stumble(ctx: TaskRun) -> None:
    if ctx.attempt < 3:
        raise ValueError("stumbled")


async def test_a_run_is_a_send_span_and_a_process_span_that_links_to_it(tap: Tap, start: Start) -> None:
    consumer = await start(greet)
    run = await consumer.queue_and_wait(greet)
    [send] = await tap.wait_for("send")
    [process] = await tap.wait_for("process")
    [inside] = await tap.wait_for("think")

    queue = consumer.broker.queue
    assert (send.name, send.kind) == (f"send {queue}", "PRODUCER")
    assert (process.name, process.kind) == (f"process {queue}", "CONSUMER")
    assert list(process.links) == [send.context]
    assert process.trace_id != send.trace_id
    assert process.parent_id == send.parent_id == ""
    assert (inside.trace_id, inside.parent_id) == process.context
    assert process.attributes == {
        "messaging.system": "redis",
        "messaging.destination.name": queue,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.message.id": run.id,
        "messaging.consumer.group.name": "fluid",
        "messaging.client.id": consumer.consumer_name,
        "server.address": "127.0.0.1",
        "server.port": process.attributes["server.port"],
        "fluid.task": "greet",
        "fluid.priority": "medium",
        "fluid.attempt": 1,
    }
    assert not process.failed


async def test_parents_make_the_attempt_a_child_of_its_queueing(tap: Tap, start: Start) -> None:
    consumer = await start(greet, traces="parents")
    await consumer.queue_and_wait(greet)
    [send] = await tap.wait_for("send")
    [process] = await tap.wait_for("process")
    assert (process.trace_id, process.parent_id) == send.context
    assert list(process.links) == [send.context]


@pytest.mark.parametrize("traces", ["links", "parents"])
async def test_a_retry_links_to_the_attempt_before_and_only_failures_are_errors(
    tap: Tap, start: Start, traces: str
) -> None:
    consumer = await start(stumble, traces=traces)
    run = await consumer.queue_and_wait(stumble, timeout=20)
    assert run.state is TaskState.success
    [send] = await tap.wait_for("send")
    attempts = await tap.wait_for("process", count=3)

    assert [one.attributes["fluid.attempt"] for one in attempts] == [1, 2, 3]
    assert [one.previous for one in attempts] == [None, attempts[0].context, attempts[1].context]
    assert all(send.context in one.links for one in attempts)
    assert [one.failed for one in attempts] == [True, True, False]
    assert [one.attributes.get("error.type") for one in attempts] == ["ValueError", "ValueError", None]
    assert attempts[0].attributes["fluid.reason"] == "error"
    assert attempts[0].message.status.message == "stumbled"


async def test_an_exception_is_a_log_record_of_the_attempt(tap: Tap, start: Start) -> None:
    consumer = await start(stumble)
    await consumer.queue(stumble)
    record = await tap.wait_for_record("messaging.process.exception")
    attempts = await tap.wait_for("process", count=3)
    assert (record.trace_id.hex(), record.span_id.hex()) in {one.context for one in attempts[:2]}
    told = values_of(record.attributes)
    assert (told["exception.type"], told["exception.message"]) == ("ValueError", "stumbled")
    assert 'raise ValueError("stumbled")' in told["exception.stacktrace"]


async def test_no_span_and_no_record_of_an_exception_shows_a_secret(tap: Tap, start: Start) -> None:
    @task
    async def unlock(ctx: TaskRun[Unlock]) -> None:
        raise ValueError(f"no door for {ctx.params.key.get_secret_value()}")

    consumer = await start(unlock)
    await consumer.queue_and_wait(unlock, key="sesame-open")
    [process] = await tap.wait_for("process")
    record = await tap.wait_for_record("messaging.process.exception")
    assert process.message.status.message == "no door for ***"
    assert "sesame-open" not in f"{process.message}{record}"


async def test_an_error_that_utf8_cannot_hold_is_sent_all_the_same(tap: Tap, start: Start) -> None:
    @task
    async def garble(ctx: TaskRun) -> None:
        raise ValueError("a lone \udce9")

    consumer = await start(garble)
    await consumer.queue_and_wait(garble)
    [process] = await tap.wait_for("process")
    assert process.message.status.message == "a lone \\udce9"


async def test_a_body_that_takes_too_long_or_returns_what_cannot_be_kept_has_failed(
    tap: Tap, start: Start
) -> None:
    @task(timeout_seconds=0.01)
    async def dawdle(ctx: TaskRun) -> None:
        await asyncio.Event().wait()

    @task
    async def overreach(ctx: TaskRun) -> object:
        return object()

    @task
    async def refuse(ctx: TaskRun) -> None:
        raise Abort("no")

    consumer = await start(dawdle, overreach, refuse)
    for one in (dawdle, overreach, refuse):
        await consumer.queue_and_wait(one)
    told = [
        (one.attributes["fluid.task"], one.attributes["error.type"], one.attributes["fluid.reason"])
        for one in await tap.wait_for("process", count=3)
    ]
    assert told == [
        ("dawdle", "fluid.errors.TaskTimeoutError", "timeout"),
        ("overreach", "fluid.errors.ResultError", "result"),
        ("refuse", "fluid.errors.Abort", "abort_asked"),
    ]


async def test_many_runs_are_a_create_span_each_and_one_send_that_links_to_them(
    tap: Tap, start: Start
) -> None:
    consumer = await start(greet)
    with trace.get_tracer("web").start_as_current_span("request"):
        runs = await consumer.queue_many(greet, [{}, {}, {}])
    created = await tap.wait_for("create", count=3)
    [send] = await tap.wait_for("send")
    [request] = await tap.wait_for("request")
    processed = await tap.wait_for("process", count=3)

    assert {one.kind for one in created} == {"PRODUCER"}
    assert [one.run_id for one in created] == [run.id for run in runs]
    assert (send.kind, send.attributes["messaging.batch.message_count"]) == ("CLIENT", 3)
    assert set(send.links) == {one.context for one in created}
    assert {(one.trace_id, one.parent_id) for one in (*created, send)} == {request.context}
    by_run = {one.run_id: one for one in created}
    assert all(list(one.links) == [by_run[one.run_id].context] for one in processed)


async def test_a_run_queued_within_a_run_follows_it(tap: Tap, start: Start) -> None:
    @task
    async def lead(ctx: TaskRun) -> None:
        await ctx.queue("greet")

    consumer = await start(lead, greet)
    run = await consumer.queue_and_wait(lead)
    [led] = await tap.wait_for("process", run_id=run.id)
    [_, send] = await tap.wait_for("send", count=2)
    [process] = await tap.wait_for("process", where=lambda one: one.attributes["fluid.task"] == "greet")
    assert (send.trace_id, send.parent_id) == led.context
    assert list(process.links) == [send.context]
    assert process.attributes["messaging.message.conversation_id"] == run.id
    assert process.attributes["fluid.from_run_id"] == run.id


async def test_a_run_handed_over_by_a_thread_of_a_body_follows_it(tap: Tap, start: Start) -> None:
    @task
    async def hand_over(ctx: TaskRun) -> None:
        await asyncio.to_thread(consumer.sync_queue, "greet")
        await asyncio.to_thread(consumer.sync_queue, "greet")

    consumer = await start(hand_over, greet)
    run = await consumer.queue_and_wait(hand_over)
    [process] = await tap.wait_for("process", run_id=run.id)
    greetings = await tap.wait_for("process", count=2, where=lambda span: span.run_id != run.id)
    sent = await tap.wait_for("send", count=2, where=lambda span: span.run_id != run.id)
    assert {(one.trace_id, one.parent_id) for one in sent} == {process.context}
    assert {one.context for one in sent} == {next(iter(one.links)) for one in greetings}


async def test_a_local_run_is_a_span_of_what_called_it_and_no_message(tap: Tap, start: Start) -> None:
    consumer = await start(greet)
    with trace.get_tracer("web").start_as_current_span("request"):
        run = await consumer.execute(greet)
    [request] = await tap.wait_for("request")
    [execute] = await tap.wait_for("execute")
    [inside] = await tap.wait_for("think")
    assert (execute.name, execute.kind) == ("execute greet", "INTERNAL")
    assert (execute.trace_id, execute.parent_id) == request.context
    assert execute.attributes == {"fluid.task": "greet", "fluid.run_id": run.id}
    assert (inside.trace_id, inside.parent_id) == execute.context


async def test_a_failed_run_keeps_where_its_last_attempt_can_be_looked_at(tap: Tap, start: Start) -> None:
    @task(retry=RetryPolicy(max_attempts=2, wait=0.01))
    async def fail(ctx: TaskRun) -> None:
        raise ValueError("always")

    consumer = await start(fail)
    run = await consumer.queue_and_wait(fail)
    _, last = await tap.wait_for("process", count=2)
    kept = await consumer.broker.get_run(run.id)
    assert kept is not None
    assert evidence(kept, None)["traceparent"] == f"00-{last.trace_id}-{last.span_id}-01"


async def test_an_interrupted_attempt_and_the_one_that_follows_are_two_spans(tap: Tap, start: Start) -> None:
    begun = asyncio.Event()

    @task
    async def hold_on(ctx: TaskRun) -> None:
        if ctx.delivery == 1:
            begun.set()
            await asyncio.Event().wait()

    first = await start(hold_on, stopping_grace_period=0.0)
    await first.queue(hold_on)
    await begun.wait()
    await first.shutdown()
    await start(hold_on)
    interrupted, then = await tap.wait_for("process", count=2)
    assert interrupted.attributes["fluid.attempt"] == then.attributes["fluid.attempt"] == 1
    assert interrupted.attributes["error.type"] == "asyncio.exceptions.CancelledError"
    assert not then.failed
    assert interrupted.context != then.context
    assert then.previous == interrupted.context


async def test_a_refused_run_is_no_error_and_says_why(tap: Tap, start: Start) -> None:
    @task
    async def wait_long(ctx: TaskRun) -> None: ...

    consumer = await start(wait_long)
    later = QueueOptions(unique_key="one", delay=60)
    await consumer.queue(wait_long, options=later)
    with pytest.raises(UniqueRunError):
        await consumer.queue(wait_long, options=later)
    _, refused = await tap.wait_for("send", count=2)
    assert refused.attributes["fluid.reason"] == "unique"
    assert not refused.failed


async def test_a_run_that_cannot_be_queued_is_an_error_of_its_send_span(tap: Tap, start: Start) -> None:
    consumer = await start(greet)
    with pytest.raises(PayloadTooLargeError):
        await consumer.queue(greet, text="x" * 2_000_000)
    [send] = await tap.wait_for("send")
    assert send.attributes["error.type"] == "fluid.errors.PayloadTooLargeError"
    record = await tap.wait_for_record("messaging.send.exception")
    assert record.span_id.hex() == send.span_id


async def test_baggage_travels_with_the_run(tap: Tap, start: Start) -> None:
    heard = []

    @task
    async def listen(ctx: TaskRun) -> None:
        heard.append(baggage.get_baggage("tenant"))

    consumer = await start(listen)
    token = context.attach(baggage.set_baggage("tenant", "acme"))
    try:
        run = await consumer.queue(listen)
    finally:
        context.detach(token)
    await consumer.broker.wait_end(run.id, None)
    assert heard == ["acme"]


async def test_a_tick_of_a_schedule_starts_a_trace_whatever_its_scheduler_was_started_in(
    tap: Tap, start: Start
) -> None:
    @task(schedule=every(timedelta(seconds=1)))
    async def sweep(ctx: TaskRun) -> None: ...

    with trace.get_tracer("main").start_as_current_span("starting"):
        await start(sweep, of=TaskScheduler)
    [process, *_] = await tap.wait_for("process")
    [send, *_] = await tap.wait_for("send", run_id=process.run_id)
    assert (send.kind, send.parent_id, process.parent_id) == ("PRODUCER", "", "")
    assert list(process.links) == [send.context]


async def test_a_cpu_bound_body_sees_the_span_of_its_attempt_and_its_lines_lead_to_their_own(
    tap: Tap, start: Start, tmp_path: Path
) -> None:
    logbook = Logbook(tmp_path / "log")
    logbook.begin()
    consumer = await start(crunch)
    run = await consumer.queue_and_wait(crunch, timeout=40)
    assert run.state is TaskState.success, run.error
    [process] = await tap.wait_for("process")
    assert await run.result() == process.trace_id
    [crunching] = await tap.wait_for("crunching")
    [chewing] = await tap.wait_for("chewing")
    assert (crunching.trace_id, crunching.parent_id) == process.context
    assert (chewing.trace_id, chewing.parent_id) == crunching.context
    assert {crunching.kind, chewing.kind} == {"INTERNAL"}
    for message, span in (("before the crunch", process), ("chewing", chewing), ("swallowing", chewing)):
        line = logbook.saying(message)
        assert (line["trace_id"], line["span_id"], line["run_id"]) == (*span.context, run.id)
        assert not [name for name in line if name.startswith(("own_", "fluid_"))]
    logbook.end()


async def test_what_the_process_of_a_body_has_not_sent_yet_is_sent_when_the_consumer_stops(
    tap: Tap, start: Start
) -> None:
    consumer = await start(clear_away)
    run = await consumer.queue_and_wait(clear_away, timeout=40)
    assert run.state is TaskState.success, run.error
    [process] = await tap.wait_for("process")
    await consumer.shutdown()
    [clearing_away] = await tap.wait_for("clearing-away")
    assert (clearing_away.trace_id, clearing_away.parent_id) == process.context


async def test_what_was_lost_is_told_by_its_rescuer_and_the_next_attempt_links_to_it(
    tap: Tap, start: Start, exporting: dict[str, str], queue_url: str, tmp_path: Path
) -> None:
    logbook = Logbook(tmp_path / "log")
    logbook.begin()
    process = PythonProcess(
        "-m", "tests.telemetry.crunching", queue_url, output=tmp_path / "out", env=exporting
    )
    async with process as doomed, TaskManager(broker_url=queue_url) as manager:
        manager.register_task(linger)
        Telemetry(server=False).attach(manager)
        run = await manager.queue(linger)
        [settling_in] = await tap.wait_for("settling-in")
        doomed.kill()
        await doomed.wait()
        rescuer = await start(linger)
        lost = Recorder()
        rescuer.dispatcher.register_handler("lost.test", lost)
        owner = (await lost.wait_for("lost", run)).owner
        [line] = logbook.of("lost", run.id)
    logbook.end()

    [send] = await tap.wait_for("send")
    [recovered] = await tap.wait_for("process")
    [rescue] = await tap.wait_for("rescue")
    dead = (settling_in.trace_id, settling_in.parent_id)
    assert recovered.attributes["fluid.attempt"] == 2
    assert recovered.previous == dead
    assert send.context in recovered.links
    assert (rescue.trace_id, rescue.parent_id) == dead
    assert rescue.kind == "CLIENT"
    assert rescue.attributes["fluid.owner"] == owner
    assert rescue.attributes["messaging.operation.type"] == "settle"
    assert not rescue.failed
    assert (line["trace_id"], line["span_id"]) == dead
    assert (line["attempt"], line["owner"]) == (1, owner)


async def test_the_lines_of_a_run_that_is_dead_lead_to_the_attempt_that_was_lost(
    tap: Tap, start: Start, queue_url: str, tmp_path: Path
) -> None:
    @task(max_deliveries=1)
    async def fragile(ctx: TaskRun) -> None: ...

    logbook = Logbook(tmp_path / "log")
    logbook.begin()
    async with TaskManager(broker_url=queue_url) as manager:
        manager.register_task(fragile)
        Telemetry(server=False).attach(manager)
        run = await manager.queue(fragile)
        await manager.broker.claim(ClaimRequest("ghost", 1, lease=0.3))
        rescuer = await start(fragile)
        dead = Recorder()
        rescuer.dispatcher.register_handler("dead.test", dead)
        await dead.wait_for("dead", run)
    [rescue] = await tap.wait_for("rescue")
    told = [logbook.of(event, run.id)[0] for event in ("lost", "dead")]
    logbook.end()
    attempt = (rescue.trace_id, rescue.parent_id)
    assert [(line["trace_id"], line["span_id"]) for line in told] == [attempt, attempt]
    assert [(line["owner"], line["attempt"]) for line in told] == [("ghost", 1), ("ghost", 1)]


async def test_the_program_s_own_provider_is_used_and_not_replaced(
    queue_url: str, no_environment: None, exporting: dict[str, str], tap: Tap
) -> None:
    kept = InMemorySpanExporter()
    own = TracerProvider()
    own.add_span_processor(SimpleSpanProcessor(kept))
    trace.set_tracer_provider(own)
    consumer = TaskConsumer(broker_url=queue_url)
    consumer.register_task(greet)
    Telemetry(server=False).attach(consumer)
    async with consumer:
        await consumer.queue_and_wait(greet)
    assert trace.get_tracer_provider() is own
    names = {span.name.split()[0]: span for span in kept.get_finished_spans()}
    assert set(names) == {"send", "think", "process"}
    assert names["process"].instrumentation_scope is not None
    assert names["process"].instrumentation_scope.schema_url == "https://opentelemetry.io/schemas/1.44.0"
    assert tap.spans == []
