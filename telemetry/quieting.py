"""An exporter in trouble: one line when it begins, one when it is over, and none for each of its tries.

The exporters of OpenTelemetry write a line for every try and every batch that they give up, for as long as a
receiver is away. What is lost meanwhile is counted; who reads the log wants to know when it began and ended.
"""

from __future__ import annotations

import logging
from threading import get_ident
from typing import Any

from fluid.clock import elapsed

logger = logging.getLogger("telemetry")


class Quieting(logging.Filter):
    """Holds back what an exporter says in the thread that sends for us, and tells of trouble in two lines.

    Only that thread uses it. What the exporter says elsewhere, to a program that has one too, passes.
    """

    def __init__(self, exporter: Any, name: str) -> None:
        """`name`: what is sent, in the plural."""
        super().__init__()
        self._name = name
        self._exporters = logging.getLogger(type(exporter).__module__)
        self._thread: int | None = None
        self._forget()

    def begin(self) -> None:
        """Hold back what is said in this thread, from now on."""
        self._thread = get_ident()
        self._forget()
        self._exporters.addFilter(self)

    def end(self) -> None:
        """Hold back nothing any more."""
        self._exporters.removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record passes: one about our sending does not."""
        if record.thread != self._thread:
            return True
        self._held_back += 1
        self._tell(record.getMessage())
        return False

    def failed(self, count: int, error: Exception | None) -> None:
        """So many were given up; `error` is what the exporter raised, if it did."""
        self._lost += count
        self._tell("the exporter gave up" if error is None else repr(error), error)

    def sent(self) -> None:
        """A batch has arrived: if there was trouble, it is over."""
        if self._since is not None:
            logger.warning(
                "%s are sent again, after %.1f s; %d were given up, %d lines of the exporter were held back",
                self._name,
                elapsed() - self._since,
                self._lost,
                self._held_back,
            )
        self._forget()

    def _forget(self) -> None:
        self._since: float | None = None
        self._held_back = self._lost = 0

    def _tell(self, why: str, error: Exception | None = None) -> None:
        if self._since is None:
            self._since = elapsed()
            text = "%s cannot be sent: %s; work goes on, and there is a line when they are sent again"
            logger.warning(text, self._name, why, exc_info=error)
