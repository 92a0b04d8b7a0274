"""Which run a piece of code belongs to: what lines, and whoever looks for a culprit, are told of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import Context, ContextVar, Token
from types import TracebackType
from typing import Any, Protocol

from opentelemetry import context as contexts
from opentelemetry import trace

from fluid.errors import DuplicateHandlerError, PluginError
from fluid.masking import secrets_of
from fluid.scheduler import Event, TaskConsumer, TaskManager, TaskRun
from telemetry.trace_context import Unsampled, trace_ids

logger = logging.getLogger("fluid")

HANDLER = "current"
"""The name that our handler is registered with."""

MOST_UNTOLD = 1000
"""Attempts that have ended and whose end was not told, on top of four for each slot."""


class Tracing(Protocol):
    """Who makes the spans of attempts."""

    def plan(self, run: TaskRun[Any]) -> None:
        """Foretell the ids of an attempt that begins, for whoever tells of its start."""

    def begin(self, run: TaskRun[Any]) -> tuple[trace.Span, contexts.Context | None]:
        """Its span, and the context of its body in which that is current; None when it stays as it is."""

    def end(self, run: TaskRun[Any], span: trace.Span, error: BaseException | None) -> None:
        """End the span; `error` is what the body raised."""


class CurrentRun:
    """An attempt whose body runs; entered around the body, in its context."""

    __slots__ = ("_attached", "_ids", "_runs", "_secrets", "_token", "error", "run", "span", "waited")

    def __init__(self, run: TaskRun[Any], waited: float | None, runs: CurrentRuns) -> None:
        self.run = run
        self.waited = waited
        """Seconds from ready to claimed."""
        self.span: trace.Span = trace.INVALID_SPAN
        """The span that was current when the body began."""
        self.error: BaseException | None = None
        """What the body raised."""
        self._runs = runs
        self._ids: dict[str, Any] | None = None
        self._secrets: tuple[str, ...] | None = None
        self._token: Token[CurrentRun | None] | None = None  # while the body runs
        self._attached: Token[contexts.Context] | None = None

    @property
    def has_ended(self) -> bool:
        """Its body does not run any more."""
        return self._token is None

    @property
    def ids(self) -> dict[str, Any]:
        """What every line carries that is written inside the run."""
        if self._ids is None:
            self._ids = ids_of(self.run, self._runs.host, self.span)
        return self._ids

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secret texts among its parameters."""
        if self._secrets is None:
            self._secrets = secrets_of(self.run.params)
        return self._secrets

    def __enter__(self) -> None:
        tracing = self._runs.tracing
        if tracing is None:
            self.span = trace.get_current_span()
        else:
            self.span, context = tracing.begin(self.run)
            if context is not None:
                self._attached = contexts.attach(context)
        self._token = _current.set(self)
        for begins in self._runs.begins:
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
            if self._runs.tracing is not None:
                self._runs.tracing.end(self.run, self.span, error)


_current: ContextVar[CurrentRun | None] = ContextVar("fluid_current_run", default=None)


def current_run(context: Context | None = None) -> CurrentRun | None:
    """The run that this code, or that of another context, belongs to."""
    return _current.get() if context is None else context.get(_current)


def ids_of(run: TaskRun[Any], host: TaskManager, span: trace.Span) -> dict[str, Any]:
    """What tells a run, and its attempt, from every other one, and what leads to its span, if it has one."""
    ids = {"task": run.name, "run_id": run.id, "attempt": run.attempt, "consumer": name_of(host)}
    if span is trace.INVALID_SPAN:
        return ids
    # `isinstance` asks the abstract classes that spans have, which takes as long as all the rest
    return ids | (span.ids() if type(span) is Unsampled else trace_ids(span.get_span_context()))


def name_of(host: TaskManager) -> str:
    """What a host is known by: a consumer has another name in every life."""
    return host.consumer_name if isinstance(host, TaskConsumer) else host.worker_name


class CurrentRuns:
    """An interceptor of one host: says, while a body runs, that it is the current run, and has it traced."""

    def __init__(self, host: TaskManager, tracing: Tracing | None) -> None:
        self.host = host
        self._started: Event | None = None
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

    def queueing(self, runs: Any) -> None:
        """Nothing surrounds queueing."""

    def executing(self, run: TaskRun[Any]) -> CurrentRun:
        """What surrounds the body of this run."""
        started, self._started = self._started, None
        # `start` is told right before the body is surrounded, so it is this run's unless something is odd
        waited = started.waited if started is not None and started.run is run else None
        if len(self._runs) >= self._room:
            self._forget_untold()
        current = self._runs[run] = CurrentRun(run, waited, self)
        return current

    def _forget_untold(self) -> None:
        """Nobody has asked for these when they ended: whoever does was paused, for it kept failing."""
        self._runs = {run: current for run, current in self._runs.items() if not current.has_ended}
        self._room = len(self._runs) + self._most_untold

    def _starts(self, event: Event) -> None:
        self._started = event
        if self.tracing is not None and event.run is not None:
            self.tracing.plan(event.run)
