"""Who traces, and what it costs who does not."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBasedTraceIdRatio, Sampler
from opentelemetry.trace import NonRecordingSpan, ProxyTracerProvider, SpanContext, TraceFlags

from fluid.errors import ConfigurationError, PluginError
from fluid.scheduler import Task, TaskConsumer, TaskRun, TaskState, task
from telemetry import Telemetry
from telemetry.settings import TelemetrySettings
from telemetry.trace_context import sampled_flag
from telemetry.traces import Traces
from tests.telemetry.conftest import greet, stumble
from tests.telemetry.tracing import own_opentelemetry

ENDPOINT = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with own_opentelemetry(monkeypatch):
        yield


def attached(consumer: TaskConsumer, **settings: Any) -> Telemetry:
    telemetry = Telemetry(TelemetrySettings(**settings), server=False)
    telemetry.attach(consumer)
    return telemetry


def tracing(consumer: TaskConsumer) -> list[Traces]:
    """What traces the consumer's work."""
    return [one for one in consumer.interceptors if isinstance(one, Traces)]


def provider(sampler: Sampler, *processors: SpanProcessor) -> InMemorySpanExporter:
    """Sets the program's own provider; what it keeps."""
    kept = InMemorySpanExporter()
    own = TracerProvider(sampler=sampler)
    for processor in processors:
        own.add_span_processor(processor)
    own.add_span_processor(SimpleSpanProcessor(kept))
    trace.set_tracer_provider(own)
    return kept


def test_without_an_endpoint_nothing_is_traced_and_no_provider_is_set(consumer: TaskConsumer) -> None:
    attached(consumer)
    assert tracing(consumer) == []
    assert isinstance(trace.get_tracer_provider(), ProxyTracerProvider)


@pytest.mark.parametrize(
    "variables",
    [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}],
    ids=lambda one: next(iter(one)),
)
def test_a_variable_that_turns_traces_off_is_heeded(
    variables: dict[str, str], consumer: TaskConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ({"OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT} | variables).items():
        monkeypatch.setenv(name, value)
    attached(consumer)
    assert tracing(consumer) == []


def test_off_leaves_a_program_s_own_provider_alone(consumer: TaskConsumer) -> None:
    provider(ALWAYS_ON)
    attached(consumer, traces="off")
    assert tracing(consumer) == []


def test_a_mode_that_does_not_exist_is_an_error_that_names_those_that_do() -> None:
    with pytest.raises(ConfigurationError, match="'links', 'parents' or 'off'"):
        TelemetrySettings(traces="sometimes")


@pytest.mark.parametrize(
    ("variable", "value", "advice"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "set OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "set `otlp` or `none`"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318", "it is no URL such as http://localhost:4318"),
    ],
)
def test_what_cannot_be_had_is_told_of_and_stops_nothing(
    variable: str,
    value: str,
    advice: str,
    consumer: TaskConsumer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", ENDPOINT)
    monkeypatch.setenv(variable, value)
    attached(consumer)
    assert tracing(consumer) == []
    [line] = [record.getMessage() for record in caplog.records if record.name == "telemetry"]
    assert line.startswith("OTEL_EXPORTER_OTLP_ENDPOINT is set, but no traces are exported")
    assert advice in line


def test_an_exporter_that_is_not_installed_is_told_of(
    consumer: TaskConsumer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", ENDPOINT)
    monkeypatch.setitem(sys.modules, "urllib3", None)
    attached(consumer)
    assert "pip install 'fluid-tasks[otlp]'" in caplog.text


def test_a_number_that_is_none_is_told_of_and_the_default_is_used(
    consumer: TaskConsumer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", ENDPOINT)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "many")
    attached(consumer)
    assert "OTEL_BSP_MAX_QUEUE_SIZE=many is no whole number from 1: 2048 is used" in caplog.text


def test_two_hosts_of_a_process_send_through_one_provider(
    new_consumer: Callable[[], TaskConsumer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", ENDPOINT)
    attached(new_consumer())
    first = trace.get_tracer_provider()
    attached(new_consumer())
    assert trace.get_tracer_provider() is first


def test_detaching_leaves_nothing_behind(consumer: TaskConsumer) -> None:
    provider(ALWAYS_ON)
    telemetry = attached(consumer)
    assert len(tracing(consumer)) == 1
    telemetry.detach()
    assert tracing(consumer) == []
    attached(consumer)
    assert len(tracing(consumer)) == 1


def test_a_second_telemetry_is_refused_and_the_first_goes_on(consumer: TaskConsumer) -> None:
    provider(ALWAYS_ON)
    attached(consumer)
    with pytest.raises(PluginError, match="traced already"):
        attached(consumer)
    assert len(tracing(consumer)) == 1


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, ParentBasedTraceIdRatio(0)], ids=["off", "ratio"])
async def test_a_run_that_is_not_sampled_does_not_touch_the_sdk_and_its_own_spans_are_not_made(
    sampler: Sampler, consumer: TaskConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = provider(sampler)
    started: list[str] = []
    start_span = SdkTracer.start_span

    def counted(tracer: SdkTracer, name: str, *args: Any, **kwargs: Any) -> trace.Span:
        started.append(name)
        return start_span(tracer, name, *args, **kwargs)

    monkeypatch.setattr(SdkTracer, "start_span", counted)
    seen: list[tuple[str, bool]] = []

    @task
    async def look(ctx: TaskRun) -> None:
        span = trace.get_current_span()
        seen.append((f"{span.get_span_context().trace_id:032x}", span.is_recording()))
        with trace.get_tracer("mine").start_as_current_span("mine"):
            pass

    consumer.register_task(look)
    attached(consumer)
    async with consumer:
        run = await consumer.queue_and_wait(look)
        await consumer.queue_many(greet, [{}, {}])
    assert run.state is TaskState.success
    assert sampled_flag(run.headers) is False
    assert seen == [(run.headers["traceparent"][3:35], False)]
    assert started == ["mine"]
    assert kept.get_finished_spans() == ()


async def test_a_run_queued_where_nothing_is_sampled_follows_that(consumer: TaskConsumer) -> None:
    kept = provider(ParentBasedTraceIdRatio(1))
    attached(consumer)
    ambient = SpanContext(7, 9, is_remote=False, trace_flags=TraceFlags(0))
    async with consumer:
        with trace.use_span(NonRecordingSpan(ambient)):
            run = await consumer.queue_and_wait(greet)
    assert run.headers["traceparent"] == f"00-{7:032x}-{9:016x}-00"
    assert kept.get_finished_spans() == ()


async def test_all_traces_of_a_run_are_sampled_or_none_is(consumer: TaskConsumer) -> None:
    kept = provider(ParentBasedTraceIdRatio(0.5))
    attached(consumer)
    async with consumer:
        runs = [await consumer.queue(greet) for _ in range(40)]
        for run in runs:
            await consumer.broker.wait_end(run.id, None)
    by_run: dict[Any, set[str]] = {}
    for span in kept.get_finished_spans():
        assert span.attributes is not None
        by_run.setdefault(span.attributes["messaging.message.id"], set()).add(span.name.split()[0])
    assert 0 < len(by_run) < 40
    assert all(spans == {"send", "process"} for spans in by_run.values())


class Raising(SpanProcessor):
    """A span processor with a fault."""

    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError("at the end")


class RaisingSampler(Sampler):
    """A sampler with a fault."""

    def should_sample(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("at the start")

    def get_description(self) -> str:
        return "raising"


@pytest.mark.parametrize(
    ("sampler", "processors"),
    [(ALWAYS_ON, [Raising()]), (RaisingSampler(), [])],
    ids=["span processor", "sampler"],
)
async def test_a_tracer_that_raises_harms_no_run_and_is_told_of(
    sampler: Sampler,
    processors: list[SpanProcessor],
    consumer: TaskConsumer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("telemetry.traces._Complaint.last", float("-inf"))
    provider(sampler, *processors)
    attached(consumer)
    async with consumer:
        assert (await consumer.queue_and_wait(greet)).state is TaskState.success
        failed = await consumer.queue_and_wait(stumble)
        await consumer.queue_many(greet, [{}, {}])
    assert (failed.state, failed.error) == (TaskState.failure, "ValueError: stumbled")
    told = [record for record in caplog.records if record.name == "telemetry"]
    assert [(one.levelno, one.exc_info is not None) for one in told] == [(logging.ERROR, True)]


class RaisingAtExecute(SpanProcessor):
    """A span processor that has a fault with bodies that are executed here."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if span.name.startswith("execute"):
            raise RuntimeError("at the start")


@pytest.mark.parametrize("body", [greet, stumble])
async def test_the_span_of_the_caller_is_the_caller_s_to_end_when_there_is_none_of_the_body(
    body: Task, consumer: TaskConsumer
) -> None:
    kept = provider(ALWAYS_ON, RaisingAtExecute())
    attached(consumer)
    with trace.get_tracer("theirs").start_as_current_span("request") as span:
        await consumer.execute(body)
        assert span.is_recording()
    [request] = [one for one in kept.get_finished_spans() if one.name == "request"]
    assert request.status.is_unset


async def test_a_tracer_that_is_not_the_sdk_s_is_given_the_spans_it_understands(
    consumer: TaskConsumer,
) -> None:
    class Foreign(trace.NoOpTracer):
        def start_span(
            self, name: str, context: Context | None = None, *args: Any, **kwargs: Any
        ) -> trace.Span:
            names.append(name.split()[0])
            return NonRecordingSpan(
                SpanContext(5, len(names), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
            )

    class ForeignProvider(trace.TracerProvider):
        def get_tracer(self, *args: Any, **kwargs: Any) -> trace.Tracer:
            return Foreign()

    names: list[str] = []
    trace.set_tracer_provider(ForeignProvider())
    seen: list[str] = []

    @task
    async def look(ctx: TaskRun) -> None:
        seen.append(ctx.headers["traceparent"])

    consumer.register_task(look)
    attached(consumer)
    async with consumer:
        await consumer.queue_and_wait(look)
    assert names == ["send", "process"]
    assert seen == [f"00-{5:032x}-{2:016x}-01"]
