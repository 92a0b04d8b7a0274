"""A clock whose hands the test turns."""

from __future__ import annotations

from datetime import datetime, timedelta

from fluid.clock import Clock
from fluid.errors import DeclarationError

START = datetime.fromisoformat("2001-01-01T00:00:00+00:00")


class ManualClock(Clock):
    """Stands still until it is turned. Handed in wherever a `Clock` is taken.

    What the broker decides (when a scheduled run is due, when a lease ends, when a schedule fires) goes
    by the server's own clock, which no test can turn: see `make_due`.
    """

    def __init__(self, start: datetime = START) -> None:
        self._now = _aware(start)
        self._elapsed = 0.0

    def now(self) -> datetime:
        """Where the hands stand."""
        return self._now

    def timestamp(self) -> float:
        """The same, in seconds since the epoch."""
        return self._now.timestamp()

    def elapsed(self) -> float:
        """Seconds that it was turned forward since it was made."""
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass."""
        if seconds < 0:
            raise DeclarationError(f"advance({seconds!r}): time does not go back; set the clock with move_to")
        self._now += timedelta(seconds=seconds)
        self._elapsed += seconds

    def move_to(self, instant: datetime) -> None:
        """Let time pass until an instant; or set the clock back, which is no time that passes."""
        self._elapsed += max(0.0, (_aware(instant) - self._now).total_seconds())
        self._now = instant


def _aware(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise DeclarationError(
            f"{instant!r} has no time zone; expected an aware one, such as fluid.clock.now()"
        )
    return instant
