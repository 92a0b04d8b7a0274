"""The checker of conventions finds what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.telemetry.conventions.checker import faults_of, faults_of_record
from tests.telemetry.tracing import Kind, Received

RIGHT = {
    "messaging.system": "redis",
    "messaging.operation.name": "process",
    "messaging.operation.type": "process",
    "messaging.destination.name": "orders",
    "messaging.message.id": "1",
    "fluid.task": "charge",
}


def attributes(values: dict[str, Any]) -> list[KeyValue]:
    def value(one: Any) -> AnyValue:
        return AnyValue(int_value=one) if isinstance(one, int) else AnyValue(string_value=one)

    return [KeyValue(key=name, value=value(one)) for name, one in values.items()]


def span(
    values: dict[str, Any], *, name: str = "process orders", kind: Any = Kind.SPAN_KIND_CONSUMER, **more: Any
) -> Received:
    more.setdefault("links", [Span.Link(trace_id=b"1" * 16, span_id=b"1" * 8)])
    return Received(Span(name=name, kind=kind, attributes=attributes(values), **more))


def test_a_span_that_keeps_to_the_conventions_has_no_fault() -> None:
    assert list(faults_of(span(RIGHT))) == []


BATCH = {name: one for name, one in RIGHT.items() if name != "messaging.message.id"} | {
    "messaging.operation.name": "send",
    "messaging.operation.type": "send",
    "messaging.batch.message_count": 3,
}


def without(values: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


def test_a_span_of_a_batch_that_keeps_to_them_has_no_fault() -> None:
    assert list(faults_of(span(BATCH, name="send orders", kind=Kind.SPAN_KIND_CLIENT))) == []


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (span(without(RIGHT, "messaging.system")), "messaging.system is missing"),
        (span(without(RIGHT, "messaging.operation.name")), "messaging.operation.name is missing"),
        (span(without(RIGHT, "messaging.operation.type")), "type None"),
        (span(without(RIGHT, "messaging.destination.name")), "messaging.destination.name is missing"),
        (span(without(RIGHT, "messaging.message.id")), "messaging.batch.message_count is missing"),
        (span(RIGHT, kind=Kind.SPAN_KIND_CLIENT), "kind CLIENT and type process"),
        (span(BATCH, name="send orders", kind=Kind.SPAN_KIND_PRODUCER), "a send span is a client's"),
        (span(RIGHT | {"messaging.operation.type": "publish"}), "type publish"),
        (span(RIGHT | {"messaging.operation.type": "rescue"}), "type rescue"),
        (span(RIGHT, name="process/charge"), "its name"),
        (span(RIGHT | {"messaging.operation": "process"}), "messaging.operation does not belong"),
        (span(RIGHT | {"network.peer.address": "here"}), "network.peer.address does not belong"),
        (span(RIGHT | {"task_name": "charge"}), "task_name does not belong"),
        (span(RIGHT | {"messaging.system": 6379}), "messaging.system is a int and no string"),
        (span(RIGHT | {"server.port": "6379", "server.address": "here"}), "server.port is a str and no int"),
        (span(RIGHT | {"server.port": 6379}), "without server.address"),
        (span(RIGHT | {"messaging.client.id": ""}), "messaging.client.id is empty"),
        (span(RIGHT | {"messaging.batch.message_count": 1}), "one of the two"),
        (span(RIGHT, status=Status(code=Status.STATUS_CODE_OK)), "status OK"),
        (span(RIGHT, status=Status(code=Status.STATUS_CODE_ERROR)), "error.type is missing"),
        (span(RIGHT | {"error.type": "ValueError"}), "error.type is there"),
        (span(RIGHT, events=[Span.Event(name="exception")]), "span event"),
        (span(RIGHT, links=[]), "links to the creation context"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_span_that_does_not_keep_to_them_is_found(wrong: Received, fault: str) -> None:
    assert any(fault in found for found in faults_of(wrong))


def record(event: str, severity: SeverityNumber.ValueType, **values: Any) -> LogRecord:
    return LogRecord(
        event_name=event,
        severity_number=severity,
        attributes=attributes({f"exception.{name}": value for name, value in values.items()}),
        trace_id=b"1" * 16,
        span_id=b"1" * 8,
    )


PROCESS = "messaging.process.exception"


def test_a_record_that_keeps_to_the_conventions_has_no_fault() -> None:
    right = record(PROCESS, SeverityNumber.SEVERITY_NUMBER_ERROR, type="ValueError", stacktrace="...")
    assert list(faults_of_record(right)) == []


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (record("exception", SeverityNumber.SEVERITY_NUMBER_ERROR, type="ValueError"), "no event"),
        (record(PROCESS, SeverityNumber.SEVERITY_NUMBER_WARN, type="ValueError"), "severity 13 is not 17"),
        (record(PROCESS, SeverityNumber.SEVERITY_NUMBER_ERROR, stacktrace="..."), "neither"),
        (record(PROCESS, SeverityNumber.SEVERITY_NUMBER_ERROR, type="E", kind="E"), "does not belong"),
        (record(PROCESS, SeverityNumber.SEVERITY_NUMBER_ERROR, type=1), "a int and no string"),
        (LogRecord(event_name=PROCESS, severity_number=SeverityNumber.SEVERITY_NUMBER_ERROR), "no span"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_record_that_does_not_keep_to_them_is_found(wrong: LogRecord, fault: str) -> None:
    assert any(fault in found for found in faults_of_record(wrong))
