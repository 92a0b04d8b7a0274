"""The checker of conventions finds what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.semconv.schemas import Schemas

from telemetry.conventions import SCHEMA_URL
from tests.telemetry.convention import RELEASE, faults_of, faults_of_record
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


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (
            span({name: one for name, one in RIGHT.items() if name != "messaging.system"}),
            "messaging.system is",
        ),
        (span(RIGHT, kind=Kind.SPAN_KIND_CLIENT), "kind CLIENT"),
        (span(RIGHT, name="process/charge"), "its name"),
        (span(RIGHT | {"messaging.operation": "process"}), "messaging.operation is"),
        (span(RIGHT | {"task_name": "charge"}), "task_name is no attribute"),
        (span(RIGHT | {"server.port": "6379", "server.address": "here"}), "server.port is a str"),
        (span(RIGHT | {"messaging.batch.message_count": 1}), "one of the two"),
        (span(RIGHT, status=Status(code=Status.STATUS_CODE_OK)), "status OK"),
        (span(RIGHT, status=Status(code=Status.STATUS_CODE_ERROR)), "error.type exactly"),
        (span(RIGHT | {"error.type": "ValueError"}), "error.type exactly"),
        (span(RIGHT, events=[Span.Event(name="exception")]), "span event"),
        (span(RIGHT, links=[]), "links to the creation context"),
        (span(RIGHT | {"messaging.operation.type": "publish"}), "no operation type"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_span_that_does_not_keep_to_them_is_found(wrong: Received, fault: str) -> None:
    assert any(fault in found for found in faults_of(wrong))


def test_a_record_that_does_not_keep_to_them_is_found() -> None:
    found = list(
        faults_of_record(
            LogRecord(event_name="exception", severity_number=SeverityNumber.SEVERITY_NUMBER_ERROR)
        )
    )
    assert len(found) == 4


def test_our_schema_is_the_release_that_is_checked_and_the_newest_of_the_package() -> None:
    assert SCHEMA_URL == f"https://opentelemetry.io/schemas/{RELEASE}" == list(Schemas)[-1].value
