"""Spans and log records on their way out: a bounded queue, and a thread that hands batches to an exporter.

The SDK's own batch processors neither count what they lose nor keep to a limit when they flush or stop, so
that an exporter in trouble would hold up the stop of a consumer.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, get_value, set_value
from opentelemetry.sdk._logs import LogRecordProcessor, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from telemetry.trouble import DeliveryError, Trouble

STOP_SECONDS = 3.0
"""What a stop may take for what has not been sent yet."""

T = TypeVar("T", contravariant=True)


class Exporter(Protocol[T]):
    """What sends a batch."""

    def export(self, batch: Sequence[T], trouble: Callable[[str], None], /) -> None:
        """Send these; `trouble` is told why a try has failed after which there is another one.

        An error where they were given up: all of them, unless it is a `DeliveryError` that says how many.
        """

    def shutdown(self) -> None:
        """Give up what is under way."""

    def start_afresh(self) -> None:
        """In a child that was forked: use nothing that is the parent's."""


def is_sending() -> bool:
    """Whether this code is at work for an exporter: it is neither traced nor are its lines exported."""
    return bool(get_value(_SUPPRESS_INSTRUMENTATION_KEY))


class Sender(Generic[T]):
    """Takes things at once, and sends them when it can. What it cannot send is counted and forgotten."""

    def __init__(
        self, exporter: Exporter[T], *, name: str, queue_size: int, batch: int, delay: float
    ) -> None:
        """`delay`: seconds that something waits for others, unless a `batch` is full before."""
        self._exporter = exporter
        self._name = name
        self._queue_size = queue_size
        self._batch = min(batch, queue_size)
        self._delay = delay
        self._begin()

    def _begin(self) -> None:
        self._queue: deque[T] = deque()
        self._dropped = {"queue_full": 0, "export_failed": 0, "stopped": 0}
        self._failures = 0
        self._trouble = Trouble(self._name)
        self._state = threading.Condition()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._under_way = 0
        self._busy = self._stuck = self._closed = False

    @property
    def dropped(self) -> Mapping[str, int]:
        """How many were not delivered, by the cause: `queue_full`, `export_failed`, `stopped`."""
        return self._dropped

    def start_afresh(self) -> None:
        """In a child that was forked: what waits is the parent's, and its thread is not here."""
        self._begin()
        self._exporter.start_afresh()

    def offer(self, one: T) -> None:
        """Take one; from any thread, and never waiting."""
        if self._closed or len(self._queue) >= self._queue_size:
            self._drop("stopped" if self._closed else "queue_full", 1)
            return
        self._queue.append(one)
        if self._thread is None:
            self._start()
        elif len(self._queue) >= self._batch:
            self._wake.set()

    def hurry(self) -> None:
        """Send what waits now, without waiting for it."""
        self._wake.set()

    def flush(self, seconds: float) -> bool:
        """Send what waits now; False when a batch was given up as a whole, or it took longer."""
        failures = self._failures
        self._wake.set()

        def over() -> bool:
            return self._failures > failures or not (self._queue or self._busy)

        with self._state:
            self._stuck = not self._state.wait_for(over, seconds) or self._failures > failures
        return not self._stuck

    def close(self, seconds: float = STOP_SECONDS) -> None:
        """Send what waits, for so long; then count what is left, and take no more.

        What could not be sent a moment ago is not tried again.
        """
        if self._closed:
            return
        if not self._stuck:
            self.flush(seconds)
        with self._state:
            self._closed = True
            self._dropped["stopped"] += len(self._queue) + self._under_way
            self._queue.clear()
        self._wake.set()
        self._exporter.shutdown()

    def _start(self) -> None:
        with self._state:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def _drop(self, cause: str, count: int) -> None:
        with self._state:
            self._dropped[cause] += count

    def _run(self) -> None:
        # what the exporter's own HTTP client does is not to be traced
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        while not self._closed:
            self._wake.wait(self._delay)
            self._wake.clear()
            self._busy = True
            while self._queue and not self._closed:
                self._send([self._queue.popleft() for _ in range(min(self._batch, len(self._queue)))])
            with self._state:
                self._busy = False
                self._state.notify_all()

    def _send(self, batch: list[T]) -> None:
        self._under_way = len(batch)
        lost = self._export(batch)
        failed = lost == len(batch)
        with self._state:
            self._stuck = self._stuck and failed
            # what was under way at the close has been counted there
            if not self._closed:
                self._failures += failed
                self._dropped["export_failed"] += lost
            self._under_way = 0
            self._state.notify_all()

    def _export(self, batch: list[T]) -> int:
        """How many of them did not arrive."""
        try:
            self._exporter.export(batch, self._trouble.begins)
        except Exception as error:  # noqa: BLE001 - it is told of
            count = error.count if isinstance(error, DeliveryError) else None
            lost = len(batch) if count is None else count
            self._trouble.lost(lost, error)
            return lost
        self._trouble.ends()
        return 0


class SpanSender(SpanProcessor):
    """Hands the spans of a tracer provider to a sender."""

    def __init__(self, sender: Sender[ReadableSpan]) -> None:
        self._sender = sender

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span that is sampled."""
        if span.context is not None and span.context.trace_flags.sampled:
            self._sender.offer(span)

    def shutdown(self) -> None:
        """Send what there is, within a limit."""
        self._sender.close()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Whether all was sent in time."""
        return self._sender.flush(timeout_millis / 1000)


class RecordSender(LogRecordProcessor):
    """Hands the log records of a logger provider to a sender."""

    def __init__(self, sender: Sender[ReadableLogRecord]) -> None:
        self._sender = sender

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Take a record."""
        self._sender.offer(
            ReadableLogRecord(
                log_record=log_record.log_record,
                resource=log_record.resource or Resource.create(),
                instrumentation_scope=log_record.instrumentation_scope,
                limits=log_record.limits,
            )
        )

    def shutdown(self) -> None:
        """Send what there is, within a limit."""
        self._sender.close()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Whether all was sent in time."""
        return self._sender.flush(timeout_millis / 1000)
