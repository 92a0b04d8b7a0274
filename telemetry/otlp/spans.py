"""Spans as an ExportTraceServiceRequest."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext, SpanKind, Status

from telemetry.otlp.attributes import attributes
from telemetry.otlp.envelope import Request, request
from telemetry.otlp.wire import FIXED32, FIXED64, SIZED, VARINT, sized, tag, text, varint

_WHEREABOUTS = [(0x100).to_bytes(4, "little"), (0x300).to_bytes(4, "little")]
"""Flags of a parent or a link: in this process, in another. The lower bit says that it is known."""

# of Span; ids are behind a tag and a size
_IDS = Struct("<2s16s2s8s").pack
_TRACE_ID, _SPAN_ID = tag(1, SIZED) + varint(16), tag(2, SIZED) + varint(8)
_TRACE_STATE = tag(3, SIZED)
_PARENT = tag(4, SIZED) + varint(8)
_NAME = tag(5, SIZED)
_KINDS = {kind: tag(6, VARINT) + varint(kind.value + 1) for kind in SpanKind}
_TIMES = Struct("<cQcQ").pack
_START, _END = tag(7, FIXED64), tag(8, FIXED64)
_ATTRIBUTE = tag(9, SIZED)
_DROPPED_ATTRIBUTES = tag(10, VARINT)
_EVENT = tag(11, SIZED)
_DROPPED_EVENTS = tag(12, VARINT)
_LINK = tag(13, SIZED)
_DROPPED_LINKS = tag(14, VARINT)
_STATUS = tag(15, SIZED)
_FLAGS = [tag(16, FIXED32) + flags for flags in _WHEREABOUTS]

# of Event
_EVENT_TIME = Struct("<cQ").pack
_EVENT_TIME_TAG = tag(1, FIXED64)
_EVENT_NAME = tag(2, SIZED)
_EVENT_ATTRIBUTE = tag(3, SIZED)
_EVENT_DROPPED = tag(4, VARINT)

# of Link, whose ids have the tags of a span's
_LINK_ATTRIBUTE = tag(4, SIZED)
_LINK_DROPPED = tag(5, VARINT)
_LINK_FLAGS = [tag(6, FIXED32) + flags for flags in _WHEREABOUTS]

# of Status
_STATUS_MESSAGE = tag(2, SIZED)
_STATUS_CODE = tag(3, VARINT)
_UNSET = _STATUS + sized(b"")


def encode_spans(batch: Sequence[ReadableSpan]) -> Request:
    """The batch as it is sent."""
    return request(batch, _span)


def _span(span: ReadableSpan) -> bytes:
    context = span.context
    if context is None:
        raise ValueError(f"the span {span.name!r} has no context")
    parent = span.parent
    parts = [
        _ids(context),
        _NAME + text(span.name),
        _KINDS[span.kind],
        _TIMES(_START, span.start_time or 0, _END, span.end_time or 0),
        attributes(_ATTRIBUTE, span.attributes),
    ]
    add = parts.append
    if context.trace_state:
        add(_TRACE_STATE + text(context.trace_state.to_header()))
    if parent is not None:
        add(_PARENT + parent.span_id.to_bytes(8, "big"))
    for event in span.events:
        add(_EVENT + _event(event))
    for link in span.links:
        add(_LINK + _link(link))
    if dropped := span.dropped_attributes:
        add(_DROPPED_ATTRIBUTES + varint(dropped))
    if dropped := span.dropped_events:
        add(_DROPPED_EVENTS + varint(dropped))
    if dropped := span.dropped_links:
        add(_DROPPED_LINKS + varint(dropped))
    add(_status(span.status))
    add(_FLAGS[parent is not None and parent.is_remote])
    return b"".join(parts)


def _ids(context: SpanContext) -> bytes:
    trace_id, span_id = context.trace_id.to_bytes(16, "big"), context.span_id.to_bytes(8, "big")
    return _IDS(_TRACE_ID, trace_id, _SPAN_ID, span_id)


def _event(event: Event) -> bytes:
    encoded = (
        _EVENT_TIME(_EVENT_TIME_TAG, event.timestamp or 0)
        + _EVENT_NAME
        + text(event.name)
        + attributes(_EVENT_ATTRIBUTE, event.attributes)
    )
    if dropped := event.dropped_attributes:
        encoded += _EVENT_DROPPED + varint(dropped)
    return sized(encoded)


def _link(link: Link) -> bytes:
    context = link.context
    encoded = _ids(context) + attributes(_LINK_ATTRIBUTE, link.attributes) + _LINK_FLAGS[context.is_remote]
    if dropped := link.dropped_attributes:
        encoded += _LINK_DROPPED + varint(dropped)
    return sized(encoded)


def _status(status: Status) -> bytes:
    if status.is_unset:
        return _UNSET
    said = _STATUS_MESSAGE + text(status.description) if status.description else b""
    return _STATUS + sized(said + _STATUS_CODE + varint(status.status_code.value))
