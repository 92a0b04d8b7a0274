"""CPU-bound bodies: what structlog says in their processes goes the way of stdlib's records, to the consumer.

The core brings records of stdlib logging to the consumer, where they are lines of the run. structlog would
print, into the middle of those lines.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import structlog
from opentelemetry import trace

from fluid.scheduler import Interceptor
from telemetry.trace_context import SPAN_OF_RECORD, Ids

_TAKEN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class Offloaded(Interceptor):
    """An interceptor for its part in the processes of bodies: none, while `lines_are_ours` says no."""

    def __init__(self, lines_are_ours: Callable[[], bool]) -> None:
        self._lines_are_ours = lines_are_ours

    @property
    def in_process(self) -> Callable[[Mapping[str, str]], AbstractContextManager[None]] | None:
        """What surrounds a body in its process."""
        return in_process if self._lines_are_ours() else None


@contextmanager
def in_process(headers: Mapping[str, str]) -> Iterator[None]:  # noqa: ARG001
    """In the process of a CPU-bound body: structlog speaks through stdlib, unless a module has set it up."""
    if not structlog.is_configured():
        structlog.configure(
            processors=[
                structlog.contextvars.merge_contextvars,
                _beside,
                structlog.stdlib.render_to_log_kwargs,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
            logger_factory=structlog.stdlib.LoggerFactory(),
            cache_logger_on_first_use=True,
        )
    for handler in logging.root.handlers:  # the one that tells the consumer, made for this body
        handler.addFilter(_with_span)
    yield


def _with_span(record: logging.LogRecord) -> bool:
    """Keep the span that is current here; in the consumer, it would be the attempt's on every line."""
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        header = Ids(span.trace_id, span.span_id).header(sampled=span.trace_flags.sampled)
        setattr(record, SPAN_OF_RECORD, header)
    return True


def _beside(logger: Any, method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:  # noqa: ARG001
    """Keep what has the name of something that every record has."""
    return {f"own_{name}" if name in _TAKEN and name not in _ABOUT else name: line[name] for name in line}


_ABOUT = frozenset({"exc_info", "stack_info"})
