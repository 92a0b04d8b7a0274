"""The processes of the fleet: started, broken, started again, and every one of their lives kept."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fluid.clock import elapsed
from tests.chaos.harness.orders import Orders
from tests.support.processes import PythonProcess

LONGEST_STOP = 30.0
"""Seconds after which a process that was asked to stop hangs."""
LOOK_SECONDS = 0.05
LAST_WORDS = 4000


@dataclass(slots=True)
class Life:
    """One process of an actor, from start to end."""

    actor: str
    pid: int
    told_to_stop: float | None = None
    killed: bool = False
    hung: bool = False
    returncode: int | None = None
    stopped_in: float | None = None
    """Seconds from SIGTERM to its end."""
    last_words: str = ""


class Actor:
    """A place in the fleet that is always filled, until `leave`: what dies is started again."""

    def __init__(self, orders: Orders, directory: Path) -> None:
        self.orders = orders
        self.lives: list[Life] = []
        self.lock = asyncio.Lock()
        """One fault at a time."""
        self._output = directory / f"{orders.name}.log"
        self._process: PythonProcess | None = None
        self._rest = 0.0
        self._leaving = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self.orders.name

    @property
    def life(self) -> Life:
        """The present one, or the last."""
        return self.lives[-1]

    def enter(self) -> None:
        """Start it, and keep it up."""
        self._watching = asyncio.create_task(self._keep_up(), name=self.name)

    async def leave(self) -> None:
        """Ask it to stop, for good."""
        self._leaving.set()
        self.stop()
        if self._watching is not None:
            await self._watching

    # -- what can be done to it ------------------------------------------------------------

    def kill(self, rest: float = 0.0) -> None:
        """kill -9; it is started again after `rest` seconds."""
        self._rest = rest
        if self.signal(signal.SIGKILL):
            self.life.killed = True

    def stop(self, rest: float = 0.0) -> None:
        """SIGTERM; it is started again `rest` seconds after its end."""
        self._rest = rest
        if self.lives and self.life.told_to_stop is None and self.signal(signal.SIGTERM):
            self.life.told_to_stop = elapsed()

    def signal(self, number: signal.Signals) -> bool:
        """Send it a signal; whether there was a process to take it."""
        if self._process is None or self._process.returncode is not None:
            return False
        os.kill(self._process.pid, number)
        return True

    # -- keeping it up ---------------------------------------------------------------------

    async def _keep_up(self) -> None:
        while not self._leaving.is_set():
            await self._live()
            rest, self._rest = self._rest, 0.0
            with suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), rest)

    async def _live(self) -> None:
        seed = self.orders.seed + len(self.lives)
        orders = msgspec.json.encode(msgspec.structs.replace(self.orders, seed=seed)).decode()
        async with PythonProcess("-m", "tests.chaos.harness", orders, output=self._output) as process:
            self._process = process
            life = Life(self.name, process.pid)
            self.lives.append(life)
            if self._leaving.is_set():
                self.stop()
            while process.returncode is None:
                await asyncio.sleep(LOOK_SECONDS)
                await self._end_what_hangs(life)
            life.returncode = process.returncode
            if life.told_to_stop is not None:
                life.stopped_in = elapsed() - life.told_to_stop
        if life.hung or life.returncode not in (0, -signal.SIGKILL):
            life.last_words = process.output[-LAST_WORDS:]

    async def _end_what_hangs(self, life: Life) -> None:
        if life.hung or life.told_to_stop is None or elapsed() - life.told_to_stop < LONGEST_STOP:
            return
        life.hung = True
        self.signal(signal.SIGUSR1)  # it says where it hangs
        await asyncio.sleep(1.0)
        self.kill()
