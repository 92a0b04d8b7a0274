"""Leaves in peace what keeps failing, for longer and longer, and tries it again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds to wait after failures in a row: `first`, doubling, never more than `longest`."""

    first: float
    longest: float

    def seconds(self, failures: int) -> float:
        """The wait after this many failures in a row, at least one."""
        return min(self.longest, self.first * 2.0 ** min(failures - 1, 64))


FAILURES_BEFORE_PAUSE = 5
PAUSE = Backoff(first=1.0, longest=60.0)


class Breaker:
    """Counts failures in a row: so many open it, and one success closes it.

    While it is open there is one call after each pause: its success closes it, its failure makes the next
    pause longer.
    """

    __slots__ = ("_backoff", "_failures", "_in_a_row")

    def __init__(self, failures: int = FAILURES_BEFORE_PAUSE, backoff: Backoff = PAUSE) -> None:
        self._failures = failures
        self._backoff = backoff
        self._in_a_row = 0

    @property
    def is_open(self) -> bool:
        """What keeps failing is left in peace, or tried."""
        return self._in_a_row >= self._failures

    def succeeded(self) -> None:
        """A call went well: all is forgiven."""
        self._in_a_row = 0

    def failed(self) -> float:
        """A call failed; the seconds to leave it in peace for, 0 while it is closed."""
        self._in_a_row += 1
        return self._backoff.seconds(self._in_a_row - self._failures + 1) if self.is_open else 0.0
