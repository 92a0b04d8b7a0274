"""Log records as an ExportLogsServiceRequest."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from opentelemetry.sdk._logs import ReadableLogRecord

from telemetry.otlp.attributes import attributes, body
from telemetry.otlp.envelope import Request, request
from telemetry.otlp.wire import FIXED32, FIXED64, SIZED, VARINT, sized, tag, text, varint

# of LogRecord; ids are behind a tag and a size
_TIMES = Struct("<cQcQ").pack
_TIME, _OBSERVED_TIME = tag(1, FIXED64), tag(11, FIXED64)
_SEVERITY_NUMBER = tag(2, VARINT)
_SEVERITY_TEXT = tag(3, SIZED)
_BODY = tag(5, SIZED)
_ATTRIBUTE = tag(6, SIZED)
_DROPPED_ATTRIBUTES = tag(7, VARINT)
_FLAGS = tag(8, FIXED32)
_TRACE_ID, _SPAN_ID = tag(9, SIZED) + varint(16), tag(10, SIZED) + varint(8)
_EVENT_NAME = tag(12, SIZED)


def encode_records(batch: Sequence[ReadableLogRecord]) -> Request:
    """The batch as it is sent."""
    return request(batch, _record)


def _record(readable: ReadableLogRecord) -> bytes:
    record = readable.log_record
    parts = [_TIMES(_TIME, record.timestamp or 0, _OBSERVED_TIME, record.observed_timestamp or 0)]
    if record.severity_number is not None:
        parts.append(_SEVERITY_NUMBER + varint(record.severity_number.value))
    if record.severity_text:
        parts.append(_SEVERITY_TEXT + text(record.severity_text))
    parts += (_BODY + sized(body(record.body)), attributes(_ATTRIBUTE, record.attributes))
    if readable.dropped_attributes:
        parts.append(_DROPPED_ATTRIBUTES + varint(readable.dropped_attributes))
    if record.trace_flags:
        parts.append(_FLAGS + record.trace_flags.to_bytes(4, "little"))
    if record.trace_id:
        parts.append(_TRACE_ID + record.trace_id.to_bytes(16, "big"))
    if record.span_id:
        parts.append(_SPAN_ID + record.span_id.to_bytes(8, "big"))
    if record.event_name:
        parts.append(_EVENT_NAME + text(record.event_name))
    return b"".join(parts)
