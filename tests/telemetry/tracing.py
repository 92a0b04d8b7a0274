"""What tests of traces stand on: a receiver that is not ours, and an OpenTelemetry of the test's own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import TracebackType
from typing import Any, Self

import pytest
from opentelemetry import trace
from opentelemetry._logs import _internal as logs_internal
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.util._once import Once

from fluid.testing.waiting import Watch
from telemetry import otlp_logs, telemetry, traces
from telemetry.providers import Providers
from tests.support.lifeline import LOOPBACK, free_port
from tests.support.server_process import missing

Kind = Span.SpanKind


class Received:
    """A span as the receiver has read it."""

    def __init__(self, span: Span) -> None:
        self.message = span
        self.name = span.name
        self.kind = Kind.Name(span.kind).removeprefix("SPAN_KIND_")
        self.trace_id = span.trace_id.hex()
        self.span_id = span.span_id.hex()
        self.parent_id = span.parent_span_id.hex()
        self.attributes = values_of(span.attributes)
        self.failed = span.status.code == span.status.STATUS_CODE_ERROR

    def __repr__(self) -> str:
        return f"{self.kind} {self.name!r} of {self.attributes.get('fluid.task')}"

    @property
    def context(self) -> tuple[str, str]:
        """Trace and span id."""
        return self.trace_id, self.span_id

    @property
    def run_id(self) -> str:
        """The run it is about."""
        return str(self.attributes.get("messaging.message.id", ""))

    @property
    def links(self) -> dict[tuple[str, str], dict[str, Any]]:
        """What it links to, with the links' attributes."""
        return {
            (link.trace_id.hex(), link.span_id.hex()): values_of(link.attributes)
            for link in self.message.links
        }

    @property
    def previous(self) -> tuple[str, str] | None:
        """The attempt before, as it is linked to."""
        found = [to for to, told in self.links.items() if told.get("fluid.link") == "previous_attempt"]
        assert len(found) <= 1
        return found[0] if found else None


def values_of(attributes: Any) -> dict[str, Any]:
    """Attributes as plain values."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


class Tap:
    """An OTLP receiver on a port of its own, as `async with`: it keeps what comes."""

    def __init__(self) -> None:
        try:
            oteltap = import_module("oteltap")
        except (ImportError, OSError) as error:
            missing(f"the wheel `oteltap` is not installed or not for this system: {error}")
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.spans: list[Received] = []
        self.records: list[LogRecord] = []
        self._receiver = oteltap.OtelTapHttpProtobufReceiver(
            oteltap.OtelTapHttpProtobufReceiverSettings(http_port=self.port)
        )
        self._watch = Watch()

    async def __aenter__(self) -> Self:
        await self._receiver.start()
        self._hearing = [
            asyncio.create_task(self._hear(self._receiver.stream_traces(), self._take_span)),
            asyncio.create_task(self._hear(self._receiver.stream_logs(), self.records.append)),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._receiver.stop()
        await asyncio.gather(*self._hearing)

    async def wait_for(
        self,
        operation: str,
        *,
        count: int = 1,
        run_id: str = "",
        where: Callable[[Received], bool] | None = None,
    ) -> list[Received]:
        """The spans of an operation (`send`, `process`; of one run), once there are so many, oldest first."""

        def found() -> list[Received]:
            return [
                span
                for span in self.spans
                if span.name.split()[0] == operation
                and run_id in ("", span.run_id)
                and (where is None or where(span))
            ]

        await self._watch.until(
            lambda: len(found()) >= count, lambda: f"{count} spans {operation!r}; came: {self.spans}"
        )
        return sorted(found(), key=lambda span: span.message.start_time_unix_nano)

    async def wait_for_record(self, event: str) -> LogRecord:
        """The first log record of an event, once it has come."""
        return await self._record(lambda record: record.event_name == event, event)

    async def wait_for_line(self, message: str) -> LogRecord:
        """The first log record with this text, once it has come."""
        return await self._record(lambda record: record.body.string_value == message, message)

    async def _record(self, fits: Callable[[LogRecord], bool], what: str) -> LogRecord:
        def found() -> list[LogRecord]:
            return [record for record in self.records if fits(record)]

        await self._watch.until(lambda: bool(found()), lambda: f"a record {what!r}; came: {self.records}")
        return found()[0]

    def _take_span(self, span: Span) -> None:
        self.spans.append(Received(span))

    async def _hear(self, stream: Any, take: Callable[[Any], None]) -> None:
        async for one in stream:
            take(one)
            self._watch.changed()


@contextmanager
def own_opentelemetry(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Iterator[Providers]:
    """This process as if nobody had set up OpenTelemetry, with these `OTEL_*` variables and no other."""
    for name in os.environ:
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(logs_internal, "_LOGGER_PROVIDER", None)
    monkeypatch.setattr(logs_internal, "_LOGGER_PROVIDER_SET_ONCE", Once())
    providers = Providers()
    for room in (traces, telemetry, otlp_logs):
        monkeypatch.setattr(room, "PROVIDERS", providers)
    try:
        yield providers
    finally:
        providers.close()
