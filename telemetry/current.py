"""Which run a piece of code belongs to: what lines, and whoever looks for a culprit, are told of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import Context, ContextVar, Token
from types import TracebackType
from typing import Any, Protocol

import msgspec
from opentelemetry import context as contexts
from opentelemetry import trace

from fluid.errors import DuplicateHandlerError, PluginError
from fluid.masking import secrets_of
from fluid.scheduler import Event, Interceptor, TaskConsumer, TaskManager, TaskRun
from telemetry.series import Trace
from telemetry.trace_context import Unsampled, trace_ids

logger = logging.getLogger("fluid")

HANDLER = "current"
"""The name that our handler is registered with."""

MOST_UNTOLD = 1000
"""Attempts that have ended and whose end was not told, on top of four for each slot."""

_NO_TRACE = ("", "")


class Tracing(Protocol):
    """Who makes the spans of attempts."""

    def plan(self, run: TaskRun[Any]) -> None:
        """Foretell the ids of an attempt that begins, for whoever tells of its start."""

    def begin(self, run: TaskRun[Any]) -> tuple[trace.Span, contexts.Context | None]:
        """Its span, and the context of its body in which that is current; None when it stays as it is."""

    def end(self, run: TaskRun[Any], span: trace.Span, error: BaseException | None) -> None:
        """End the span; `error` is what the body raised."""


class CurrentRun(msgspec.Struct, eq=False):
    """An attempt whose body runs; entered around the body, in its context."""

    run: TaskRun[Any]
    runs: CurrentRuns
    waited: float | None = None
    """Seconds from ready to claimed."""
    span: trace.Span = trace.INVALID_SPAN
    """The span that was current when the body began."""
    error: BaseException | None = None
    """What the body raised."""
    _ids: dict[str, Any] | None = None
    _trace_ids: tuple[str, str] | None = None
    _secrets: tuple[str, ...] | None = None
    _token: Token[CurrentRun | None] | None = None  # while the body runs
    _attached: Token[contexts.Context] | None = None

    @property
    def has_ended(self) -> bool:
        """Its body does not run any more."""
        return self._token is None

    @property
    def ids(self) -> dict[str, Any]:
        """What every line carries that is written inside the run."""
        if self._ids is None:
            self._ids = ids_of(self.run, self.runs.host, self.span)
        return self._ids

    @property
    def trace_ids(self) -> tuple[str, str]:
        """Those of the trace and the span, empty when there is none."""
        if self.span is trace.INVALID_SPAN:
            return _NO_TRACE
        if self._trace_ids is None:
            ids = _ids_of_span(self.span)
            self._trace_ids = ids.get("trace_id", ""), ids.get("span_id", "")
        return self._trace_ids

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secret texts among its parameters."""
        if self._secrets is None:
            self._secrets = secrets_of(self.run.params)
        return self._secrets

    def __enter__(self) -> None:
        tracing = self.runs.tracing
        if tracing is not None:
            self.span, context = tracing.begin(self.run)
            if context is not None:
                self._attached = contexts.attach(context)
        elif context := contexts.get_current():
            self.span = trace.get_current_span(context)
        self._token = _current.set(self)
        for begins in self.runs.begins:
            try:
                begins(self)
            except Exception:
                logger.exception("the start of run %s could not be told", self.run.id)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.error = error
        if self._token is not None:
            _current.reset(self._token)
            self._token = None
        if self._attached is not None:  # else the span is that of whoever called
            contexts.detach(self._attached)
            if self.runs.tracing is not None:
                self.runs.tracing.end(self.run, self.span, error)


_current: ContextVar[CurrentRun | None] = ContextVar("fluid_current_run", default=None)


def current_run(context: Context | None = None) -> CurrentRun | None:
    """The run that this code, or that of another context, belongs to."""
    return _current.get() if context is None else context.get(_current)


def ids_of(run: TaskRun[Any], host: TaskManager, span: trace.Span) -> dict[str, Any]:
    """What tells a run, and its attempt, from every other one, and what leads to its span, if it has one."""
    ids = {"task": run.name, "run_id": run.id, "attempt": run.attempt, "consumer": name_of(host)}
    return ids | _ids_of_span(span)


def _ids_of_span(span: trace.Span) -> Trace:
    if span is trace.INVALID_SPAN:
        return {}
    # `isinstance` asks the abstract classes that spans have, which takes as long as all the rest
    return span.ids() if type(span) is Unsampled else trace_ids(span.get_span_context())


def name_of(host: TaskManager) -> str:
    """What a host is known by: a consumer has another name in every life."""
    return host.consumer_name if isinstance(host, TaskConsumer) else host.worker_name


class CurrentRuns(Interceptor):
    """An interceptor of one host: says, while a body runs, that it is the current run, and has it traced."""

    def __init__(self, host: TaskManager, tracing: Tracing | None) -> None:
        self.host = host
        self._next: CurrentRun | None = None
        self._runs: dict[TaskRun[Any], CurrentRun] = {}
        slots = host.config.max_concurrent_tasks if isinstance(host, TaskConsumer) else 0
        # more than have ended and wait for the broker to agree, for a consumer claims no more meanwhile
        self._most_untold = self._room = MOST_UNTOLD + 4 * slots
        self.tracing = tracing
        self.begins: list[Callable[[CurrentRun], None]] = []
        """Called when a body is about to begin, in its context."""

    def listen(self) -> None:
        """Surround the bodies from now on. PluginError if somebody does already."""
        try:
            self.host.dispatcher.register_handler(f"start.{HANDLER}", self._starts)
        except DuplicateHandlerError as error:
            raise PluginError(f"{self.host.type} {self.host.worker_name!r} has telemetry already") from error
        self.host.interceptors.append(self)

    def stop_listening(self) -> None:
        """Surround no more."""
        self.host.interceptors.remove(self)
        self.host.dispatcher.unregister_handler(f"start.{HANDLER}")

    def take(self, run: TaskRun[Any]) -> CurrentRun | None:
        """What is known of an attempt that has ended; None when its body was never called here."""
        return self._runs.pop(run, None)

    def executing(self, run: TaskRun[Any]) -> CurrentRun:
        """What surrounds the body of this run."""
        current, self._next = self._next, None
        # `start` is told right before the body is surrounded, so it is this run's unless something is odd
        if current is None or current.run is not run:
            current = CurrentRun(run, self)
        if len(self._runs) >= self._room:
            self._forget_untold()
        self._runs[run] = current
        return current

    def _forget_untold(self) -> None:
        """Nobody has asked for these when they ended: whoever does was paused, for it kept failing."""
        self._runs = {run: current for run, current in self._runs.items() if not current.has_ended}
        self._room = len(self._runs) + self._most_untold

    def _starts(self, event: Event) -> None:
        if event.run is not None:
            self._next = CurrentRun(event.run, self, event.waited)
            if self.tracing is not None:
                self.tracing.plan(event.run)
