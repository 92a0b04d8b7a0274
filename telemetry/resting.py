"""Rests for threads that compute beside the event loop.

The interpreter lets the loop's thread wait five milliseconds for one that computes, unless that one stops by
itself. A busy loop lets that one wait as long after each rest, so there are not too many.
"""

from __future__ import annotations

from time import sleep

from fluid.clock import elapsed

REST = 50e-6
"""Seconds: enough for another thread to wake up and take its turn."""

AFTER = 1e-3
"""Seconds of computing between two rests."""


class Rests:
    """Those of one piece of work."""

    def __init__(self) -> None:
        self._since = elapsed()

    def take(self) -> None:
        """Let the event loop have its turn, if that is due; to be called often."""
        if elapsed() - self._since >= AFTER:
            sleep(REST)
            self._since = elapsed()
