"""One place from which every event is told, to sync handlers in line and to async ones by queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from fluid.clock import SYSTEM_CLOCK, Clock
from fluid.dispatcher import EVERY_EVENT, HandlerName
from fluid.scheduler.dispatchers import TaskDispatcher
from fluid.scheduler.events import EVENTS, Event
from fluid.scheduler.run import TaskRun
from fluid.workers import AsyncConsumer

QUIET_SECONDS = 1.0
"""`handler_failed` and `handler_dropped` come at most once in so long for each handler."""

_HEARS_OF_TROUBLE = (EVERY_EVENT, "handler_failed", "handler_dropped")


class Announcer:
    """Tells events. A handler's trouble is an event too, which the handler in trouble is not told of."""

    def __init__(self, *, stopping_grace_period: float, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._last_said: dict[tuple[str, HandlerName], float] = {}
        self._unsaid: dict[tuple[str, HandlerName], tuple[int, dict[str, Any]]] = {}
        """How much trouble is yet to be told, and what the newest of it was."""
        self._saying = False
        self.dispatcher = TaskDispatcher(
            EVENTS, on_failure=self._sync_failed, on_dropped=self._dropped, clock=clock
        )
        self.handlers: AsyncConsumer[Event] = AsyncConsumer(
            events=EVENTS,
            on_failed=self._async_failed,
            on_dropped=self._dropped,
            name="handlers",
            critical=False,
            stopping_grace_period=stopping_grace_period,
            stage=-10,
        )
        """Where async handlers live; a worker of the consumer, or of the manager while it is open."""
        self._ways: dict[str, Callable[[Event], None]] = {}
        """How an event is told, if anybody would be told: mostly nobody is, and that has to cost nothing."""
        self.dispatcher.on_change = self.handlers.on_change = self._find_ways

    def _find_ways(self) -> None:
        for name in EVENTS:
            if self.handlers.wants(name):
                self._ways[name] = self._tell_all
            elif tell := self.dispatcher.way_of(name):
                self._ways[name] = tell
            else:
                self._ways.pop(name, None)

    def wants(self, name: str) -> bool:
        """Whether anybody would be told."""
        return name in self._ways

    def announce(self, name: str, run: TaskRun[Any] | None = None, **told: Any) -> None:
        """Tell an event; a sync handler gets the live run, async handlers share one snapshot of it."""
        if tell := self._ways.get(name):
            tell(Event(name=name, run=run, **told))

    # What is told of every run has words of its own, which take half of the time.

    def started(self, run: TaskRun[Any], waited: float, dispatched: float) -> None:
        """Tell `start`."""
        if tell := self._ways.get("start"):
            tell(Event(name="start", run=run, waited=waited, dispatched=dispatched))

    def ended(self, run: TaskRun[Any], ran: float, latency: float) -> None:
        """Tell `end`, and then the event that is named like the state that the run is in."""
        if tell := self._ways.get("end"):
            tell(Event(name="end", run=run, reason=run.reason, ran=ran, latency=latency))
        if tell := self._ways.get(run.state):
            tell(Event(name=str(run.state), run=run, reason=run.reason, ran=ran, latency=latency))

    def _tell_all(self, event: Event) -> None:
        self.dispatcher.dispatch(event.name, event)
        if event.run is not None:
            event = msgspec.structs.replace(event, run=event.run.snapshot())
        self.handlers.dispatch(event.name, event)

    def _sync_failed(self, event: str, handler: str, error: BaseException) -> None:
        # what is raised over another handler's trouble is told, but does not keep the two talking for ever
        self._say("handler_failed", HandlerName(event, handler), late=not self._saying, error=repr(error))

    def _async_failed(self, event: str, handler: str, error: BaseException, seconds: float) -> None:
        late = event not in _HEARS_OF_TROUBLE
        self._say(
            "handler_failed", HandlerName(event, handler), late=late, error=repr(error), seconds=seconds
        )

    def _dropped(self, event: str, handler: str) -> None:
        self._say("handler_dropped", HandlerName(event, handler), late=not self._saying)

    def interceptor_failed(self, surrounded: str, interceptor: str, error: str) -> None:
        """Tell that an interceptor raised around what it was to surround."""
        self._say("handler_failed", HandlerName(surrounded, interceptor), late=True, error=error)

    def say_the_rest(self) -> None:
        """Tell now of all trouble that is yet to be told, so that no count is short."""
        for what, handler in list(self._unsaid):
            self._say_rest(what, handler)

    def _say(self, what: str, handler: HandlerName, *, late: bool = False, **facts: Any) -> None:
        """Tell of trouble, or count it until it may be told again: with the next one, or `late` by itself."""
        key = (what, handler)
        waiting = key in self._unsaid
        count, _ = self._unsaid.get(key, (0, {}))
        self._unsaid[key] = count + 1, facts
        quiet = self._last_said.get(key, -QUIET_SECONDS) + QUIET_SECONDS - self._clock.elapsed()
        if quiet <= 0:
            self._say_rest(what, handler)
        elif late and not waiting:
            asyncio.get_running_loop().call_later(quiet, self._say_rest, what, handler)

    def _say_rest(self, what: str, handler: HandlerName) -> None:
        key = (what, handler)
        if key not in self._unsaid:
            return
        self._last_said[key] = self._clock.elapsed()
        count, facts = self._unsaid.pop(key)
        facts = facts | {"event": handler.event, "handler": handler.name, "count": count}
        told = Event(name=what, facts=facts)
        before, self._saying = self._saying, True
        try:
            self.dispatcher.dispatch(what, told, but_not=handler)
            self.handlers.dispatch(what, told, but_not=handler)
        finally:
            self._saying = before
