"""Connections for an event loop, made without the executor that it has for everybody.

User bodies may fill that one with `asyncio.to_thread`, and the broker would be out of reach although it is
there.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from fluid.scheduler.brokers.address import Address, Endpoint
from fluid.scheduler.brokers.requirements import check_server

CONNECT_SECONDS = 3.0
"""How long connections and their greeting may take, to all addresses of a host together."""


class Connecting:
    """Finds where the broker is, in a thread of its own, and connects."""

    def __init__(self, address: Address, *, start: bool) -> None:
        self._address = address
        self._start = start
        self._thread: ThreadPoolExecutor | None = None
        self._fit = False
        """The server was asked whether runs can be kept in it."""

    async def connect(self) -> AbstractConnection:
        """A connection that was greeted, to a server that is fit: the first one asks.

        Raises `UnfitServerError`, or what stopped the last address that was tried.
        """
        connection = await self._reach()
        if not self._fit:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await check_server(connection, self._address.masked)
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            self._fit = True
        return connection

    async def _reach(self) -> AbstractConnection:
        endpoints = await asyncio.get_running_loop().run_in_executor(self._own_thread(), self._find)
        for endpoint in endpoints[:-1]:
            try:
                return await _connected(endpoint, CONNECT_SECONDS / len(endpoints))
            except (RedisError, OSError):
                continue
        return await _connected(endpoints[-1], CONNECT_SECONDS / len(endpoints))

    def forget(self) -> None:
        """Leave the thread: a process that was forked has none, and one may hang in a lookup."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown(wait=False, cancel_futures=True)

    async def close(self) -> None:
        """Stop the embedded server if it was started here."""
        await asyncio.get_running_loop().run_in_executor(self._own_thread(), self._address.close)
        self.forget()

    def _own_thread(self) -> ThreadPoolExecutor:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fluid-connecting")
        return self._thread

    def _find(self) -> list[Endpoint]:
        return self._address.resolve(start=self._start).addresses()


async def _connected(endpoint: Endpoint, seconds: float) -> AbstractConnection:
    connection = endpoint.connection(socket_timeout=None)
    try:
        async with asyncio.timeout(seconds):
            await connection.connect()
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    return connection
