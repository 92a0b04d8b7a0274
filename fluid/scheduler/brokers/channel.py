"""One connection to the broker, and the words that go over it.

The client library's own retries are off: a command that is sent twice without our knowing is how
runs get doubled. A channel tells its caller whether the words had left when the connection broke.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

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
from fluid.scheduler.meanwhile import Work, nothing

Word = bytes | str | int | float
Connect = Callable[[], Awaitable[AbstractConnection]]

ANSWER_SECONDS = 5.0
"""How long a call may take before the peer is taken for gone, its turn and a new connection included."""

_NOT_NOW = (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    ReadOnlyError,
    TryAgainError,
)
"""Answers that say: not now, or not here; nothing was done."""

_NOT_NOW_WORDS = ("MISCONF", "NOREPLICAS", "UNBLOCKED")


class LostError(BrokerUnavailableError):
    """The connection broke; `sent` says whether the command may have been carried out."""

    how = "is away"

    def __init__(self, why: str, *, sent: bool) -> None:
        self.sent = sent
        super().__init__(why)


class FullError(LostError):
    """The server is there, but its memory is full; nothing was done."""

    how = "takes no more runs"


class MissingStreamError(BrokerError):
    """The streams or their groups have gone: the server lost its data."""


class Rider(Protocol):
    """Has something to send along, behind a call; what becomes of that is no concern of the call's."""

    def board(self) -> Sequence[Word] | None:
        """One command; None when there is nothing to send along."""

    def leave(self, answer: Any) -> None:
        """The answer to the command, perhaps an error; None when it may not have arrived."""


class _Call:
    """Commands on their way, and what became of them."""

    __slots__ = ("_meanwhile", "answers", "commands", "sent")

    def __init__(self, commands: Sequence[Sequence[Word]], meanwhile: Work) -> None:
        self.commands = commands
        self.sent = False
        self.answers: list[Any] | None = None
        self._meanwhile = meanwhile

    def let_work(self) -> None:
        """Have that done which was left for the time until the answer, once."""
        work, self._meanwhile = self._meanwhile, nothing
        work()


class Channel:
    """A connection that is made when it is needed. One exchange goes over it at a time, with all that waits.

    One that is `gathering` lets the event loop turn once before, so that calls of the same turn go together.
    """

    def __init__(self, connect: Connect, on_connect: Callable[[], None], *, gathering: bool = False) -> None:
        self._connect = connect
        self._on_connect = on_connect
        self._connection: AbstractConnection | None = None
        self._turn = asyncio.Lock()
        self._gathering = gathering
        self._waiting: list[_Call] = []
        self._answering = False
        """Words have left, and their answers are awaited."""
        self._closings = 0
        self.doubtful = False
        """The broker is lost, as another channel or an answer told: the next call makes a new connection."""
        self.client_id = 0
        """The server's id of this connection, once asked for; by it another one can end its wait."""
        self.rider: Rider | None = None
        """Goes along with every call."""

    async def call(self, *words: Word, timeout: float = ANSWER_SECONDS) -> Any:
        """One command and its answer."""
        return await self._ride([words], timeout)

    async def script(
        self,
        script: Script,
        words: Sequence[Word],
        *before: Sequence[Word],
        timeout: float = ANSWER_SECONDS,
        meanwhile: Work = nothing,
    ) -> Any:
        """A script's answer, after commands that go `before` it; `words` are its `command(...)`.

        `meanwhile` is called when they have left, or cannot leave at once: what it does costs nobody time.
        """
        try:
            return await self._ride([*before, words], timeout, meanwhile)
        except NoScriptError:
            return (await self._exchange([("EVAL", script.source, *words[2:])], timeout))[0]

    async def identify(self) -> None:
        """Ask for `client_id`, if that has not been done on this connection."""
        if not self.client_id or self._connection is None or not self._connection.is_connected:
            self.client_id = int(await self.call("CLIENT", "ID"))

    async def close(self) -> None:
        """Close the connection, also one that is only being made; the next call makes a new one."""
        self._closings += 1
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def leave_loop(self) -> None:
        """Nothing here outlives the event loop that it was made in: it will be used in another one."""
        with suppress(RuntimeError):  # the loop is closed, and took the connection along
            await self.close()
        self._turn, self._waiting, self._answering = asyncio.Lock(), [], False

    async def _ride(
        self,
        commands: Sequence[Sequence[Word]],
        timeout: float,
        meanwhile: Work = nothing,
    ) -> Any:
        """The answer to the last command; the rider comes behind it."""
        luggage = self.rider.board() if self.rider else None
        if self.rider is None or luggage is None:
            return (await self._exchange(commands, timeout, meanwhile))[-1]
        answer = None
        try:
            *answers, answer = await self._exchange(
                [*commands, luggage], timeout, meanwhile, judged=len(commands)
            )
            return answers[-1]
        finally:
            self.rider.leave(answer)

    async def _exchange(
        self,
        commands: Sequence[Sequence[Word]],
        timeout: float,
        meanwhile: Work = nothing,
        *,
        judged: int | None = None,
    ) -> list[Any]:
        """The answers; an error among the first `judged` (None: any) is raised."""
        call = _Call(commands, meanwhile)
        self._waiting.append(call)
        if self._answering or not self.ready:
            call.let_work()
        try:
            # the wait for those who came before counts: behind a silent peer nobody waits for all of them;
            # by a number for `timeout` the library would tell an expiry and a nil answer alike
            async with asyncio.timeout(timeout), self._turn:
                if not call.sent:
                    if self._gathering:
                        await asyncio.sleep(0)
                    # nothing may come between these two: the library makes a closed connection anew, unseen
                    await self._converse(await self._connected())
        except (RedisError, OSError) as error:
            raise LostError(_words(error), sent=call.sent) from error
        finally:
            if call in self._waiting:
                self._waiting.remove(call)
        if call.answers is None:
            raise LostError("its connection was broken by another call", sent=True)
        for answer in call.answers[:judged]:
            if isinstance(answer, Exception):
                self._judge(answer)
        return call.answers

    async def _converse(self, connection: AbstractConnection) -> None:
        """Send all that waits, in one piece, and read the answers."""
        calls, self._waiting = self._waiting, []
        for call in calls:
            call.sent = True
        try:
            await connection.send_packed_command(_packed(calls), check_health=False)
            self._answering = True
            for call in calls:
                call.let_work()
            for call in calls:
                call.answers = [await _read(connection) for _ in call.commands]
        except BaseException:
            # an answer may still be on its way: nothing after it could be told apart
            await self.close()
            raise
        finally:
            self._answering = False

    def _judge(self, error: Exception) -> None:
        text = str(error)
        if isinstance(error, NoScriptError):
            raise error
        if isinstance(error, OutOfMemoryError):
            raise FullError(
                "the broker's memory is full: let consumers end the runs it has, or raise its maxmemory",
                sent=False,
            ) from error
        if isinstance(error, _NOT_NOW) or text.startswith(_NOT_NOW_WORDS):
            self.doubtful = True
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
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self._turn:
                await self._connected()
        except (RedisError, OSError) as error:
            raise LostError(_words(error), sent=False) from error

    async def _connected(self) -> AbstractConnection:
        if self._connection is not None and self.ready:
            return self._connection
        await self.close()
        self.doubtful = False
        closings = self._closings
        connection = await self._connect()
        if closings != self._closings:
            await connection.disconnect(nowait=True)
            raise ConnectionError("it was closed while it was being made")
        self._connection = connection
        self.client_id = 0
        self._on_connect()
        return connection


def _packed(calls: Sequence[_Call]) -> bytes:
    return b"".join(pack_command(tuple(words)) for call in calls for words in call.commands)  # type: ignore[arg-type]


async def _read(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response(timeout=math.inf, disconnect_on_error=False)
    except (ResponseError, BusyLoadingError) as error:
        return error


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__


__all__ = ["ANSWER_SECONDS", "Channel", "FullError", "LostError", "MissingStreamError", "Word"]
