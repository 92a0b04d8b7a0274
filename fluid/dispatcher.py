"""Who is told what: handlers registered by event, and the sync way to tell them.

A registration is `event` or `event.name`: the part after the first dot names the handler, so that
many can hear one event. Handlers of `*` hear every event.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from typing import Generic, NamedTuple, TypeVar

from fluid.breaker import Breaker
from fluid.clock import SYSTEM_CLOCK, Clock
from fluid.errors import DeclarationError, DuplicateHandlerError, UnknownEventError

M = TypeVar("M")
H = TypeVar("H")

SyncHandler = Callable[[M], None]
AsyncHandler = Callable[[M], Awaitable[None]]
OnFailure = Callable[[str, str, BaseException], None]
"""Told of the event and the name a handler was registered with, and of what it raised."""
OnDropped = Callable[[str, str], None]
"""Told of the event and the name of a handler, once for every message that it missed."""

EVERY_EVENT = "*"

logger = logging.getLogger("fluid")


class HandlerName(NamedTuple):
    """What a handler is registered as."""

    event: str
    name: str = ""

    @classmethod
    def parse(cls, registration: str) -> HandlerName:
        """Read `event` or `event.name`; a name may hold further dots."""
        event, _, name = registration.partition(".")
        return cls(event, name)

    def __str__(self) -> str:
        return f"{self.event}.{self.name}" if self.name else self.event


class Handlers(Generic[H]):
    """Handlers by event, in the order of their registration.

    With `events`, only these (and `*`) can be registered for.
    """

    def __init__(self, events: Iterable[str] | None = None) -> None:
        self._events = None if events is None else frozenset(events)
        self._handlers: dict[HandlerName, H] = {}
        self._told: dict[str, tuple[tuple[HandlerName, H], ...]] = {}
        self._told_everything: tuple[tuple[HandlerName, H], ...] = ()
        self.on_change: Callable[[], None] | None = None
        """Called after each registration, each that is taken back, and the first failure of a handler."""

    def register_handler(self, event: str, handler: H) -> None:
        """Have `handler` told of `event`, given as `event` or `event.name`.

        DuplicateHandlerError if the event has a handler of that name, UnknownEventError if there is no
        such event.
        """
        name = HandlerName.parse(event)
        self._check_event(name.event)
        if name in self._handlers:
            raise DuplicateHandlerError(
                f"event {name.event!r} already has a handler named {name.name!r}: "
                f"unregister that one, or register this one as '{name.event}.<another name>'"
            )
        self._handlers[name] = handler
        self._index()

    def unregister_handler(self, event: str) -> H | None:
        """Take back a registration; its handler, or None if there was none."""
        handler = self._handlers.pop(HandlerName.parse(event), None)
        self._index()
        return handler

    def wants(self, event: str) -> bool:
        """Whether anybody would be told of this event; costs a dict lookup."""
        return bool(self._told.get(event, self._told_everything))

    def handlers_of(self, event: str) -> tuple[tuple[HandlerName, H], ...]:
        """Who is told of this event, in order; costs a dict lookup."""
        return self._told.get(event, self._told_everything)

    def _check_event(self, event: str) -> None:
        if not event:
            raise UnknownEventError("a handler is registered for 'event' or 'event.name'; there is no event")
        if self._events is None or event == EVERY_EVENT or event in self._events:
            return
        near = " or ".join(repr(known) for known in get_close_matches(event, self._events))
        hint = f"did you mean {near}?" if near else f"there are {', '.join(sorted(self._events))}"
        raise UnknownEventError(f"unknown event {event!r}: {hint}")

    def _index(self) -> None:
        registered = tuple(self._handlers.items())
        self._told = {
            event: tuple(entry for entry in registered if entry[0].event in (event, EVERY_EVENT))
            for event in {name.event for name in self._handlers}
        }
        self._told_everything = self._told.pop(EVERY_EVENT, ())
        self._changed()

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()


@dataclass(slots=True)
class Trouble:
    """How badly a sync handler does."""

    failures: int = 0
    """How often it raised."""
    dropped: int = 0
    """Messages that it was not told, because it was paused."""
    breaker: Breaker = field(default_factory=Breaker)
    rest_until: float = 0.0
    """On the clock's `elapsed`."""

    @property
    def paused(self) -> bool:
        """It kept raising, and has not succeeded since."""
        return self.breaker.is_open


class Dispatcher(Handlers[SyncHandler[M]]):
    """Tells sync handlers in line. They must be tiny: whoever announces waits for them.

    One that raises is logged and reported; one that keeps raising is paused, and what it misses is dropped.
    """

    def __init__(
        self,
        events: Iterable[str] | None = None,
        *,
        on_failure: OnFailure | None = None,
        on_dropped: OnDropped | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__(events)
        self._on_failure = on_failure
        self._on_dropped = on_dropped
        self._clock = clock
        self._troubles: dict[HandlerName, Trouble] = {}

    def register_handler(self, event: str, handler: SyncHandler[M]) -> None:
        """Have `handler` called with every message of `event`, given as `event` or `event.name`.

        DuplicateHandlerError if the event has a handler of that name, UnknownEventError if there is no
        such event, DeclarationError if the handler is async.
        """
        if inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__):
            raise DeclarationError(f"the handler of {event!r} is async, and would never be awaited here")
        super().register_handler(event, handler)

    def unregister_handler(self, event: str) -> SyncHandler[M] | None:
        """Take back a registration; its handler, or None if there was none."""
        self._troubles.pop(HandlerName.parse(event), None)
        return super().unregister_handler(event)

    def troubles(self) -> Mapping[HandlerName, Trouble]:
        """The handlers that ever raised, and how they do."""
        return self._troubles

    def way_of(self, event: str) -> SyncHandler[M] | None:
        """What does the same as `dispatch` for this event, in half of the time; None when it has no handler.

        It holds until `on_change` is called.
        """
        told = self.handlers_of(event)
        if not told:
            return None
        if self._troubles:  # one of them may be paused, or be well again
            return partial(self.dispatch, event)

        def tell(message: M) -> None:
            for name, handler in told:
                try:
                    handler(message)
                except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is told of
                    self._raised(event, name, error)

        return tell

    def dispatch(self, event: str, message: M, but_not: HandlerName | None = None) -> None:
        """Call the handlers of the event, in the order of registration, all but `but_not` and paused ones.

        One that raises is logged and reported to `on_failure`; the others are called all the same.
        """
        told = self._told.get(event, self._told_everything)
        if self._troubles or but_not is not None:
            told = tuple(one for one in told if one[0] != but_not and not self._misses(one[0]))
        for name, handler in told:
            try:
                handler(message)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is told of
                self._raised(event, name, error)
            else:
                if self._troubles and name in self._troubles:
                    self._troubles[name].breaker.succeeded()

    def _raised(self, event: str, name: HandlerName, error: BaseException) -> None:
        # Nobody cancels a sync call: the cancellation is one that the handler looked at.
        logger.error("handler %s raised when told of %s", name, event, exc_info=error)
        trouble = self._troubles.get(name)
        if trouble is None:
            trouble = Trouble()
            if name in self._handlers:  # else it has just taken itself back
                self._troubles[name] = trouble
                self._changed()
        trouble.failures += 1
        pause = trouble.breaker.failed()
        if pause:
            trouble.rest_until = self._clock.elapsed() + pause
            logger.warning("handler %s is paused for %g s: it keeps failing", name, pause)
        self._report(self._on_failure, name, error)

    def _misses(self, name: HandlerName) -> bool:
        trouble = self._troubles.get(name)
        if trouble is None or not trouble.breaker.is_open or self._clock.elapsed() >= trouble.rest_until:
            return False
        trouble.dropped += 1
        self._report(self._on_dropped, name)
        return True

    def _report(self, listener: Callable[..., None] | None, name: HandlerName, *error: BaseException) -> None:
        if listener is None:
            return
        try:
            listener(name.event, name.name, *error)
        except Exception:
            logger.exception("the trouble of handler %s could not be reported", name)


class AsyncDispatcher(Handlers[AsyncHandler[M]]):
    """Async handlers of events; when they are told is up to who delivers (`fluid.workers.AsyncConsumer`)."""
