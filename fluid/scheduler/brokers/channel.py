"""One connection to the broker, and the words that go over it.

The client library's own retries are off: a command that is sent twice without our knowing is how
runs get doubled. A channel tells its caller whether the words had left when the connection broke.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any

from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from fluid.errors import BrokerError, BrokerUnavailableError
from fluid.scheduler.brokers.scripts import Script

Word = bytes | str | int | float
Connect = Callable[[], AbstractConnection]

CONNECT_SECONDS = 3.0
"""How long a connection and its greeting may take."""

ANSWER_SECONDS = 5.0
"""How long an answer may take before the peer is taken for gone."""

_NOT_NOW = (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
)
"""Answers that say: not now, or not here; nothing was done."""

_NOT_NOW_WORDS = ("MISCONF", "NOREPLICAS", "UNBLOCKED")


class LostError(BrokerUnavailableError):
    """The connection broke; `sent` says whether the command may have been carried out."""

    def __init__(self, why: str, *, sent: bool) -> None:
        self.sent = sent
        super().__init__(why)


class MissingStreamError(BrokerError):
    """The streams or their groups have gone: the server lost its data."""


class Channel:
    """A connection that is made when it is needed, used by one call at a time."""

    def __init__(self, connect: Connect, on_connect: Callable[[], None]) -> None:
        self._connect = connect
        self._on_connect = on_connect
        self._connection: AbstractConnection | None = None
        self._turn = asyncio.Lock()
        self.doubtful = False
        """Another channel has lost the broker: this one is made anew, so that one outage is told once."""
        self.client_id = 0
        """The server's id of this connection, once asked for; by it another one can end its wait."""

    async def call(self, *words: Word, timeout: float = ANSWER_SECONDS) -> Any:
        """One command and its answer."""
        return (await self._exchange([words], timeout))[0]

    async def script(
        self, script: Script, words: Sequence[Word], *before: Sequence[Word], timeout: float = ANSWER_SECONDS
    ) -> Any:
        """A script's answer, after commands that go `before` it; `words` are its `command(...)`."""
        try:
            return (await self._exchange([*before, words], timeout))[-1]
        except NoScriptError:
            return (await self._exchange([("EVAL", script.source, *words[2:])], timeout))[0]

    async def identify(self) -> None:
        """Ask for `client_id`, if that has not been done on this connection."""
        if not self.client_id or self._connection is None or not self._connection.is_connected:
            self.client_id = int(await self.call("CLIENT", "ID"))

    async def close(self) -> None:
        """Close the connection; the next call makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def _exchange(self, commands: Sequence[Sequence[Word]], timeout: float) -> list[Any]:
        async with self._turn:
            connection = await self._connected()
            packed = b"".join(pack_command(tuple(words)) for words in commands)  # type: ignore[arg-type]
            try:
                # by a number for `timeout` the library would tell an expiry and a nil answer alike
                async with asyncio.timeout(timeout):
                    await connection.send_packed_command(packed, check_health=False)
                    answers = [await _read(connection) for _ in commands]
            except (RedisError, OSError) as error:
                await self.close()
                raise LostError(_words(error), sent=True) from error
            except BaseException:
                # an answer is still on its way: nothing after it could be told apart
                await self.close()
                raise
            for answer in answers:
                if isinstance(answer, Exception):
                    await self._judge(answer)
            return answers

    async def _judge(self, error: Exception) -> None:
        text = str(error)
        if isinstance(error, NoScriptError):
            raise error
        if isinstance(error, _NOT_NOW) or text.startswith(_NOT_NOW_WORDS):
            await self.close()
            raise LostError(f"{type(error).__name__}: {text}", sent=False) from error
        if "NOGROUP" in text or "no such key" in text:
            raise MissingStreamError(text) from error
        raise BrokerError(f"the broker refused a command: {text}") from error

    @property
    def ready(self) -> bool:
        """Connected: what is sent now leaves at once."""
        return self._connection is not None and self._connection.is_connected and not self.doubtful

    async def connect(self) -> None:
        """Be `ready`; nothing is sent."""
        async with self._turn:
            await self._connected()

    async def _connected(self) -> AbstractConnection:
        if self._connection is not None and self.ready:
            return self._connection
        await self.close()
        self.doubtful = False
        try:
            connection = await asyncio.to_thread(self._connect)
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.connect()
        except (RedisError, OSError, BrokerUnavailableError) as error:
            raise LostError(_words(error), sent=False) from error
        self._connection = connection
        self.client_id = 0
        self._on_connect()
        return connection


async def _read(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response(timeout=math.inf, disconnect_on_error=False)
    except (ResponseError, BusyLoadingError) as error:
        return error


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__


__all__ = ["ANSWER_SECONDS", "Channel", "LostError", "MissingStreamError", "Word"]
