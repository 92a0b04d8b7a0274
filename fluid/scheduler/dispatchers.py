"""Who is told of events: sync handlers in line, async handlers through the AsyncConsumer."""

from __future__ import annotations

from fluid.dispatcher import AsyncDispatcher, Dispatcher
from fluid.scheduler.events import Event


class TaskDispatcher(Dispatcher[Event]):
    """Sync handlers of events, by the event's name; they run in line, so they must be tiny."""


class AsyncTaskDispatcher(AsyncDispatcher[Event]):
    """Async handlers of events, by the event's name."""
