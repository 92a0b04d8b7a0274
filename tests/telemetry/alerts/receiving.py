"""A receiver of notices on loopback, which takes them, refuses them or hangs, as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self

from aiohttp import web

from fluid.testing.waiting import Watch
from tests.support.lifeline import LOOPBACK

Manner = Literal["take", "refuse", "fail", "hang", "redirect", "echo"]


class Receiver:
    """As `async with`: keeps the JSON of all that it was sent, whatever it answers."""

    def __init__(self, manner: Manner = "take") -> None:
        self.manner: Manner = manner
        self.received: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self._watch = Watch()
        self._runner: web.ServerRunner | None = None
        self._leaving = asyncio.Event()

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._runner is not None
        host, port, *_ = self._runner.addresses[0]
        return f"http://{host}:{port}"

    @property
    def statuses(self) -> list[str]:
        """Why each notice was sent, in the order they came."""
        return [one["status"] for one in self.received]

    async def wait_for(self, count: int) -> list[dict[str, Any]]:
        """All that was received, once that is so many."""
        return await self.wait_until(lambda: len(self.received) >= count)

    async def wait_until(self, holds: Callable[[], bool]) -> list[dict[str, Any]]:
        """All that was received, once this holds."""
        await self._watch.until(holds, lambda: f"notices; received: {self.received}")
        return self.received

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, 0).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        assert self._runner is not None
        await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.paths.append(request.path)
        self.headers.append(dict(request.headers))
        self.received.append(await request.json() if request.can_read_body else {})
        self._watch.changed()
        match self.manner:
            case "hang":
                await self._leaving.wait()
            case "refuse":
                return web.Response(status=403, text="no")
            case "fail":
                return web.Response(status=500, text="broken")
            case "redirect":
                return web.Response(status=302, headers={"Location": "/elsewhere"})
            case "echo":
                return web.Response(status=400, text=f"no such hook: {request.path_qs}")
        return web.Response(text="ok")
