"""The trace context that travels with a run, by W3C; and the ids that an attempt's span has because of it.

Nobody has to write down which span an attempt had: its ids follow from the run's id, the number of the
delivery and the context that the run was queued in. So the next attempt, wherever it runs, links to the one
before it, also when that was killed; and so does whoever finds the run lost.

The lower half of the trace id, by which samplers decide, is that of the context that the run was queued in:
all traces of a run are sampled, or none is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from random import randbytes
from typing import Any, NamedTuple

from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from fluid.scheduler import TaskRun
from telemetry.series import Trace

TRACEPARENT = "traceparent"
HEADERS = frozenset({TRACEPARENT, "tracestate", "baggage"})

SPAN_OF_RECORD = "fluid_traceparent"
"""What a log record of another process has, so that it leads to the span it was made in."""

NOWHERE = Context()
"""No span and no baggage."""

(_CURRENT_SPAN,) = set_span_in_context(INVALID_SPAN, NOWHERE)
"""What a context keeps its span under."""

LOWER_HALF = (1 << 64) - 1

_FLAG = 54
"""Where in a `traceparent` the digit is whose lowest bit says: sampled."""

_SAMPLED = frozenset("13579bdf")

_PLAIN = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})").fullmatch
_FLAGS = {f"{flags:02x}": TraceFlags(flags) for flags in range(256)}

_trace_context = TraceContextTextMapPropagator()
_baggage = W3CBaggagePropagator()


class Ids(NamedTuple):
    """What a span is known by."""

    trace_id: int
    span_id: int

    def elsewhere(self, *, sampled: bool) -> SpanContext:
        """The context of such a span in another process."""
        return SpanContext(self.trace_id, self.span_id, is_remote=True, trace_flags=TraceFlags(sampled))

    def header(self, *, sampled: bool) -> str:
        """The `traceparent` of such a span."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-0{sampled:d}"


class Unsampled(NonRecordingSpan):
    """Stands, around a body, for the span that is not made of a run that is not sampled.

    What costs anything is done when somebody asks.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def as_context(self) -> Context:
        """The context in which it is current, with the baggage that travelled with the run."""
        if "baggage" in self._headers:
            return set_span_in_context(self, read_baggage(self._headers))
        return Context({_CURRENT_SPAN: self})

    def get_span_context(self) -> SpanContext:
        """The context that the run was queued in."""
        return read(self._headers)

    def ids(self) -> Trace:
        """What leads to that context, if the run was queued in any."""
        plain = _PLAIN(self._headers.get(TRACEPARENT, ""))
        if plain is None:
            return trace_ids(self.get_span_context())
        return {"trace_id": plain[1], "span_id": plain[2]}


def trace_ids(span: SpanContext) -> Trace:
    """What leads to a span; nothing where there is none."""
    if not span.is_valid:
        return {}
    return {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"}


def unsampled_header() -> str:
    """The `traceparent` of what begins a trace, but is not sampled."""
    ids = randbytes(24).hex()
    return f"00-{ids[:32]}-{ids[32:]}-00"


def ids_of(run: TaskRun[Any], delivery: int, queued_in: SpanContext, *, same_trace: bool) -> Ids:
    """The ids of a delivery's span, in the trace that the run was queued in (`same_trace`) or in its own."""
    digest = blake2b(f"{run.id}/{delivery}".encode(), digest_size=16).digest()
    upper, span_id = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big") or 1
    if not queued_in.is_valid:
        # whoever queued it does not trace
        lower = int.from_bytes(blake2b(run.id.encode(), digest_size=8).digest(), "big") or 1
        return Ids(upper << 64 | lower, span_id)
    if same_trace:
        return Ids(queued_in.trace_id, span_id)
    return Ids(upper << 64 | queued_in.trace_id & LOWER_HALF, span_id)


def read(headers: Mapping[str, str]) -> SpanContext:
    """The span context that travelled with a run; an invalid one when none did."""
    header = headers.get(TRACEPARENT)
    if header is None:
        return INVALID_SPAN_CONTEXT
    if "tracestate" not in headers and (plain := _PLAIN(header)):
        trace_id, span_id, flags = plain.groups()
        return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=_FLAGS[flags])
    return get_current_span(_trace_context.extract(headers, NOWHERE)).get_span_context()


def read_baggage(headers: Mapping[str, str]) -> Context:
    """A context with the baggage that travelled with a run, and nothing else."""
    return _baggage.extract(headers, NOWHERE) if "baggage" in headers else NOWHERE


def read_all(headers: Mapping[str, str]) -> Context:
    """A context with all that travelled."""
    return _trace_context.extract(headers, read_baggage(headers))


def write(run: TaskRun[Any], header: str, context: Context, state: TraceState | None = None) -> None:
    """Have a `traceparent` and the baggage of a context travel with the run, in place of what it carried."""
    headers = (
        {name: value for name, value in run.headers.items() if name not in HEADERS} if run.headers else {}
    )
    headers[TRACEPARENT] = header
    if state:
        headers["tracestate"] = state.to_header()
    if context:
        _baggage.inject(headers, context)
    run.headers = headers


def sampled_flag(headers: Mapping[str, str]) -> bool | None:
    """Whether the run was sampled when it was queued; None when nothing says so."""
    header = headers.get(TRACEPARENT)
    return None if header is None or len(header) <= _FLAG else header[_FLAG] in _SAMPLED


def trace_of(run: TaskRun[Any]) -> Trace | None:
    """Where the run's attempt can be looked at; None when it is not sampled."""
    header = run.headers.get(TRACEPARENT)
    if header is None or header[_FLAG : _FLAG + 1] not in _SAMPLED:
        return None
    return {"trace_id": header[3:35], "span_id": header[36:52]}
