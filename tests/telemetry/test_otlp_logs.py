"""Lines are exported as OTLP log records for who asks for that, and only then."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog
from opentelemetry import _logs as otel_logs
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider

from fluid.scheduler import TaskConsumer
from telemetry import Telemetry, logs
from telemetry.otlp_logs import exported_logs
from tests.telemetry.tracing import Tap, own_opentelemetry, values_of

ENDPOINT = "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is asked for by the environment."""
    with own_opentelemetry(monkeypatch):
        yield


@pytest.fixture
async def tap(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Tap]:
    """A receiver that the environment names."""
    async with Tap() as tap:
        monkeypatch.setenv(ENDPOINT, f"{tap.url}/v1/logs")
        yield tap


def about(record: LogRecord) -> dict[str, str | int]:
    return values_of(record.attributes)


async def test_a_line_arrives_with_its_severity_attributes_and_trace(
    tap: Tap, tmp_path: Path, consumer: TaskConsumer
) -> None:
    with (tmp_path / "log").open("w") as stream:
        logs.configure(stream=stream)
        Telemetry(server=False).attach(consumer)
        with TracerProvider().get_tracer("test").start_as_current_span("here") as span:
            structlog.get_logger("shop").warning("sold out", article="lamp", token="hidden")
        async with consumer:
            run = await consumer.queue_and_wait("greet", timeout=20)
        await asyncio.to_thread(logs.reset)
    record = await tap.wait_for_line("sold out")
    assert (record.severity_text, record.severity_number) == ("WARNING", 13)
    assert about(record) == {"logger": "shop", "article": "lamp", "token": "***"}
    assert record.trace_id.hex() == f"{span.get_span_context().trace_id:032x}"
    assert record.span_id.hex() == f"{span.get_span_context().span_id:016x}"
    start, end = await tap.wait_for_line("attempt started"), await tap.wait_for_line("run succeeded")
    assert {name: about(end)[name] for name in ("run_id", "task", "attempt")} == {
        "run_id": run.id,
        "task": "greet",
        "attempt": 1,
    }
    assert end.time_unix_nano > start.time_unix_nano > 0


async def test_a_logger_provider_of_the_program_is_the_one_that_lines_go_through(
    tap: Tap, tmp_path: Path
) -> None:
    kept = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    own = LoggerProvider()
    own.add_log_record_processor(SimpleLogRecordProcessor(kept))
    otel_logs.set_logger_provider(own)
    with (tmp_path / "log").open("w") as stream:
        logs.configure(stream=stream)
        logging.getLogger("shop").info("open")
        await asyncio.to_thread(logs.reset)
    assert [one.log_record.body for one in kept.get_finished_logs()] == ["open"]
    assert tap.records == []


def test_an_export_that_fails_in_line_is_told_once_and_given_up(tap: Tap, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        logs.configure(stream=stream, format="json")
        output = logs.output_of_logs()
        assert output is not None
        assert output.otlp is not None
        output.otlp._logger = None  # type: ignore[assignment]
        logging.getLogger("x").info("first")
        logging.getLogger("x").info("second")
        logs.reset()
    said = (tmp_path / "log").read_text()
    assert said.count("logs are exported no more") == 1
    assert said.index('"first"') < said.index('"second"')


@pytest.mark.parametrize(("name", "value"), [("OTEL_LOGS_EXPORTER", "none"), ("OTEL_SDK_DISABLED", "true")])
def test_an_export_can_be_turned_off(
    tap: Tap, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert exported_logs() is None


@pytest.mark.parametrize("exporter", ["", "otlp"])
def test_without_an_endpoint_nothing_is_exported(exporter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", exporter)
    assert exported_logs() is None


@pytest.mark.parametrize(("exporter", "lines"), [("", 0), ("otlp", 2)])
async def test_an_endpoint_for_everything_takes_exceptions_and_lines_only_when_they_are_asked_for(
    exporter: str, lines: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, consumer: TaskConsumer
) -> None:
    async with Tap() as tap:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", tap.url)
        monkeypatch.setenv("OTEL_LOGS_EXPORTER", exporter)
        with (tmp_path / "log").open("w") as stream:
            logs.configure(stream=stream)
            Telemetry(server=False).attach(consumer)
            async with consumer:
                await consumer.queue_and_wait("stumble", timeout=20)
            await asyncio.to_thread(logs.reset)
        await tap.wait_for_record("messaging.process.exception")
    told = [record.body.string_value for record in tap.records if not record.event_name]
    assert len([line for line in told if line in ("attempt started", "run failed")]) == lines
    assert told == [] or lines


def test_an_exporter_that_is_not_installed_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "urllib3", None)
    assert exported_logs() is None
    assert exported_logs() is None
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"{ENDPOINT} is set, but no logs are exported")
    assert "fluid-tasks[otlp]" in line
