"""Traces: what a host queues and executes becomes spans, and their context travels with the runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from random import getrandbits
from types import TracebackType
from typing import Any, NamedTuple

from opentelemetry import context as contexts
from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    Span,
    SpanContext,
    get_current_span,
    set_span_in_context,
)

from fluid.clock import elapsed
from fluid.errors import DuplicateHandlerError, PluginError
from fluid.scheduler import Event, Interceptor, TaskManager, TaskRun
from telemetry.conventions import REASON
from telemetry.providers import PROVIDERS
from telemetry.spans import Spans
from telemetry.trace_context import (
    LOWER_HALF,
    NOWHERE,
    TRACEPARENT,
    Ids,
    Unsampled,
    ids_of,
    read,
    read_all,
    read_baggage,
    sampled_flag,
    unsampled_header,
    write,
)

HANDLER = "traces"
"""The name that our handlers are registered with."""

QUIET_SECONDS = 60.0
"""A tracer that raises is told of once in so long."""

logger = logging.getLogger("telemetry")


class Sending:
    """A `send` span that is current within, and ends with it. It cannot harm what is within."""

    __slots__ = ("_base", "_run", "_span", "_spans", "_token")

    def __init__(self, spans: Spans, span: Span, run: TaskRun[Any] | None, base: Context) -> None:
        self._spans = spans
        self._span = span
        self._run = run
        self._base = base

    def __enter__(self) -> None:
        self._token = contexts.attach(set_span_in_context(self._span, self._base))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        contexts.detach(self._token)
        try:
            if error is not None:
                self._spans.fail(self._span, error, "send", self._run)
            elif self._run is not None and self._run.reason:
                self._span.set_attribute(REASON, self._run.reason)
            self._span.end()
        except Exception as error:  # noqa: BLE001 - it is told of
            _complain(error)


class Plan(NamedTuple):
    """The span that an attempt will have; known before its body begins, for whoever tells of the start."""

    run: TaskRun[Any]
    queued_in: SpanContext
    ids: Ids


@contextmanager
def in_process(headers: Mapping[str, str]) -> Iterator[None]:
    """In the process of a CPU-bound body: the span that travelled in the run's headers is current within."""
    PROVIDERS.for_spans()
    token = contexts.attach(read_all(headers))
    try:
        yield
    finally:
        contexts.detach(token)
        PROVIDERS.hurry()


class Traces(Interceptor):
    """Listens to one host, surrounds its queueing, and makes the spans of its attempts.

    `parents`: an attempt's span is a child of that of its queueing; else it starts a trace and links to it.
    """

    def __init__(self, host: TaskManager, spans: Spans, *, parents: bool) -> None:
        self._host = host
        self._spans = spans
        self._parents = parents
        self._plan: Plan | None = None

    def listen(self) -> None:
        """Surround and hear, from now on. PluginError if somebody does already."""
        try:
            self._host.dispatcher.register_handler(f"lost.{HANDLER}", self._lost)
        except DuplicateHandlerError as error:
            raise PluginError(f"{self._host.type} {self._host.worker_name!r} is traced already") from error
        self._host.interceptors.append(self)

    def stop_listening(self) -> None:
        """Take it back."""
        self._host.interceptors.remove(self)
        self._host.dispatcher.unregister_handler(f"lost.{HANDLER}")

    # -- queueing --------------------------------------------------------------------------

    def queueing(self, runs: Sequence[TaskRun[Any]]) -> AbstractContextManager[Any] | None:
        """A `send` span; for several runs, a `create` span for each and one `send`."""
        try:
            if len(runs) != 1:
                return self._queueing_many(runs)
            context = _context_of(runs[0])
            span = self._begin(runs[0], context, self._spans.send)
            return None if span is None else Sending(self._spans, span, runs[0], context)
        except Exception as error:  # noqa: BLE001 - it is told of
            _complain(error)
            return None

    def _queueing_many(self, runs: Sequence[TaskRun[Any]]) -> AbstractContextManager[Any] | None:
        context = contexts.get_current()
        created = []
        for run in runs:
            span = self._begin(run, context, self._spans.create)
            if span is not None:
                span.end()
                created.append(span.get_span_context())
        if not created:
            return None
        span = self._spans.send_batch(created, len(runs), context)
        return Sending(self._spans, span, None, context)

    def _begin(self, run: TaskRun[Any], context: Context, start: Any) -> Span | None:
        """Start a span, and have its context travel with the run; None when it is not sampled."""
        sampling = self._spans.sampling
        parent = get_current_span(context).get_span_context() if context else INVALID_SPAN_CONTEXT
        ids: Ids | None = None
        if parent.is_valid:
            if sampling.drops(parent.trace_id, parent.trace_flags.sampled):
                write(run, Ids(parent.trace_id, parent.span_id).header(sampled=False), context)
                return None
        elif sampling.bound <= LOWER_HALF:
            lower = getrandbits(64)
            if lower >= sampling.bound:
                write(run, unsampled_header(), context)
                return None
            ids = Ids(getrandbits(64) << 64 | lower, getrandbits(64))
        span: Span = start(run, context, ids)
        known = span.get_span_context()
        header = Ids(known.trace_id, known.span_id).header(sampled=known.trace_flags.sampled)
        write(run, header, context, known.trace_state)
        return span if span.is_recording() else None

    # -- executing -------------------------------------------------------------------------

    def plan(self, run: TaskRun[Any]) -> None:
        """Foretell the span of an attempt that begins, so that the start can be told with its ids."""
        self._plan = None
        flag = sampled_flag(run.headers)
        if run.local or (flag is False and self._spans.sampling.follows):
            return
        queued_in = read(run.headers)
        ids = ids_of(run, run.delivery, queued_in, same_trace=self._parents)
        sampled = not self._spans.sampling.drops(ids.trace_id, flag if queued_in.is_valid else None)
        if sampled:
            self._plan = Plan(run, queued_in, ids)
        if sampled or not queued_in.is_valid:
            run.headers = run.headers | {TRACEPARENT: ids.header(sampled=sampled)}

    def begin(self, run: TaskRun[Any]) -> tuple[Span, Context | None]:
        """The `process` span of an attempt, and the context of its body."""
        plan, self._plan = self._plan, None
        try:
            if plan is not None and plan.run is run:
                return self._process(plan)
            if run.local:
                context = contexts.get_current()
                span = self._spans.execute(run, context)
                return span, set_span_in_context(span, context)
        except Exception as error:  # noqa: BLE001 - it is told of
            _complain(error)
            return get_current_span(), None
        unsampled = Unsampled(run.headers)
        return unsampled, unsampled.as_context()

    def end(self, run: TaskRun[Any], span: Span, error: BaseException | None) -> None:
        """The body is over. Nothing that this does can harm its outcome."""
        if isinstance(span, Unsampled):
            return
        try:
            if error is not None:
                self._spans.fail(span, error, "execute" if run.local else "process", run)
            span.end()
        except Exception as error:  # noqa: BLE001 - it is told of
            _complain(error)

    def _process(self, plan: Plan) -> tuple[Span, Context]:
        run, queued_in, ids = plan
        base = context = read_baggage(run.headers)
        if self._parents and queued_in.is_valid:
            context = set_span_in_context(NonRecordingSpan(queued_in), base)
        previous = None
        if run.delivery > 1 and self._spans.pins:
            previous = self._ids_before(run, queued_in).elsewhere(sampled=True)
        span = self._spans.process(run, context, ids, queued_in=queued_in, previous=previous)
        known = span.get_span_context()
        if not (known.trace_flags.sampled and self._spans.pins):
            # the sampler, or a tracer that is not the SDK's, has decided otherwise
            actual = Ids(known.trace_id, known.span_id)
            run.headers = run.headers | {TRACEPARENT: actual.header(sampled=known.trace_flags.sampled)}
        return span, set_span_in_context(span, base)

    in_process = staticmethod(in_process)
    """What surrounds a CPU-bound body, in its own process."""

    # -- what was lost ---------------------------------------------------------------------

    def _lost(self, event: Event) -> None:
        """Tell of an attempt that cannot: its consumer has gone, and its span with it."""
        run = event.run
        if run is None or not sampled_flag(run.headers) or not self._spans.pins:
            return
        queued_in = read(run.headers)
        lost = self._ids_before(run, queued_in)
        context = set_span_in_context(NonRecordingSpan(lost.elsewhere(sampled=True)), NOWHERE)
        self._spans.rescue(run, context, queued_in=queued_in, owner=event.owner).end()
        run.headers = run.headers | {TRACEPARENT: lost.header(sampled=True)}

    def _ids_before(self, run: TaskRun[Any], queued_in: SpanContext) -> Ids:
        return ids_of(run, run.delivery - 1, queued_in, same_trace=self._parents)


def traces_of(host: TaskManager, mode: str) -> Traces | None:
    """The traces of a host, `links` or `parents`; None when they are `off`, or nobody would see them."""
    provider = None if mode == "off" else PROVIDERS.for_spans()
    if provider is None:
        return None
    return Traces(host, Spans(host, provider, PROVIDERS.for_records()), parents=mode == "parents")


def _context_of(run: TaskRun[Any]) -> Context:
    """What the run follows: what its caller does, but nothing when it is the tick of a schedule."""
    context = contexts.get_current()
    return NOWHERE if context and run.id.startswith(f"{run.name}@") else context


class _Complaint:
    """A tracer, sampler or span processor that raises: work goes on without it."""

    last = -QUIET_SECONDS


def _complain(error: Exception) -> None:
    if elapsed() - _Complaint.last >= QUIET_SECONDS:
        _Complaint.last = elapsed()
        logger.error("a span could not be made or ended; the run goes on untraced", exc_info=error)
