"""An exporter in trouble: one line when it begins, one when it is over, and none for each of its tries.

What is lost meanwhile is counted; who reads the log wants to know when it began and ended.
"""

from __future__ import annotations

import logging

from fluid.clock import elapsed

logger = logging.getLogger("telemetry")


class DeliveryError(Exception):
    """Why a batch, or `count` of it, did not arrive: in words for the log, without a secret."""

    def __init__(self, why: str, count: int | None = None) -> None:
        super().__init__(why)
        self.count = count


class Trouble:
    """That of one exporter. Only the thread that sends uses it."""

    def __init__(self, name: str) -> None:
        """`name`: what is sent, in the plural."""
        self._name = name
        self._since: float | None = None
        self._lost = 0

    def begins(self, why: str, error: BaseException | None = None) -> None:
        """It cannot be sent: that is told, unless it has been. `error` has a traceback that helps."""
        if self._since is None:
            self._since = elapsed()
            text = "%s cannot be sent: %s; work goes on, and there is a line when they are sent again"
            logger.warning(text, self._name, why, exc_info=error)

    def lost(self, count: int, error: Exception) -> None:
        """So many were given up, because of this."""
        self._lost += count
        if isinstance(error, DeliveryError):
            self.begins(str(error))
        else:
            self.begins(repr(error), error)

    def ends(self) -> None:
        """A batch has arrived: that is told, if there was trouble."""
        if self._since is not None:
            text = "%s are sent again, after %.1f s; %d were given up"
            logger.warning(text, self._name, elapsed() - self._since, self._lost)
        self._since = None
        self._lost = 0
