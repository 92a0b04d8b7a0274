"""Fleet events: what every process tells into the queue's stream of events, and how it is read there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from datetime import datetime
from typing import Any

import msgspec

from fluid.clock import elapsed, now
from fluid.errors import BrokerUnavailableError
from fluid.scheduler.broker import FleetStream, Told
from fluid.scheduler.events import Event
from fluid.scheduler.states import TaskPriority, TaskState
from fluid.workers import Worker

EVENT_VERSION = 1

BEAT_SECONDS = 0.1
"""What no other call took along within so long gets a call of its own."""

TELL_SECONDS = 5.0
LAST_TELL_SECONDS = 1.0
"""What a stop may take to tell what is left."""

TOLD_FACTS = (
    *("consumer", "seconds", "before", "after", "event", "handler", "count"),
    *("task", "run_id", "tick", "lateness", "next"),
)
"""The facts that are told to the fleet: names and numbers, and no text that may hold what is secret."""

logger = logging.getLogger("fluid")


class FleetEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event as the queue keeps it for all to read: no parameters, no results, no texts of errors.

    Fields that do not belong to the event are None or empty.
    """

    version: int
    """Of this shape."""
    name: str
    """The event's name, a key of `EVENTS`."""
    at: datetime
    """When it was announced, by the clock of the process that did."""
    consumer: str
    """Who announced it: a consumer, or another process with a manager."""
    run_id: str = ""
    task: str = ""
    attempt: int = 0
    """The run's attempt, from 1."""
    state: TaskState | None = None
    """The run's state at the event."""
    priority: TaskPriority | None = None
    from_run_id: str = ""
    """The run that queued this one, or that this one replays."""
    root_run_id: str = ""
    """The first run of the lineage."""
    reason: str = ""
    """A short stable word for why."""
    waited: float | None = None
    """Seconds from ready to claimed."""
    dispatched: float | None = None
    """Seconds from claimed to started."""
    ran: float | None = None
    """Seconds the body took."""
    latency: float | None = None
    """Seconds from queued to ended."""
    delay: float | None = None
    """Seconds until the next attempt is due."""
    owner: str = ""
    """The consumer that had the run last."""
    facts: Mapping[str, Any] = {}
    """What is told besides, for events about a consumer."""
    id: str = ""
    """Its place in the queue's stream; what came after it is read with `since=event.id`."""
    missed: int = 0
    """How many events before this one came and went unread."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(FleetEvent).decode


def encode_fleet_event(event: Event, consumer: str, at: datetime) -> bytes:
    """An event as it is stored."""
    run = event.run
    if run is None:
        facts = {name: event.facts[name] for name in TOLD_FACTS if name in event.facts}
        told = FleetEvent(
            version=EVENT_VERSION,
            name=event.name,
            at=at,
            consumer=consumer,
            reason=event.reason,
            owner=event.owner,
            facts=facts,
        )
    else:
        told = FleetEvent(
            version=EVENT_VERSION,
            name=event.name,
            at=at,
            consumer=consumer,
            run_id=run.id,
            task=run.name,
            attempt=run.attempt,
            state=run.state,
            priority=run.priority,
            from_run_id=run.from_run_id,
            root_run_id=run.root_run_id,
            reason=event.reason,
            waited=event.waited,
            dispatched=event.dispatched,
            ran=event.ran,
            latency=event.latency,
            delay=event.delay,
            owner=event.owner,
        )
    return _encode(told)


def decode_fleet_event(told: Told, missed: int = 0) -> FleetEvent | None:
    """A stored event, before which `missed` more went unread; None for a shape that is not known here."""
    try:
        event = _decode(told.event)
    except msgspec.DecodeError:
        return None
    if event.version > EVENT_VERSION:
        return None
    return msgspec.structs.replace(event, id=told.id, missed=told.missed + missed)


async def fleet_events(
    stream: FleetStream, since: str | datetime | None, *, task: str, event: str, follow: bool
) -> AsyncGenerator[FleetEvent]:
    """Events of this task and name (an empty word is any), the oldest first."""
    missed = 0
    async with aclosing(stream.read(since, follow=follow)) as found:
        async for told in found:
            read = decode_fleet_event(told, missed)
            if read is None:
                missed += told.missed + 1
            elif task in ("", read.task) and event in ("", read.name):
                missed = 0
                yield read
            else:
                missed = read.missed


class FleetTeller(Worker):
    """Hears every event in line and sends it on its way; what no other call takes along, it tells itself."""

    def __init__(self, stream: FleetStream, consumer: Callable[[], str]) -> None:
        super().__init__(name="fleet-events", critical=False, stage=-20)
        self._stream = stream
        self._consumer = consumer
        self._came = asyncio.Event()

    def __call__(self, event: Event) -> None:
        """Take an event; what is executed locally is no concern of the fleet's."""
        if event.run is None or not event.run.local:
            self._stream.put(encode_fleet_event(event, self._consumer(), now()))
            self._came.set()

    def gracefully_stop(self) -> None:
        """End; `finish` tells what is left."""
        super().gracefully_stop()
        self._came.set()

    async def run(self) -> None:
        self._came = asyncio.Event()
        while not self.is_stopping():
            if not self._stream.waiting:
                self._came.clear()
                await self._came.wait()
                continue
            gone = self._gone
            await self.wait_for_stop(BEAT_SECONDS)
            if self._gone == gone:
                with suppress(
                    BrokerUnavailableError
                ):  # they go on waiting, and the link says that it is lost
                    await self._stream.tell(elapsed() + TELL_SECONDS)

    async def finish(self) -> None:
        """Tell what is left, if the broker is there."""
        try:
            await self._stream.tell(elapsed() + LAST_TELL_SECONDS)
        except BrokerUnavailableError as error:
            logger.warning("%d events were not told to the fleet: %s", self._stream.waiting, error)

    @property
    def _gone(self) -> int:
        return self._stream.told + self._stream.dropped
