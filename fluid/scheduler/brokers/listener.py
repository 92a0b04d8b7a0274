"""The process's one subscription: which runs ended while somebody here waits, which shall be cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import defaultdict
from collections.abc import Iterator
from contextvars import Context
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from fluid.errors import BrokerError
from fluid.scheduler.broker import BrokerListeners
from fluid.scheduler.brokers.connecting import Connecting
from fluid.scheduler.brokers.link import pause_before

logger = logging.getLogger("fluid")

QUIET_SECONDS = 10.0
"""After so long without a word the peer is asked whether it is still there."""

_CANCEL = b"cancel "


class EndListener:
    """A subscription that is made when the first one waits, and made again when it breaks.

    It is only the fast way: what was said while it was broken is found by reading the record again,
    so a break wakes everybody who waits.
    """

    def __init__(self, connecting: Connecting, channel: str, listeners: BrokerListeners) -> None:
        self._connecting = connecting
        self._channel = channel
        self._listeners = listeners
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None
        self._tries = 0
        """In vain, since it was last subscribed."""

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
        """Subscribe, if that has not been done in this event loop."""
        loop = asyncio.get_running_loop()
        if self._task is None or self._task.done() or self._task.get_loop() is not loop:
            # a context of its own, for it outlives the run that happens to start it
            self._task = loop.create_task(self._listen(), name="fluid-listener", context=Context())

    async def close(self) -> None:
        """Unsubscribe."""
        task, self._task = self._task, None
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            task.cancel()
            await asyncio.wait({task})

    async def _listen(self) -> None:
        self._tries = 0
        while True:
            connection: AbstractConnection | None = None
            try:
                async with asyncio.timeout(QUIET_SECONDS):
                    connection = await self._connecting.connect()
                await connection.send_command("SUBSCRIBE", self._channel, check_health=False)
                await self._hear(connection)
            except (RedisError, OSError, BrokerError) as error:
                self._tries += 1
                if isinstance(error, ResponseError) and self._tries == 1:
                    logger.warning(
                        "ends and cancellations are heard late, for %s is refused: %s", self._channel, error
                    )
            finally:
                if connection is not None:
                    await connection.disconnect(nowait=True)
            self._wake_all()
            await asyncio.sleep(pause_before(self._tries))

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
                self._tries = 0
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
