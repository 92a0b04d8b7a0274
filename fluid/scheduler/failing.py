"""Why an attempt did not succeed, as plain words that can be kept, and that can leave a process."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import msgspec

from fluid.errors import Abort, FluidError
from fluid.masking import hide, secrets_of
from fluid.scheduler.retry import Decision, RetryPolicy
from fluid.tracebacks import traceback_of

TRACEBACK_CHARACTERS = 8000

_REASONS = frozenset({"timeout", "retry_asked", "abort_asked", "result", "process_died"})


class Failure(msgspec.Struct, frozen=True):
    """What a body raised, and what its task's policy makes of it."""

    decision: Decision
    delay: float
    """Seconds until the next attempt, if there is to be one."""
    reason: str
    """A word of the closed set that `EVENTS` publishes."""
    error: str
    error_type: str
    traceback: str
    module: str = "builtins"
    """Where the class of the error is."""


class BodyFailedError(FluidError):
    """A body failed in a process of its own; `failure` says how, as it was seen there."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.error)


def failed(failure: Failure) -> BodyFailedError:
    """The error to raise here: it goes by the class, the reason and the traceback of what the body raised."""
    seen = {"__module__": failure.module, "reason": failure.reason}
    kind: type[BodyFailedError] = type(failure.error_type, (BodyFailedError,), seen)
    error = kind(failure)
    if failure.traceback:
        error.add_note(f"In its process:\n{failure.traceback}")
    return error


def failure_of(error: BaseException, policy: RetryPolicy, failures: int, params: Any = None) -> Failure:
    """What this error, the `failures`-th of its run, comes to; what is secret in the parameters is hidden."""
    if isinstance(error, BodyFailedError):
        return error.failure
    verdict = policy.decide(error, failures)
    secrets = secrets_of(params)
    return Failure(
        decision=verdict.decision,
        delay=verdict.delay,
        reason=_reason(error),
        error=_words(error, secrets),
        error_type=type(error).__name__,
        module=type(error).__module__,
        traceback="" if isinstance(error, Abort) else _traceback(error, secrets),
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, FluidError) and error.reason in _REASONS:
        return error.reason
    return "cancelled_inside" if isinstance(error, asyncio.CancelledError) else "error"


def _words(error: BaseException, secrets: Collection[str]) -> str:
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - an error that cannot say what it is has a name at least
        text = "(it cannot be shown)"
    return hide(printable(f"{name}: {text}" if text else name), secrets)


def printable(text: str) -> str:
    """The text as UTF-8 can hold it: a lone surrogate, as in a strange file name, is spelt out."""
    return text.encode("utf-8", "backslashreplace").decode()


def _traceback(error: BaseException, secrets: Collection[str]) -> str:
    text = hide(printable(traceback_of(error)), secrets)
    return text if len(text) <= TRACEBACK_CHARACTERS else "...\n" + text[-TRACEBACK_CHARACTERS:]
