"""The webhook at the end of the road: what Alertmanager has told, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from aiohttp import web

from fluid.clock import elapsed
from fluid.testing.waiting import Watch
from tests.support.lifeline import LOOPBACK


class Hook:
    """As `async with`. An alert is of the scene that its `queue` names, or its `job`."""

    def __init__(self) -> None:
        self.told: dict[str, dict[str, float]] = {}
        """By scene and alert, when it was first told to fire."""
        self._watch = Watch()
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port, *_ = self._runner.addresses[0]
        return f"http://{host}:{port}"

    def of(self, scene: str) -> dict[str, float]:
        """What was told of a scene."""
        return self.told.get(scene, {})

    async def wait_until(self, holds: Callable[[], bool], seconds: float) -> None:
        """Return once it holds, or after so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                while not holds():
                    await self._watch.change()
        except TimeoutError:
            return

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, 0).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        for alert in (await request.json())["alerts"]:
            labels = alert["labels"]
            if alert["status"] == "firing":
                scene = self.told.setdefault(labels.get("queue") or labels["job"], {})
                scene.setdefault(labels["alertname"], elapsed())
        self._watch.changed()
        return web.Response()
