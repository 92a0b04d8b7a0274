"""The matrix: what is broken, how, and which alerts come of it, within which time, and no other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from fluid.scheduler import TaskManager
from tests.live import cast
from tests.support.lifeline import free_port
from tests.support.processes import PythonProcess
from tests.support.servers import RedisServer

HOGS = 4
HOG_PAUSE_SECONDS = 1.5
"""In which the process can be scraped."""
SCRAPE_SECONDS = 0.5
"""Between two scrapes at least, however short the rest."""
SCRAPE_WITHOUT_BROKER_SECONDS = 4.0
"""A scrape waits two seconds for a broker that is away, and more on a busy machine."""
FAIL_EVERY_SECONDS = 0.2


class Scene:
    """One fault's own queue and processes, as `async with`."""

    def __init__(self, fault: Fault, server: RedisServer, directory: Path, env: Mapping[str, str]) -> None:
        self.queue = fault.queue
        self.server = server
        self.scrape_seconds = fault.scrape_seconds
        self.ports = [free_port() for _ in fault.parts]
        url = server.queue_url(self.queue)
        self.processes = [
            PythonProcess(
                *("-m", "fluid.cli", "run", f"tests.live.cast:{part}"),
                output=directory / f"{self.queue}-{port}.log",
                env={"FLUID_BROKER_URL": url, "FLUID_TELEMETRY_PORT": str(port), **env},
            )
            for part, port in zip(fault.parts, self.ports, strict=True)
        ]
        self.manager = TaskManager(broker_url=url)
        self.manager.register_from_dict({one.name: one for one in cast.TASKS})
        self._within = AsyncExitStack()
        self._going_on: list[asyncio.Task[None]] = []

    def go_on(self, what: Callable[[], Awaitable[None]]) -> None:
        """Do it from now until the end."""
        self._going_on.append(asyncio.ensure_future(what()))

    async def stop(self, *processes: PythonProcess) -> None:
        """Ask them to end, and wait until they have."""
        for process in processes:
            process.terminate()
        for process in processes:
            assert await process.wait() == 0, process.output

    async def __aenter__(self) -> Scene:
        try:
            for process in self.processes:
                await self._within.enter_async_context(process)
            for process in self.processes:
                await process.wait_for_line(r"^tasks ")
            await self._within.enter_async_context(self.manager)
        except BaseException:
            await self._within.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for going_on in self._going_on:
            going_on.cancel()
        results = await asyncio.gather(*self._going_on, return_exceptions=True)
        await self._within.aclose()
        failed = [one for one in results if isinstance(one, Exception)]
        assert failed == []


@dataclass(frozen=True)
class Fault:
    """A row of the matrix."""

    name: str
    strike: Callable[[Scene], Awaitable[None]]
    parts: Sequence[str] = ("consumer",)
    """The processes of the scene, by their place in `cast`."""
    expected: frozenset[str] = frozenset()
    within: float = 0.0
    """Seconds from the strike to the last of these alerts, with the durations that are shipped."""
    own_server: bool = False
    scrape_seconds: float = SCRAPE_SECONDS

    @property
    def queue(self) -> str:
        """The queue, and what Prometheus calls the job."""
        return self.name.replace(" ", "-")


async def leave_alone(scene: Scene) -> None:
    """Nothing happens."""


async def kill_a_consumer(scene: Scene) -> None:
    """kill -9 of one of two, with a run in its hands."""
    waiting = {
        asyncio.ensure_future(process.wait_for_line("a run lingers here")): process
        for process in scene.processes
    }
    await scene.manager.queue(cast.linger)
    heard, deaf = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for one in deaf:
        one.cancel()
    await asyncio.gather(*deaf, return_exceptions=True)
    (having,) = heard
    await having
    waiting[having].kill()


async def stop_all(scene: Scene) -> None:
    await scene.stop(*scene.processes)


async def stop_redis(scene: Scene) -> None:
    await asyncio.to_thread(scene.server.stop)


async def hog_the_loop(scene: Scene) -> None:
    """Again and again."""
    for _ in range(HOGS):
        await scene.manager.queue_and_wait(cast.hog, timeout=30)
        await asyncio.sleep(HOG_PAUSE_SECONDS)


async def poison(scene: Scene) -> None:
    """Whoever takes it is gone; the other one finds it dead."""
    await scene.manager.queue(cast.poison)


async def fail(scene: Scene) -> None:
    async def failing() -> None:
        while True:
            await scene.manager.queue(cast.fail)
            await asyncio.sleep(FAIL_EVERY_SECONDS)

    scene.go_on(failing)


async def stop_the_scheduler(scene: Scene) -> None:
    await scene.stop(scene.processes[0])


async def drown_a_handler(scene: Scene) -> None:
    await scene.manager.queue_many(cast.flood, [{}] * cast.FLOOD)


MATRIX = (
    Fault("nothing", leave_alone, parts=("scheduler",)),
    Fault(
        "kill a consumer",
        kill_a_consumer,
        parts=("consumer", "consumer"),
        expected=frozenset({"FluidRunsLost", "FluidTargetDown"}),
        within=180,
    ),
    Fault("stop all", stop_all, expected=frozenset({"FluidConsumerAbsent", "FluidTargetDown"}), within=180),
    Fault(
        "stop redis",
        stop_redis,
        expected=frozenset({"FluidBrokerDown"}),
        within=120,
        own_server=True,
        scrape_seconds=SCRAPE_WITHOUT_BROKER_SECONDS,
    ),
    Fault("hog the loop", hog_the_loop, expected=frozenset({"FluidLoopBlocked"}), within=75),
    Fault(
        "poison task",
        poison,
        parts=("consumer", "consumer"),
        expected=frozenset({"FluidRunsLost", "FluidDeadRunsGrow", "FluidTargetDown"}),
        within=180,
    ),
    Fault(
        "failing task",
        fail,
        expected=frozenset({"FluidNothingSucceeds", "FluidFailureRatioHigh"}),
        within=420,
    ),
    Fault(
        "stop the scheduler",
        stop_the_scheduler,
        parts=("scheduler", "consumer"),
        expected=frozenset({"FluidScheduleLate", "FluidTargetDown"}),
        within=200,
    ),
    Fault("drown a handler", drown_a_handler, expected=frozenset({"FluidHandlerDrops"}), within=60),
)
