"""Spans by the messaging conventions: their names, attributes and links, and how a failure is told."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from opentelemetry._logs import LoggerProvider, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TracerProvider,
    set_span_in_context,
)

from fluid import __version__
from fluid.masking import hide, secrets_of
from fluid.scheduler import TaskConsumer, TaskManager, TaskRun
from fluid.tracebacks import traceback_of
from telemetry import conventions as words
from telemetry.sampling import Sampling
from telemetry.trace_context import NOWHERE, Ids

SCOPE = "fluid"
"""The name of our instrumentation scope."""

GROUP = "fluid"
"""The consumer group of every stream."""

REDIS_PORT = 6379

TYPES = {"rescue": "settle"}
"""The type of an operation, where that is not its name."""

SEVERITY = {"process": SeverityNumber.ERROR}
"""What an exception is recorded with, by the operation; `WARN` in the others."""


class PinnedIds(threading.local, IdGenerator):
    """Gives the ids that are asked for, else those of the provider's generator. Only our tracer has it."""

    def __init__(self, others: IdGenerator) -> None:
        self._others = others
        self.pinned: Ids | None = None

    def generate_trace_id(self) -> int:
        """The pinned one, or any."""
        return self.pinned.trace_id if self.pinned else self._others.generate_trace_id()

    def generate_span_id(self) -> int:
        """The pinned one, or any."""
        return self.pinned.span_id if self.pinned else self._others.generate_span_id()

    def is_trace_id_random(self) -> bool:
        """Whether samplers may rely on it, as in the provider's own generator."""
        return self._others.is_trace_id_random()


class Spans:
    """Makes the spans of one host."""

    def __init__(self, host: TaskManager, provider: TracerProvider, logs: LoggerProvider) -> None:
        self._host = host
        self._tracer = provider.get_tracer(SCOPE, __version__, words.SCHEMA_URL)
        self._logger = logs.get_logger(SCOPE, __version__, words.SCHEMA_URL)
        self._ids = _pinned(self._tracer)
        self.sampling = Sampling(getattr(provider, "sampler", None))
        queue = host.broker.queue
        common = {words.SYSTEM: "redis", words.DESTINATION: queue} | _server(host.broker.url)
        self._names = {name: f"{name} {queue}" for name in ("create", "send", "process", "rescue")}
        self._attributes = {
            name: common | {words.OPERATION_NAME: name, words.OPERATION_TYPE: TYPES.get(name, name)}
            for name in self._names
        }

    @property
    def pins(self) -> bool:
        """Whether a span gets the ids that it is given: only the SDK's tracers can."""
        return self._ids is not None

    def create(self, run: TaskRun[Any], context: Context, ids: Ids | None) -> Span:
        """One run of several that are queued together."""
        return self._start("create", SpanKind.PRODUCER, self._about("create", run), context, ids=ids)

    def send(self, run: TaskRun[Any], context: Context, ids: Ids | None) -> Span:
        """The queueing of one run."""
        return self._start("send", SpanKind.PRODUCER, self._about("send", run), context, ids=ids)

    def send_batch(self, created: Iterable[SpanContext], count: int, context: Context) -> Span:
        """The queueing of several runs, each of which has a span of its own."""
        attributes = self._attributes["send"] | {words.BATCH_COUNT: count}
        links = [Link(one) for one in created]
        return self._start("send", SpanKind.CLIENT, attributes, context, links)

    def process(
        self,
        run: TaskRun[Any],
        context: Context,
        ids: Ids,
        *,
        queued_in: SpanContext,
        previous: SpanContext | None,
    ) -> Span:
        """An attempt."""
        attributes = self._about("process", run)
        attributes[words.CONSUMER_GROUP] = GROUP
        attributes[words.ATTEMPT] = run.attempt
        if isinstance(self._host, TaskConsumer):
            attributes[words.CLIENT_ID] = self._host.consumer_name
        links = [Link(queued_in)] if queued_in.is_valid else []
        if previous is not None:
            links.append(Link(previous, _PREVIOUS))
        return self._start("process", SpanKind.CONSUMER, attributes, context, links, ids)

    def rescue(self, run: TaskRun[Any], context: Context, *, queued_in: SpanContext, owner: str) -> Span:
        """The finding of a lost attempt, in that attempt's own trace: it can tell of itself no more."""
        attributes = self._about("rescue", run)
        attributes[words.OWNER] = owner
        links = [Link(queued_in)] if queued_in.is_valid else []
        return self._start("rescue", SpanKind.CLIENT, attributes, context, links)

    def execute(self, run: TaskRun[Any], context: Context) -> Span:
        """A body that is run here, without a message."""
        attributes = {words.TASK: run.name, words.RUN: run.id}
        return self._tracer.start_span(
            f"execute {run.name}", context, SpanKind.INTERNAL, attributes, record_exception=False
        )

    def fail(self, span: Span, error: BaseException, operation: str, run: TaskRun[Any] | None) -> None:
        """Say why an operation failed: on its span, and by a log record that belongs to it.

        What is secret among the run's parameters is hidden.
        """
        if not span.is_recording():
            return
        kind = words.error_type(error)
        span.set_attribute(words.ERROR_TYPE, kind)
        if not isinstance(error, Exception):  # cancelled: nothing went wrong in there
            span.set_status(Status(StatusCode.ERROR))
            return
        secrets = secrets_of(run.params) if run is not None else ()
        message = hide(words.message_of(error), secrets)
        span.set_attribute(words.REASON, words.reason_of(error))
        span.set_status(Status(StatusCode.ERROR, message))
        self._logger.emit(
            event_name=f"messaging.{operation}.exception" if operation != "execute" else "exception",
            severity_number=SEVERITY.get(operation, SeverityNumber.WARN),
            context=set_span_in_context(span, NOWHERE),
            attributes={
                words.EXCEPTION_TYPE: kind,
                words.EXCEPTION_MESSAGE: message,
                words.EXCEPTION_STACKTRACE: words.printable(hide(traceback_of(error), secrets)),
            },
        )

    def _about(self, operation: str, run: TaskRun[Any]) -> dict[str, Any]:
        attributes = {
            **self._attributes[operation],
            words.MESSAGE_ID: run.id,
            words.TASK: run.name,
            words.PRIORITY: run.priority.value,
        }
        if run.from_run_id:
            attributes[words.FROM_RUN] = run.from_run_id
            attributes[words.CONVERSATION_ID] = run.root_run_id
        return attributes

    def _start(
        self,
        operation: str,
        kind: SpanKind,
        attributes: dict[str, Any],
        context: Context,
        links: list[Link] | None = None,
        ids: Ids | None = None,
    ) -> Span:
        name = self._names[operation]
        if self._ids is None or ids is None:
            return self._tracer.start_span(name, context, kind, attributes, links)
        self._ids.pinned = ids
        try:
            return self._tracer.start_span(name, context, kind, attributes, links)
        finally:
            self._ids.pinned = None


_PREVIOUS = {words.LINK: "previous_attempt"}


def _pinned(tracer: Any) -> PinnedIds | None:
    if not isinstance(tracer, SdkTracer):
        return None
    if not isinstance(tracer.id_generator, PinnedIds):
        tracer.id_generator = PinnedIds(tracer.id_generator)
    return tracer.id_generator


def _server(url: str) -> dict[str, Any]:
    """Where the broker is, when that is one place."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return {words.SERVER_ADDRESS: parts.path}
    try:
        host, port = parts.hostname, parts.port
    except ValueError:  # several hosts
        return {}
    if not host or "," in parts.netloc:
        return {}
    return {words.SERVER_ADDRESS: host, words.SERVER_PORT: port or REDIS_PORT}
