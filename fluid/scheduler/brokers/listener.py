"""The process's one subscription: which runs ended while somebody here waits, which shall be cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import defaultdict
from collections.abc import Iterator
from contextvars import Context
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from fluid.errors import BrokerError
from fluid.scheduler.broker import BrokerListeners
from fluid.scheduler.brokers.address import Address
from fluid.scheduler.brokers.link import pause_before

QUIET_SECONDS = 10.0
"""After so long without a word the peer is asked whether it is still there."""

_CANCEL = b"cancel "


class EndListener:
    """A subscription that is made when the first one waits, and made again when it breaks.

    It is only the fast way: what was said while it was broken is found by reading the record again,
    so a break wakes everybody who waits.
    """

    def __init__(self, address: Address, channel: str, listeners: BrokerListeners, *, start: bool) -> None:
        self._address = address
        self._channel = channel
        self._listeners = listeners
        self._start_server = start
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def expect(self, run_id: str) -> Iterator[asyncio.Event]:
        """An event that is set when the run may have ended; registered before its record is read."""
        self.start()
        told = asyncio.Event()
        self._waiting[run_id].add(told)
        try:
            yield told
        finally:
            self._waiting[run_id].discard(told)
            if not self._waiting[run_id]:
                del self._waiting[run_id]

    def start(self) -> None:
        """Subscribe, if that has not been done."""
        if self._task is None or self._task.done():
            # a context of its own, for it outlives the run that happens to start it
            self._task = asyncio.get_running_loop().create_task(
                self._listen(), name="fluid-listener", context=Context()
            )

    async def close(self) -> None:
        """Unsubscribe."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _listen(self) -> None:
        tries = 0
        while True:
            connection: AbstractConnection | None = None
            try:
                endpoint = await asyncio.to_thread(self._address.resolve, start=self._start_server)
                connection = endpoint.connection(socket_timeout=None)
                async with asyncio.timeout(QUIET_SECONDS):
                    await connection.connect()
                await connection.send_command("SUBSCRIBE", self._channel, check_health=False)
                tries = 0
                await self._hear(connection)
            except (RedisError, OSError, BrokerError):
                tries += 1
            finally:
                if connection is not None:
                    await connection.disconnect(nowait=True)
            self._wake_all()
            await asyncio.sleep(pause_before(tries))

    async def _hear(self, connection: AbstractConnection) -> None:
        asked = False
        while True:
            try:
                async with asyncio.timeout(QUIET_SECONDS):
                    word = await connection.read_response(timeout=math.inf, disconnect_on_error=False)
            except TimeoutError:
                if asked:
                    raise
                asked = True
                await connection.send_command("PING", check_health=False)
                continue
            asked = False
            if word[0] == b"subscribe":
                # what ended before this moment was said to nobody
                self._wake_all()
            elif word[0] == b"message":
                self._told(word[2])

    def _told(self, word: Any) -> None:
        if word.startswith(_CANCEL):
            for listener in self._listeners.cancel:
                listener(word.removeprefix(_CANCEL).decode())
        else:
            for told in self._waiting.get(word.decode(), ()):
                told.set()

    def _wake_all(self) -> None:
        for waiting in self._waiting.values():
            for told in waiting:
                told.set()
