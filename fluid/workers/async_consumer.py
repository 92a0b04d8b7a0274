"""Hands messages to async handlers, so that no handler ever slows down who announces."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from fluid.breaker import FAILURES_BEFORE_PAUSE, PAUSE, Backoff
from fluid.clock import SYSTEM_CLOCK, Clock
from fluid.dispatcher import AsyncDispatcher, AsyncHandler, HandlerName
from fluid.workers.group import Workers
from fluid.workers.handler_worker import (
    Delivery,
    HandlerStatistics,
    HandlerWorker,
    OnDropped,
    OnFailed,
    OnHandled,
)

M = TypeVar("M")


class AsyncConsumer(Workers, AsyncDispatcher[M]):
    """Every handler has a bounded queue and a worker of its own, so a slow or hanging one harms only itself.

    When a queue is full its oldest message is dropped. A handler that raises or takes too long is logged and
    counted; one that keeps failing is paused, while what it is sent goes on waiting. On shutdown, what is
    queued is still delivered within the grace period (to a paused handler, if it takes the first), and the
    rest is dropped.
    """

    def __init__(
        self,
        *,
        events: Iterable[str] | None = None,
        max_size: int = 1000,
        timeout: float = 30.0,
        failures_before_pause: int = FAILURES_BEFORE_PAUSE,
        pause: Backoff = PAUSE,
        on_handled: OnHandled | None = None,
        on_failed: OnFailed | None = None,
        on_dropped: OnDropped | None = None,
        name: str = "",
        critical: bool = False,
        stopping_grace_period: float = 10.0,
        stage: int = 0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """
        `events`: the only ones that can be registered for.
        `max_size`: how many messages wait for a handler at most.
        `timeout`: seconds that one call may take.
        `failures_before_pause`: so many failures in a row pause a handler, for as long as `pause` says.
        The callbacks are told the event and the name that the handler was registered with.
        """
        Workers.__init__(
            self,
            name=name,
            critical=critical,
            stopping_grace_period=stopping_grace_period,
            stage=stage,
            clock=clock,
        )
        AsyncDispatcher.__init__(self, events)
        self._handler_workers: dict[HandlerName, HandlerWorker[M]] = {}
        self._delivery = Delivery(
            max_size=max_size,
            timeout=timeout,
            failures_before_pause=failures_before_pause,
            pause=pause,
            stopping_grace_period=stopping_grace_period,
            clock=clock,
            on_handled=on_handled,
            on_failed=on_failed,
            on_dropped=on_dropped,
        )

    def register_handler(self, event: str, handler: AsyncHandler[M]) -> None:
        """Have `handler` called with every message of `event`, given as `event` or `event.name`.

        DuplicateHandlerError if the event has a handler of that name, UnknownEventError if there is no
        such event.
        """
        super().register_handler(event, handler)
        name = HandlerName.parse(event)
        worker = self._handler_workers[name] = HandlerWorker(name, handler, self._delivery)
        self.add_workers(worker)

    def unregister_handler(self, event: str) -> AsyncHandler[M] | None:
        """Take back a registration; its handler, or None if there was none.

        A call in progress is finished; the messages that wait are dropped.
        """
        handler = super().unregister_handler(event)
        worker = self._handler_workers.pop(HandlerName.parse(event), None)
        if worker is not None:
            worker.close()
            self.remove_workers(worker)
        return handler

    def dispatch(self, event: str, message: M, but_not: HandlerName | None = None) -> None:
        """Queue the message for the handlers of the event, all but `but_not`; returns at once.

        Only from the event loop's thread. Before the start, messages wait for it.
        """
        for name, _ in self.handlers_of(event):
            if name != but_not:
                self._handler_workers[name].send(message)

    def statistics(self) -> list[HandlerStatistics]:
        """What became of the messages of each handler until now."""
        return [worker.statistics() for worker in self._handler_workers.values()]

    async def on_startup(self) -> None:
        """Have every queue take messages."""
        for worker in self._handler_workers.values():
            worker.open()

    async def on_shutdown(self) -> None:
        """Drop what could not be delivered, and all that is still to come."""
        for worker in self._handler_workers.values():
            worker.close()
        await super().on_shutdown()
