"""Whether a failed run gets another attempt, and how long until then. Pure."""

from __future__ import annotations

import math
import random as _random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from fluid.errors import Abort, DeclarationError, Retry

LONGEST_DELAY = 86_400.0
"""Seconds; no policy waits longer between two attempts. A delay that a body asks for may."""


class Decision(StrEnum):
    RETRY = "retry"
    FAIL = "fail"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a failed attempt leads to; `delay` (seconds) is for a retry."""

    decision: Decision
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """At most `max_attempts` tries at a run, with growing waits between them.

    The wait after failure n is `wait * backoff ** (n - 1)` seconds, give or take the fraction `jitter`,
    and at most a day. An error is retried if it is one of `retry_on` and none of `give_up_on`.
    Raises `DeclarationError`, which lists every fault.
    """

    max_attempts: int = 1
    wait: float = 1.0
    backoff: float = 2.0
    jitter: float = 0.1
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    give_up_on: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        if faults := list(self._faults()):
            raise DeclarationError(f"RetryPolicy cannot work: {'; '.join(faults)}")

    def allows(self, error: BaseException, failures: int) -> bool:
        """Whether this error may be followed by another attempt; `failures` counts this one too."""
        if isinstance(error, Abort) or failures >= self.max_attempts:
            return False
        if isinstance(error, Retry):
            return True
        return isinstance(error, self.retry_on) and not isinstance(error, self.give_up_on)

    def delay(self, failures: int, *, random: Callable[[], float] = _random.random) -> float:
        """Seconds until the next attempt after so many failures (1 or more)."""
        try:
            wait = min(self.wait * float(self.backoff) ** (failures - 1), LONGEST_DELAY)
        except OverflowError:
            wait = LONGEST_DELAY if self.wait else 0.0
        return min(wait * (1 + self.jitter * (2 * random() - 1)), LONGEST_DELAY)

    def decide(
        self, error: BaseException, failures: int, *, random: Callable[[], float] = _random.random
    ) -> Verdict:
        """What this error, the `failures`-th of its run, leads to."""
        if isinstance(error, Abort):
            return Verdict(Decision.ABORT)
        if not self.allows(error, failures):
            return Verdict(Decision.FAIL)
        if isinstance(error, Retry) and error.delay is not None:
            return Verdict(Decision.RETRY, error.delay)
        return Verdict(Decision.RETRY, self.delay(failures, random=random))

    def _faults(self) -> Iterator[str]:
        if not (_within(self.max_attempts, 1, math.inf) and self.max_attempts % 1 == 0):
            yield f"max_attempts={self.max_attempts!r} is not a whole number from 1 (1 is no retry)"
        if not _within(self.wait, 0, LONGEST_DELAY):
            yield f"wait={self.wait!r} is not a number of seconds from 0 to {LONGEST_DELAY:g}"
        if not _within(self.backoff, 1, math.inf):
            yield f"backoff={self.backoff!r} is not a finite number from 1 (1 keeps the wait the same)"
        if not _within(self.jitter, 0, 1):
            yield f"jitter={self.jitter!r} is not a fraction from 0 to 1"
        for name, classes in (("retry_on", self.retry_on), ("give_up_on", self.give_up_on)):
            if not _are_errors(classes):
                yield f"{name}={classes!r} is not a tuple of exception classes, such as (OSError,)"


def _within(value: object, low: float, high: float) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and low <= value <= high


def _are_errors(classes: object) -> bool:
    return isinstance(classes, tuple) and all(
        isinstance(kind, type) and issubclass(kind, BaseException) for kind in classes
    )
