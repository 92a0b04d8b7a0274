"""Which run a piece of code belongs to: what lines, and whoever looks for a culprit, are told of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context, ContextVar, Token
from types import TracebackType
from typing import Any

from opentelemetry import trace

from fluid.masking import secrets_of
from fluid.scheduler import Event, TaskConsumer, TaskManager, TaskRun

logger = logging.getLogger("fluid")

HANDLER = "current"
"""The name that our handler is registered with."""


class CurrentRun:
    """An attempt whose body runs; entered around the body, in its context."""

    __slots__ = ("_begins", "_secrets", "_token", "error", "ids", "run", "span", "waited")

    def __init__(
        self,
        run: TaskRun[Any],
        consumer: str,
        waited: float | None,
        begins: Sequence[Callable[[CurrentRun], None]],
    ) -> None:
        self.run = run
        self.waited = waited
        """Seconds from ready to claimed."""
        self.ids: dict[str, Any] = ids_of(run) | {"consumer": consumer}
        """What every line carries that is written inside the run."""
        self.span: trace.Span = trace.INVALID_SPAN
        """The span that was current when the body began."""
        self.error: BaseException | None = None
        """What the body raised."""
        self._secrets: tuple[str, ...] | None = None
        self._begins = begins
        self._token: Token[CurrentRun | None] | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secret texts among its parameters."""
        if self._secrets is None:
            self._secrets = secrets_of(self.run.params)
        return self._secrets

    def __enter__(self) -> None:
        self.span = trace.get_current_span()
        context = self.span.get_span_context()
        if context.is_valid:
            self.ids |= trace_ids(context)
        self._token = _current.set(self)
        for begins in self._begins:
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


_current: ContextVar[CurrentRun | None] = ContextVar("fluid_current_run", default=None)


def current_run(context: Context | None = None) -> CurrentRun | None:
    """The run that this code, or that of another context, belongs to."""
    return _current.get() if context is None else context.get(_current)


def ids_of(run: TaskRun[Any]) -> dict[str, Any]:
    """What tells a run, and its attempt, from every other one."""
    return {"task": run.name, "run_id": run.id, "attempt": run.attempt}


def name_of(host: TaskManager) -> str:
    """What a host is known by: a consumer has another name in every life."""
    return host.consumer_name if isinstance(host, TaskConsumer) else host.worker_name


def trace_ids(span: trace.SpanContext) -> dict[str, str]:
    """What leads to a span; nothing where there is none."""
    if not span.is_valid:
        return {}
    return {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"}


class CurrentRuns:
    """An interceptor of one host: says, while a body runs, that it is the current run."""

    def __init__(self, host: TaskManager) -> None:
        self._host = host
        self._started: Event | None = None
        self._runs: dict[TaskRun[Any], CurrentRun] = {}
        self.begins: list[Callable[[CurrentRun], None]] = []
        """Called when a body is about to begin, in its context."""

    def listen(self) -> None:
        """Surround the bodies from now on."""
        self._host.dispatcher.register_handler(f"start.{HANDLER}", self._starts)
        self._host.interceptors.append(self)

    def stop_listening(self) -> None:
        """Surround no more."""
        self._host.interceptors.remove(self)
        self._host.dispatcher.unregister_handler(f"start.{HANDLER}")

    def take(self, run: TaskRun[Any]) -> CurrentRun | None:
        """What is known of an attempt that has ended; None when its body was never called here."""
        return self._runs.pop(run, None)

    def queueing(self, runs: Any) -> AbstractContextManager[Any]:  # noqa: ARG002
        """Nothing surrounds queueing."""
        return _NOTHING

    def executing(self, run: TaskRun[Any]) -> CurrentRun:
        """What surrounds the body of this run."""
        started, self._started = self._started, None
        # `start` is told right before the body is surrounded, so it is this run's unless something is odd
        waited = started.waited if started is not None and started.run is run else None
        current = self._runs[run] = CurrentRun(run, name_of(self._host), waited, self.begins)
        return current

    def _starts(self, event: Event) -> None:
        self._started = event


_NOTHING = nullcontext()
