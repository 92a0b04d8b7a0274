"""The link to the broker as a whole: up or lost, tried again with back-off and jitter, and announced."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import TypeVar

from fluid.clock import elapsed
from fluid.errors import BrokerError, FluidError
from fluid.scheduler.broker import BrokerListeners
from fluid.scheduler.brokers.address import Address
from fluid.scheduler.brokers.channel import Channel, FullError, LostError, MissingStreamError
from fluid.scheduler.brokers.connecting import Connecting
from fluid.scheduler.meanwhile import Work, nothing

T = TypeVar("T")

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0


def pause_before(attempt: int) -> float:
    """Seconds to wait before this retry, from 1: doubling, bounded, with half of it left to chance."""
    return float(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempt - 1, 10)) * (0.5 + random.random() / 2))


class Link:
    """Makes channels, and knows whether the broker is up."""

    def __init__(self, address: Address, listeners: BrokerListeners, *, start: bool = True) -> None:
        self._address = address
        self._listeners = listeners
        self.connecting = Connecting(address, start=start)
        self._lost_at: float | None = None
        self._connected_at: float | None = None
        self._channels: list[Channel] = []
        self._severed = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end_of_loop: AsyncGenerator[None] | None = None
        self.repair: Callable[[], Awaitable[None]] | None = None
        """Makes what the queue stands on, when the server has lost it."""

    @property
    def up(self) -> bool:
        """The last call reached the broker."""
        return self._lost_at is None and self._connected_at is not None

    @property
    def connected_for(self) -> float:
        """Seconds since a connection was made or restored."""
        return elapsed() - self._connected_at if self.up and self._connected_at is not None else 0.0

    def channel(self, *, gathering: bool = False) -> Channel:
        """A channel of its own for one kind of call."""
        channel = Channel(self.connecting.connect, self._connected, gathering=gathering)
        self._channels.append(channel)
        return channel

    def channel_apart(self) -> Channel:
        """A channel whose losses say nothing of the link, and that its owner closes."""
        return Channel(self.connecting.connect, lambda: None)

    def _connected(self) -> None:
        # one channel's new connection says nothing of the link as a whole
        if self._connected_at is None:
            self._connected_at = elapsed()

    def failed(self, reason: str) -> None:
        """A call did not reach the broker."""
        if self._lost_at is None:
            self._lost_at = elapsed()
            for channel in self._channels:
                channel.doubtful = True
            for listener in self._listeners.lost:
                listener(reason)

    def answered(self) -> None:
        """A call reached the broker."""
        if self._lost_at is not None:
            seconds, self._lost_at = elapsed() - self._lost_at, None
            self._connected_at = elapsed()
            for listener in self._listeners.recovered:
                listener(seconds)

    async def reach(self, move: str, channel: Channel) -> None:
        """Connect this channel, for this move. That it could be is no answer of the broker yet."""
        await self._enter_loop()
        if channel.ready:
            return
        begin = elapsed()
        try:
            await channel.connect()
        except LostError as error:
            self.failed(str(error))
            self._watched(move, begin, "lost")
            raise

    async def call(self, move: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """One try of a move, timed and judged."""
        await self._enter_loop()
        begin = elapsed()
        kind = ""
        for around in self._listeners.around:
            attempt = partial(around, move, attempt)
        severed = self._severed
        try:
            answer = await attempt()
            if severed != self._severed:
                # it may have found its way over a connection that was only being made
                raise LostError("its connection was broken", sent=True)
        except FullError:
            kind = "refused"
            self.answered()
            raise
        except LostError as error:
            kind = "lost"
            self.failed(str(error))
            raise
        except MissingStreamError:
            kind = "missing"
            raise
        except BrokerError:
            kind = "refused"
            raise
        else:
            self.answered()
            return answer
        finally:
            self._watched(move, begin, kind)

    def _watched(self, move: str, begin: float, kind: str) -> None:
        for watcher in self._listeners.command:
            watcher(move, elapsed() - begin, kind)

    async def persist(
        self,
        move: str,
        attempt: Callable[[], Awaitable[T]],
        deadline: float | None = None,
        *,
        once_sent: bool = False,
        meanwhile: Work = nothing,
    ) -> T:
        """Try a move until it is answered, or until the deadline has passed; `meanwhile` is for the pauses.

        With `once_sent`, only a move that may have been carried out is tried again. The error of the last
        try is raised then; its `sent` is true if any try may have been carried out. A move that finds the
        streams gone is tried again once they are repaired.
        """
        tries, repairs, sent = 0, 0, False
        while True:
            tries += 1
            try:
                return await self.call(move, attempt)
            except MissingStreamError:
                repairs += 1
                if self.repair is None or repairs > 3:
                    raise
                await self.persist("open", self.repair, deadline)
            except LostError as error:
                sent = sent or error.sent
                if once_sent and not sent:
                    raise
                pause = pause_before(tries)
                if deadline is not None and elapsed() + pause > deadline:
                    why = f"the broker at {self._address.masked} {error.how}: {error}"
                    raise type(error)(why, sent=sent) from error
                meanwhile()
                await asyncio.sleep(pause)

    async def sever(self) -> None:
        """Close every channel, and take every call under way for lost."""
        self._severed += 1
        await self._close_channels()

    async def close(self) -> None:
        """Close every channel, and the embedded server if it was started here."""
        await self._close_channels()
        self._connected_at = self._lost_at = None
        await self.connecting.close()

    async def _close_channels(self) -> None:
        for channel in self._channels:
            await channel.close()

    async def _enter_loop(self) -> None:
        """A connection belongs to the event loop that it was made in, and so does whoever waits for it."""
        loop = asyncio.get_running_loop()
        if loop is self._loop:
            return
        if self._loop is not None and self._loop.is_running():
            raise FluidError(
                f"the broker at {self._address.masked} is in use by an event loop that still runs, and is "
                "asked from another one: give each loop a manager of its own, or hand runs over by sync_queue"
            )
        self._loop = loop
        self.connecting.forget()
        for channel in self._channels:
            await channel.leave_loop()
        self._end_of_loop = self._close_with(loop)
        await anext(self._end_of_loop)

    async def _close_with(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None]:
        """A loop that ends closes the generators that it has begun, and with this one our connections."""
        try:
            yield
        finally:
            if loop is self._loop:
                await self._close_channels()
