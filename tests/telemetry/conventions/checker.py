"""Holds spans and log records against the model of the conventions.

What the model says in prose, when an attribute is there and how spans hang together, is said here in code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from tests.telemetry.conventions.model import Attribute, Model
from tests.telemetry.conventions.released import MODEL
from tests.telemetry.tracing import Received, values_of

OWN = "fluid."
"""Attributes of ours; what is specific to a system belongs into a namespace of its own."""

OF_OUR_SYSTEM = frozenset({"messaging.consumer.group.name"})
"""Of the registry: the conventions leave it to each system to say whether it has these."""

CLOSED = frozenset({"messaging.operation.type"})
"""Enums of which we use the members alone."""

TYPES = {"string": str, "int": int, "double": float, "boolean": bool}

CONDITIONS: Mapping[str, Callable[[Received], bool]] = {
    "error.type": lambda span: span.failed,
    "messaging.operation.type": lambda span: True,  # all our operations have one
    "messaging.destination.name": lambda span: True,  # a queue is queued into as a whole
    "messaging.destination.template": lambda span: False,  # the name of a queue is no template
    "messaging.batch.message_count": lambda span: "messaging.message.id" not in span.attributes,
}
"""When an attribute is there that is conditionally required; else it is not."""


def faults_of(span: Received, model: Model = MODEL) -> Iterator[str]:
    """What is wrong with a span."""
    operation = span.attributes.get("messaging.operation.type")
    known = model.spans.get(f"messaging.{operation}.{span.kind.lower()}")
    if known is None:
        yield f"there is no span of kind {span.kind} and type {operation}"
        return
    if span.name != (expected := _name_of(span, known.name)):
        yield f"its name is {span.name!r} and not {expected!r}"
    ours = {name: model.registry[name] for name in OF_OUR_SYSTEM}
    yield from _faults_of_attributes(span.attributes, {**known.attributes, **ours})
    yield from _faults_of_presence(span, known.attributes)
    yield from _faults_of_structure(span)
    yield from _faults_of_status(span)


def _name_of(span: Received, form: str) -> str:
    told = span.attributes
    destination = told.get("messaging.destination.template") or told.get("messaging.destination.name")
    values = told | {"destination": destination}
    for name, value in values.items():
        form = form.replace(f"{{{name}}}", str(value))
    return form


def _faults_of_attributes(told: Mapping[str, object], known: Mapping[str, Attribute]) -> Iterator[str]:
    for name, value in told.items():
        if name.startswith(OWN):
            continue
        if name not in known:
            yield f"{name} does not belong there"
            continue
        attribute = known[name]
        if attribute.is_deprecated:
            yield f"{name} is deprecated"
        if type(value) is not TYPES[attribute.type]:
            yield f"{name} is a {type(value).__name__} and no {attribute.type}"
        if name in CLOSED and value not in attribute.members:
            yield f"{value} is none of {sorted(attribute.members)}, which {name} may be"
        if value == "":
            yield f"{name} is empty"


def _faults_of_presence(span: Received, known: Mapping[str, Attribute]) -> Iterator[str]:
    for name, attribute in known.items():
        is_there = name in span.attributes
        if attribute.level == "required" and not is_there:
            yield f"{name} is missing: it is required"
        if attribute.level == "conditionally_required" and is_there != CONDITIONS[name](span):
            yield f"{name} is {'there' if is_there else 'missing'}: it is required by its condition alone"
    if "server.port" in span.attributes and "server.address" not in span.attributes:
        yield "server.port without server.address"


def _faults_of_structure(span: Received) -> Iterator[str]:
    told = span.attributes
    batch = "messaging.batch.message_count" in told
    if batch and "messaging.message.id" in told:
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
    if span.attributes.get("error.type") == status.message != "":
        yield "the status repeats error.type"
    if any(event.name == "exception" for event in span.message.events):
        yield "an exception as a span event: it is to be a log record"


def faults_of_record(record: LogRecord, model: Model = MODEL) -> Iterator[str]:
    """What is wrong with the record of an exception."""
    known = model.events.get(record.event_name)
    if known is None:
        yield f"there is no event {record.event_name!r}"
        return
    told = values_of(record.attributes)
    if record.severity_number != known.severity:
        yield f"severity {record.severity_number} is not {known.severity}"
    if not told.get("exception.type") and not told.get("exception.message"):
        yield "neither exception.type nor exception.message"
    yield from _faults_of_attributes(told, known.attributes)
    if not record.trace_id or not record.span_id:
        yield "it belongs to no span"
