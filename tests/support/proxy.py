"""A proxy in front of a Redis that loses answers, stops, refuses and counts, when a test says so."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from fluid.testing.waiting import Watch
from tests.support.lifeline import LOOPBACK, free_port
from tests.support.resp import UNASKED, Frames, command_name

Matching = bytes | Callable[[bytes], bool]
CHUNK = 1 << 16


class Traffic:
    """What passes through a proxy: what the test wants done to it, and what was seen of it."""

    def __init__(self) -> None:
        self.commands: Counter[str] = Counter()
        self.cuts = 0
        self.to_cut: list[Matching] = []
        self.alterations: dict[bytes, bytes] = {}
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.watch = Watch()

    def passed_on(self, request: bytes) -> Matching | None:
        """Count a request that went to the server; the wish to lose its answer, if there is one."""
        self.commands[command_name(request)] += 1
        self.watch.changed()
        for matching in self.to_cut:
            if matching(request) if callable(matching) else matching in request:
                self.to_cut.remove(matching)
                return matching
        return None

    def altered(self, answer: bytes) -> bytes:
        """The answer as clients get it."""
        for said, instead in self.alterations.items():
            answer = answer.replace(said, instead)
        return answer

    def cut(self) -> None:
        """Count an answer that was lost."""
        self.cuts += 1
        self.watch.changed()


class Link:
    """One client's connection, and the one to the server that belongs to it."""

    def __init__(self, traffic: Traffic, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._traffic = traffic
        self._from_client = reader
        self._writers = [writer]
        self._asked = 0
        self._answered = 0
        self._to_cut: Matching | None = None
        self._uncut = asyncio.Event()

    async def run(self, server_port: int) -> None:
        """Pass traffic both ways until either side closes, or an answer is cut."""
        try:
            await self._traffic.flowing.wait()
            from_server, to_server = await asyncio.open_connection(LOOPBACK, server_port)
            self._writers.append(to_server)
            await self._pass_until_one_way_ends(from_server)
        except OSError:
            pass  # one side is gone, which the other now learns by our closing
        finally:
            self._close()

    def abort(self) -> None:
        """Close both ends at once, without what is still on its way."""
        for writer in self._writers:
            writer.transport.abort()

    def _close(self) -> None:
        for writer in self._writers:
            writer.close()

    async def _pass_until_one_way_ends(self, from_server: asyncio.StreamReader) -> None:
        to_client, to_server = self._writers
        ways = [
            asyncio.create_task(self._pass_requests(to_server)),
            asyncio.create_task(self._pass_answers(from_server, to_client)),
        ]
        try:
            ended, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ended:
                way.result()
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pass_requests(self, to_server: asyncio.StreamWriter) -> None:
        frames = Frames()
        while data := await self._from_client.read(CHUNK):
            for request in frames.feed(data):
                await self._traffic.flowing.wait()
                to_server.write(request)
                self._asked += 1
                self._to_cut = self._traffic.passed_on(request)
                if self._to_cut is not None:
                    self._uncut.clear()
                    await self._uncut.wait()
            await to_server.drain()

    async def _pass_answers(self, from_server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        frames = Frames()
        while data := await from_server.read(CHUNK):
            for answer in frames.feed(data):
                await self._traffic.flowing.wait()
                self._answered += answer[0] not in UNASKED
                if self._to_cut is not None and self._answered == self._asked:
                    if not answer.startswith(b"-NOSCRIPT"):
                        self._close()
                        self._traffic.cut()
                        return
                    self._traffic.to_cut.append(self._to_cut)
                    self._to_cut = None
                    self._uncut.set()
                to_client.write(self._traffic.altered(answer))
            await to_client.drain()


class CuttingProxy:
    """Passes clients' traffic to a Redis port and back, until it is told otherwise.

    It runs in the test's event loop; a blocking client in another thread of the process works as well, as
    long as the loop turns. It listens on `port`, and on the unix `socket` when one is given.
    """

    def __init__(self, server_port: int, *, socket: Path | None = None) -> None:
        self.port = free_port()
        self.socket = socket
        self.connections = 0
        """How many connections clients have made so far."""
        self._server_port = server_port
        self._traffic = Traffic()
        self._listeners: list[asyncio.Server] = []
        self._links: dict[Link, asyncio.Task[None]] = {}
        self._faults: list[Exception] = []

    @property
    def commands(self) -> Counter[str]:
        """How often each command, by its upper-case name, was passed on to the server so far."""
        return self._traffic.commands

    @property
    def cuts(self) -> int:
        """How many answers were lost on purpose so far."""
        return self._traffic.cuts

    def cut_next_answer(self, matching: Matching) -> None:
        """Lose the answer to the next request that matches: the server executes it, the client can't know.

        `matching` is looked for in the whole request as it is on the wire (so give what is nowhere else, such
        as a script's hash), or asked about it. Answers to what was asked before on that connection still
        arrive; it closes in place of this one, and nothing that was asked after is passed on. A NOSCRIPT
        answer says that nothing was executed: the client gets it, and the cut waits for the next match. Not
        for a connection that has subscribed: what arrives there can't be counted as answers.
        """
        self._traffic.to_cut.append(matching)

    def alter(self, said: bytes, instead: bytes) -> None:
        """From now on whatever the server says, say `instead`, of the same length."""
        assert len(said) == len(instead), "the lengths that the protocol tells would be wrong"
        self._traffic.alterations[said] = instead

    def freeze(self) -> None:
        """Stop passing anything on, without closing; new connections are taken and meet silence."""
        self._traffic.flowing.clear()

    def thaw(self) -> None:
        """Pass everything on again, what was held up first, even that of clients who have left."""
        self._traffic.flowing.set()

    def drop_all(self) -> None:
        """Close every connection; new ones are welcome."""
        for link, task in self._links.items():
            link.abort()
            task.cancel()

    def refuse(self) -> None:
        """Close every connection and refuse new ones."""
        while self._listeners:
            self._listeners.pop().close()
        self.drop_all()

    async def accept(self) -> None:
        """Welcome connections again, on the same port."""
        if self._listeners:
            return
        self._listeners.append(await asyncio.start_server(self._connected, LOOPBACK, self.port))
        if self.socket is not None:
            self._listeners.append(await asyncio.start_unix_server(self._connected, self.socket))

    async def wait_for_cut(self, count: int = 1) -> None:
        """Wait until `count` answers have been lost since the start."""
        await self._traffic.watch.until(
            lambda: self.cuts >= count,
            lambda: f"cut number {count}: {self.cuts} made, {len(self._traffic.to_cut)} unmatched",
        )

    async def wait_for_command(self, name: str, count: int = 1) -> None:
        """Wait until a command has been passed on `count` times since the start."""
        await self._traffic.watch.until(
            lambda: self.commands[name.upper()] >= count,
            lambda: f"{name} number {count}: {dict(self.commands)} passed on",
        )

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._listeners:
            writer.transport.abort()
            return
        self.connections += 1
        link = Link(self._traffic, reader, writer)
        task = asyncio.create_task(link.run(self._server_port))
        self._links[link] = task
        task.add_done_callback(lambda task: self._disconnected(link, task))

    def _disconnected(self, link: Link, task: asyncio.Task[None]) -> None:
        del self._links[link]
        if not task.cancelled() and isinstance(fault := task.exception(), Exception):
            self._faults.append(fault)

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        links = list(self._links.values())
        self.refuse()
        await asyncio.gather(*links, return_exceptions=True)
        if self._faults:
            raise ExceptionGroup("the proxy itself went wrong", self._faults)
