"""The webhook at the end of the road: what Alertmanager has told, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aiohttp import web

from fluid.clock import elapsed
from fluid.testing.waiting import Watch
from tests.support.lifeline import LOOPBACK


@dataclass
class Told:
    """What was told of one alert in one scene, with whatever labels it came."""

    fired: float
    """When it was first told to fire."""
    resolved: float | None = None
    """When it was told that none is left; None while one fires."""
    open: set[str] = field(default_factory=set)
    """Those that fire, by Alertmanager's fingerprint of their labels."""
    seen: set[str] = field(default_factory=set)
    again: bool = False
    """Whether one that was over came back."""


class Hook:
    """As `async with`. An alert is of the scene that its `job` names."""

    def __init__(self) -> None:
        self.told: dict[str, dict[str, Told]] = {}
        """By scene and alert."""
        self._watch = Watch()

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port, *_ = self._runner.addresses[0]
        return f"http://{host}:{port}"

    def of(self, scene: str) -> Mapping[str, Told]:
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
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, 0).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        for alert in (await request.json())["alerts"]:
            self.take(alert["labels"], alert["fingerprint"], fires=alert["status"] == "firing")
        self._watch.changed()
        return web.Response()

    def take(self, labels: Mapping[str, str], fingerprint: str, *, fires: bool) -> None:
        """Note a notice; Alertmanager repeats what goes on."""
        now = elapsed()
        scene = self.told.setdefault(labels["job"], {})
        told = scene.setdefault(labels["alertname"], Told(now))
        if fires and fingerprint not in told.open:
            told.again = told.again or fingerprint in told.seen
            told.open.add(fingerprint)
            told.seen.add(fingerprint)
            told.resolved = None
        elif not fires and fingerprint in told.open:
            told.open.remove(fingerprint)
            told.resolved = None if told.open else now
