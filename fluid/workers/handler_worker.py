"""One async handler with a bounded queue of its own; every call is timed, and a failing handler is paused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from fluid.breaker import Backoff, Breaker
from fluid.clock import Clock
from fluid.dispatcher import AsyncHandler, HandlerName
from fluid.workers.queue import QueueConsumer
from fluid.workers.waiting import being_cancelled

M = TypeVar("M")

logger = logging.getLogger("fluid")

OnHandled = Callable[[str, str, float], None]
"""Told of event, handler and the seconds it took."""
OnFailed = Callable[[str, str, BaseException, float], None]
"""Told of event, handler, what it raised and the seconds it took."""
OnDropped = Callable[[str, str], None]
"""Told of event and handler, once for every message."""


@dataclass(frozen=True, slots=True)
class HandlerStatistics:
    """What became of all that one handler was sent: it is queued, handled, failed or dropped."""

    event: str
    handler: str
    queue_size: int
    handled: int
    dropped: int
    failures: int
    seconds: float
    """Seconds spent in the handler."""
    in_hand: int = 0
    """1 while the handler is called, else 0."""
    paused: bool = False
    """It kept failing, and has not succeeded since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How messages are handed to handlers, and who is told of it."""

    max_size: int
    """How many messages wait for a handler at most."""
    timeout: float
    """Seconds that one call of a handler may take."""
    failures_before_pause: int
    """After this many failures in a row a handler is paused."""
    pause: Backoff
    """For how long; the first call afterwards tells whether to go on or to pause again."""
    stopping_grace_period: float
    """Seconds to deliver what waits in, when asked to stop."""
    clock: Clock
    on_handled: OnHandled | None
    on_failed: OnFailed | None
    on_dropped: OnDropped | None


class HandlerWorker(QueueConsumer[M]):
    """Calls one handler with one message after the other; when asked to stop, with those that are left."""

    def __init__(self, name: HandlerName, handler: AsyncHandler[M], delivery: Delivery) -> None:
        super().__init__(
            max_size=delivery.max_size,
            name=str(name),
            critical=False,
            stopping_grace_period=delivery.stopping_grace_period,
        )
        self._registered = name
        self._handler = handler
        self._delivery = delivery
        self._closed = False
        self._handled = 0
        self._failures = 0
        self._breaker = Breaker(delivery.failures_before_pause, delivery.pause)
        self._seconds = 0.0
        self._in_hand = 0

    def send(self, message: M) -> None:
        """Queue the message for the handler; when closed, drop it."""
        if self._closed:
            self._drop(message)
        else:
            super().send(message)

    def open(self) -> None:
        """Queue messages again."""
        self._closed = False

    def close(self) -> None:
        """Drop what waits and all that is still to come."""
        self._closed = True
        while self._messages:
            self._drop(self._messages.popleft())

    async def run(self) -> None:
        """Deliver until asked to stop and nothing is left."""
        while (message := await self.get_message()) is not None:
            pause = await self._deliver(message)
            if self._breaker.is_open and self.is_stopping():
                # what has failed so often, and now once more, must not hold up the stop
                self.close()
            # Neither taking a message nor handling it need ever suspend: this lets the producers have a turn.
            await self.wait_for_stop(pause)

    def on_dropped(self, message: M) -> None:  # noqa: ARG002 - only that it was dropped is told
        """Tell that a message was dropped."""
        self._tell(self._delivery.on_dropped, *self._registered)

    def statistics(self) -> HandlerStatistics:
        """What became of its messages until now."""
        return HandlerStatistics(
            event=self._registered.event,
            handler=self._registered.name,
            queue_size=self.queue_size(),
            handled=self._handled,
            dropped=self.dropped,
            failures=self._failures,
            seconds=self._seconds,
            in_hand=self._in_hand,
            paused=self._breaker.is_open,
        )

    async def _deliver(self, message: M) -> float:
        """Call the handler; the seconds to leave it in peace for afterwards."""
        began = self._delivery.clock.elapsed()
        timeout = self._delivery.timeout
        limit = asyncio.timeout(timeout)
        error: BaseException | None = None
        self._in_hand = 1
        try:
            async with limit:
                await self._handler(message)
        except asyncio.CancelledError as cancelled:
            if being_cancelled():
                self._drop(message)
                raise
            error = cancelled
        except Exception as raised:  # noqa: BLE001 - it is logged and counted
            error = None if limit.expired() else raised
        finally:
            self._in_hand = 0
        seconds = self._delivery.clock.elapsed() - began
        # one that keeps the loop to itself cannot be cancelled in time, so the clock has the last word
        if error is None and (limit.expired() or seconds > timeout):
            error = TimeoutError(f"took longer than {timeout:g} s")
        return self._account(error, seconds)

    def _account(self, error: BaseException | None, seconds: float) -> float:
        self._seconds += seconds
        if error is None:
            self._handled += 1
            self._breaker.succeeded()
            self._tell(self._delivery.on_handled, *self._registered, seconds)
            return 0.0
        self._failures += 1
        logger.error("handler %s raised %r", self._registered, error, exc_info=error)
        self._tell(self._delivery.on_failed, *self._registered, error, seconds)
        pause = self._breaker.failed()
        if pause:
            logger.warning("handler %s is paused for %g s: it keeps failing", self._registered, pause)
        return pause

    def _tell(self, listener: Callable[..., None] | None, *facts: object) -> None:
        if listener is None:
            return
        try:
            listener(*facts)
        except Exception:
            logger.exception("what happened to handler %s could not be told", self._registered)
