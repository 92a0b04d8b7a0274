"""The messaging conventions of OpenTelemetry, release 1.44.0, as a checker of spans and log records.

Written from `model/messaging/spans.yaml`, `model/messaging/events.yaml` and
`docs/messaging/messaging-spans.md` of open-telemetry/semantic-conventions at v1.44.0. Names of attributes are
checked against the constants of the package `opentelemetry-semantic-conventions`, which is generated from the
same model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.semconv._incubating.attributes import (
    error_attributes,
    exception_attributes,
    messaging_attributes,
    server_attributes,
)
from opentelemetry.semconv._incubating.attributes.messaging_attributes import MessagingOperationTypeValues

from tests.telemetry.tracing import Received, values_of

RELEASE = "1.44.0"

OWN = "fluid."
"""Attributes of ours; what is specific to a system belongs into a namespace of its own."""

DEPRECATED = frozenset(
    {
        *(
            "messaging.operation",
            "messaging.client_id",
            "messaging.destination",
            "messaging.destination_kind",
        ),
        *("messaging.conversation_id", "messaging.message_id", "messaging.eventhubs.consumer.group"),
        *("messaging.destination_publish.anonymous", "messaging.destination_publish.name"),
        *("messaging.kafka.consumer.group", "messaging.kafka.destination.partition"),
    }
)


def _names(module: ModuleType) -> frozenset[str]:
    values = (getattr(module, name) for name in dir(module) if name.isupper())
    return frozenset(value for value in values if isinstance(value, str))


KNOWN = (_names(messaging_attributes) | _names(server_attributes) | _names(error_attributes)) - DEPRECATED
EXCEPTION = _names(exception_attributes)
OPERATION_TYPES = frozenset(one.value for one in MessagingOperationTypeValues) - {"deliver", "publish"}


@dataclass(frozen=True)
class SpanType:
    """A span of the model."""

    kinds: frozenset[str]
    about_one: bool | None
    """Whether it is of a single message; None where it may be of one or several."""


SPAN_TYPES = {
    "create": SpanType(frozenset({"PRODUCER"}), about_one=True),
    # a producer where its context is what travels, a client where a `create` span's is
    "send": SpanType(frozenset({"PRODUCER", "CLIENT"}), about_one=None),
    "receive": SpanType(frozenset({"CLIENT"}), about_one=None),
    "process": SpanType(frozenset({"CONSUMER"}), about_one=None),
    "settle": SpanType(frozenset({"CLIENT"}), about_one=None),
}


def faults_of(span: Received) -> Iterator[str]:
    """What is wrong with a span."""
    told = span.attributes
    for required in ("messaging.operation.name", "messaging.system", "messaging.operation.type"):
        if not told.get(required):
            yield f"{required} is missing"
    known = SPAN_TYPES.get(str(told.get("messaging.operation.type")))
    if known is None or told["messaging.operation.type"] not in OPERATION_TYPES:
        yield f"{told.get('messaging.operation.type')} is no operation type"
        return
    if span.kind not in known.kinds:
        yield f"kind {span.kind} of a {told['messaging.operation.type']} span"
    if span.name != f"{told['messaging.operation.name']} {told.get('messaging.destination.name')}":
        yield f"its name is {span.name!r}"
    yield from _faults_of_names(span)
    yield from _faults_of_count(span, known)
    yield from _faults_of_status(span)


def _faults_of_names(span: Received) -> Iterator[str]:
    for name, value in span.attributes.items():
        if name not in KNOWN and not name.startswith(OWN):
            yield f"{name} is no attribute of the conventions"
        if name in DEPRECATED:
            yield f"{name} is deprecated"
        expected = int if name in ("server.port", "messaging.batch.message_count") else str
        if not name.startswith(OWN) and type(value) is not expected:
            yield f"{name} is a {type(value).__name__}"
    if "server.port" in span.attributes and "server.address" not in span.attributes:
        yield "server.port without server.address"


def _faults_of_count(span: Received, known: SpanType) -> Iterator[str]:
    told = span.attributes
    batch = "messaging.batch.message_count" in told
    if batch and known.about_one:
        yield "a batch count on a span of one message"
    if batch == ("messaging.message.id" in told):
        yield "a message id or a batch count, one of the two"
    if told["messaging.operation.type"] == "send" and (span.kind == "CLIENT") != batch:
        yield "a send span is a client's exactly when its messages have spans of their own"
    if told["messaging.operation.type"] == "send" and batch and not span.links:
        yield "a send span of a batch links to the creation contexts"
    if told["messaging.operation.type"] == "process" and not span.links:
        yield "a process span links to the creation context"


def _faults_of_status(span: Received) -> Iterator[str]:
    status = span.message.status
    if status.code == status.STATUS_CODE_OK:
        yield "status OK where it is to be unset"
    if span.failed != ("error.type" in span.attributes):
        yield "error.type exactly on failure"
    if span.attributes.get("error.type") == status.message != "":
        yield "the status repeats error.type"
    if any(event.name == "exception" for event in span.message.events):
        yield "an exception as a span event: it is to be a log record"


def faults_of_record(record: LogRecord) -> Iterator[str]:
    """What is wrong with the record of an exception."""
    told = values_of(record.attributes)
    operation = record.event_name.removeprefix("messaging.").removesuffix(".exception")
    if operation not in SPAN_TYPES:
        yield f"its name is {record.event_name!r}"
    expected = "ERROR" if operation == "process" else "WARN"
    if record.severity_number != (17 if expected == "ERROR" else 13):
        yield f"severity {record.severity_number} is not {expected}"
    if not told.get("exception.type") and not told.get("exception.message"):
        yield "neither exception.type nor exception.message"
    for name in told:
        if name not in EXCEPTION:
            yield f"{name} is no attribute of an exception"
    if not record.trace_id or not record.span_id:
        yield "it belongs to no span"
