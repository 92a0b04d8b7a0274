"""The fleet's stream of events on Redis: told along with other calls, read over connections of its own."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Any

from redis.exceptions import NoScriptError

from fluid.scheduler.broker import FleetStream, Told
from fluid.scheduler.brokers.channel import ANSWER_SECONDS, Channel, LostError, Word
from fluid.scheduler.brokers.keys import Keys
from fluid.scheduler.brokers.link import Link, pause_before
from fluid.scheduler.brokers.outbox import Outbox
from fluid.scheduler.brokers.scripts import TELL

MOST_WAITING = 10_000
"""Events that wait while the broker is away."""

MOST_AT_ONCE = 1000
"""Events in one script call."""

WAIT_SECONDS = 5.0
"""How long a reader waits in one call; then it looks whether the stream was begun anew."""

BEFORE_ALL = "0-0"

logger = logging.getLogger("fluid")


class RedisFleetStream(FleetStream):
    """Tells as a rider of the calls that queue and settle; a full or refusing server harms none of these."""

    def __init__(self, keys: Keys, link: Link) -> None:
        self._keys = keys
        self._link = link
        self._teller = uuid.uuid4().hex[:16]
        self._outbox = Outbox(MOST_WAITING)
        self._channel = link.channel()
        self._channel.rider = self
        self._in_trouble = False
        self._unknown = True
        """The server may not have the script."""

    # -- telling ---------------------------------------------------------------------------

    @property
    def told(self) -> int:  # type: ignore[override]
        return self._outbox.told

    @property
    def dropped(self) -> int:  # type: ignore[override]
        return self._outbox.dropped

    @property
    def waiting(self) -> int:
        return len(self._outbox)

    def put(self, event: bytes) -> None:
        self._outbox.put(event)

    def board(self) -> Sequence[Word] | None:
        """The next events as a command; a rider's part."""
        sent = self._outbox.send(MOST_AT_ONCE)
        if sent is None:
            return None
        first, events = sent
        words = TELL.command(self._keys, (self._teller, self.keep, first, *events))
        return ("EVAL", TELL.source, *words[2:]) if self._unknown else words

    def leave(self, answer: Any) -> None:
        """Whether they arrived; a rider's part."""
        if isinstance(answer, int):
            self._outbox.arrived()
            self._unknown = self._in_trouble = False
            return
        self._outbox.came_back()
        self._unknown = True
        if answer is not None and not isinstance(answer, NoScriptError) and not self._in_trouble:
            self._in_trouble = True
            logger.warning("the broker takes no events of the fleet, and is tried again: %s", answer)

    async def tell(self, deadline: float) -> None:
        told = -1
        while self.waiting and self.told > told:
            told = self.told
            # what waits rides along, and when it is refused the link is none the worse
            await self._link.persist(TELL.name, lambda: self._channel.call("PING"), deadline)

    # -- reading ---------------------------------------------------------------------------

    async def read(self, after: str | datetime | None, *, follow: bool) -> AsyncGenerator[Told]:
        place = "" if after is None and follow else _place_of(after)
        # whether an entry was there, from which those after it can be counted
        counted = isinstance(after, str) or not place
        channel = self._link.channel_apart()
        tries = 0
        try:
            while True:
                try:
                    place = place or await self._newest(channel)
                    entries = await self._entries(channel, place, follow=follow)
                    if not entries and counted and await self._begun_anew(channel, place):
                        place = BEFORE_ALL
                except LostError:
                    if not follow:
                        raise
                    tries += 1
                    await asyncio.sleep(pause_before(tries))
                    continue
                if not (entries or follow):
                    return
                tries = 0
                for name, (_, event) in entries:
                    entry = name.decode()
                    missed = _order(entry)[1] - _order(place)[1] - 1 if counted else 0
                    place, counted = entry, True
                    yield Told(entry, event, max(0, missed))
        finally:
            await channel.close()

    async def _begun_anew(self, channel: Channel, place: str) -> bool:
        """The server has lost the stream; what is told since begins before the place."""
        return _order(await self._newest(channel)) < _order(place)

    async def _entries(self, channel: Channel, place: str, *, follow: bool) -> list[Any]:
        words: list[Word] = ["XREAD", "COUNT", MOST_AT_ONCE]
        if follow:
            words += ["BLOCK", int(WAIT_SECONDS * 1000)]
        words += ["STREAMS", self._keys["events"], place]
        answer = await channel.call(*words, timeout=WAIT_SECONDS + ANSWER_SECONDS)
        if not answer:
            return []
        ((_, entries),) = answer.items() if isinstance(answer, dict) else answer
        return list(entries)

    async def _newest(self, channel: Channel) -> str:
        entries = await channel.call("XREVRANGE", self._keys["events"], "+", "-", "COUNT", 1)
        return entries[0][0].decode() if entries else BEFORE_ALL


def _place_of(after: str | datetime | None) -> str:
    if isinstance(after, datetime):
        # the last place before the instant
        return f"{int(after.timestamp() * 1000) - 1}-{2**64 - 1}"
    return after or BEFORE_ALL


def _order(place: str) -> tuple[int, int]:
    instant, _, count = place.partition("-")
    return int(instant), int(count)
