"""The time, handed in so that tests can turn its hands.

Durations are taken with `Clock.elapsed`, which never jumps; instants that leave the process are
taken with `Clock.now`. No other room reads a clock.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial

__all__ = ["SYSTEM_CLOCK", "Clock", "elapsed", "from_milliseconds", "now", "timestamp"]


class Clock:
    """The system's clock, and the shape of every other one."""

    now = staticmethod(partial(datetime.now, UTC))
    """The instant, in UTC, aware."""

    timestamp = staticmethod(time.time)
    """The instant, in seconds since the epoch."""

    elapsed = staticmethod(time.monotonic)
    """Seconds on a clock that only goes forward; its zero means nothing."""


SYSTEM_CLOCK = Clock()

now = SYSTEM_CLOCK.now
timestamp = SYSTEM_CLOCK.timestamp
elapsed = SYSTEM_CLOCK.elapsed


def from_milliseconds(instant: float) -> datetime:
    """The broker tells instants in milliseconds since the epoch; this is the aware one."""
    return datetime.fromtimestamp(instant / 1000, UTC)
