"""Lines are exported as OTLP log records for who sets an endpoint, and only then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog
from aiohttp import web
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.sdk.trace import TracerProvider

from fluid.scheduler import TaskConsumer
from telemetry import Telemetry, logs
from telemetry.otlp_logs import ENDPOINTS, EXPORTER, exported_logs
from tests.support.lifeline import LOOPBACK


class Receiver:
    """Takes what is sent to /v1/logs."""

    def __init__(self) -> None:
        self.records: list[LogRecord] = []
        self.url = ""
        self.status = 200

    async def take(self, request: web.Request) -> web.Response:
        """An export."""
        sent = ExportLogsServiceRequest.FromString(await request.read())
        self.records += [
            record
            for resource in sent.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]
        return web.Response(status=self.status)

    def of(self, message: str) -> LogRecord:
        """The one record with this body."""
        (record,) = [one for one in self.records if one.body.string_value == message]
        return record


@pytest.fixture(autouse=True)
def no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked for by the environment."""
    for name in (*ENDPOINTS, "OTEL_LOGS_EXPORTER", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def receiver(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    """A receiver that the environment names."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/v1/logs", receiver.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, LOOPBACK, 0)
    await site.start()
    monkeypatch.setenv(
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", f"http://{LOOPBACK}:{runner.addresses[0][1]}/v1/logs"
    )
    yield receiver
    await runner.cleanup()


def attributes(record: LogRecord) -> dict[str, str | int]:
    return {one.key: one.value.string_value or one.value.int_value for one in record.attributes}


async def test_a_line_arrives_with_its_severity_attributes_and_trace(
    receiver: Receiver, tmp_path: Path, consumer: TaskConsumer
) -> None:
    with (tmp_path / "log").open("w") as stream:
        logs.configure(stream=stream)
        Telemetry(server=False).attach(consumer)
        with TracerProvider().get_tracer("test").start_as_current_span("here") as span:
            structlog.get_logger("shop").warning("sold out", article="lamp", token="hidden")
        async with consumer:
            run = await consumer.queue_and_wait("greet", timeout=20)
        await asyncio.to_thread(logs.reset)
    record = receiver.of("sold out")
    assert (record.severity_text, record.severity_number) == ("WARNING", 13)
    assert attributes(record) == {"logger": "shop", "article": "lamp", "token": "***"}
    assert record.trace_id.hex() == f"{span.get_span_context().trace_id:032x}"
    assert record.span_id.hex() == f"{span.get_span_context().span_id:016x}"
    end = attributes(receiver.of("run succeeded"))
    assert (end["run_id"], end["task"], end["attempt"]) == (run.id, "greet", 1)
    assert receiver.of("run succeeded").time_unix_nano > receiver.of("attempt started").time_unix_nano > 0


async def test_a_receiver_that_is_down_keeps_nobody_from_ending(receiver: Receiver, tmp_path: Path) -> None:
    receiver.status = 503
    with (tmp_path / "log").open("w+") as stream:
        logs.configure(stream=stream, format="json")
        logging.getLogger("x").info("hello")
        await asyncio.to_thread(logs.reset)
        stream.seek(0)
        assert "hello" in stream.read()


def test_an_export_that_fails_in_line_is_told_once_and_given_up(receiver: Receiver, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        logs.configure(stream=stream, format="json")
        output = logs.output_of_logs()
        assert output is not None
        assert output.otlp is not None
        exporting = output.otlp
        exporting._logger = None  # type: ignore[assignment]
        logging.getLogger("x").info("first")
        logging.getLogger("x").info("second")
        exporting.close(0.0)
        logs.reset()
    said = (tmp_path / "log").read_text()
    assert said.count("logs are exported no more") == 1
    assert said.index('"first"') < said.index('"second"')


@pytest.mark.parametrize(("name", "value"), [("OTEL_LOGS_EXPORTER", "none"), ("OTEL_SDK_DISABLED", "true")])
def test_an_export_can_be_turned_off(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert exported_logs() is None


def test_without_an_endpoint_nothing_is_exported() -> None:
    assert exported_logs() is None


def test_an_exporter_that_is_not_installed_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{LOOPBACK}:1")
    monkeypatch.setattr("telemetry.otlp_logs.find_spec", lambda name: None if name == EXPORTER else object())
    assert exported_logs() is None
    assert "fluid-tasks[otlp]" in caplog.text
