"""The matrix: what is broken, how, which alerts come of it and no other, and when they come and go."""

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

HOG_PAUSE_SECONDS = 20.0
SHORTEST_HOG_PAUSE_SECONDS = 0.5
"""However short the rest: the process must be scraped in between."""
SCRAPE_SECONDS = 0.5
"""Between two scrapes at least, however short the rest."""
SCRAPE_WITHOUT_BROKER_SECONDS = 4.0
"""A scrape waits two seconds for a broker that is away, and more on a busy machine."""
FAIL_EVERY_SECONDS = 0.2


class Scene:
    """One fault's own queue and processes, as `async with`."""

    def __init__(
        self, fault: Fault, server: RedisServer, directory: Path, env: Mapping[str, str], scale: float
    ) -> None:
        self.queue = fault.queue
        self.server = server
        self.scrape_seconds = fault.scrape_seconds
        self.hog_pause = max(HOG_PAUSE_SECONDS * scale, SHORTEST_HOG_PAUSE_SECONDS)
        self.ports = [free_port() for _ in fault.parts]
        self.broken = True
        """Until it is mended; for what goes on meanwhile."""
        self._parts = fault.parts
        self._directory = directory
        self._url = server.queue_url(self.queue)
        self._env = {"FLUID_BROKER_URL": self._url, **env}
        self.processes = [self._process(place) for place in range(len(self._parts))]
        self.manager = TaskManager(broker_url=self._url)
        self.manager.register_from_dict({one.name: one for one in cast.TASKS})
        self._within = AsyncExitStack()
        self._going_on: list[asyncio.Task[None]] = []

    def go_on(self, what: Callable[[], Awaitable[None]]) -> None:
        """Do it from now until the end."""
        self._going_on.append(asyncio.ensure_future(what()))

    async def mend(self) -> None:
        """Take the fault back: whoever was stopped starts again, in the same place."""
        self.broken = False
        if not self.server.running:
            await asyncio.to_thread(self.server.start)
        for place, process in enumerate(self.processes):
            if process.returncode is not None:
                self.processes[place] = self._process(place)
                await self._start(self.processes[place])

    async def stop(self, *processes: PythonProcess) -> None:
        """Ask them to end, and wait until they have."""
        for process in processes:
            process.terminate()
        for process in processes:
            assert await process.wait() == 0, process.output

    async def __aenter__(self) -> Scene:
        try:
            await asyncio.gather(*map(self._start, self.processes))
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

    def _process(self, place: int) -> PythonProcess:
        port = self.ports[place]
        return PythonProcess(
            *("-m", "fluid.cli", "run", f"tests.live.cast:{self._parts[place]}"),
            output=self._directory / f"{self.queue}-{port}.log",
            env={"FLUID_TELEMETRY_PORT": str(port), **self._env},
        )

    async def _start(self, process: PythonProcess) -> None:
        await self._within.enter_async_context(process)
        await process.wait_for_line(r"^tasks ")


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
    lasts: bool = False
    """Whether it goes on longer than any alert waits, and is not taken back once its alerts are told."""
    afterwards: frozenset[str] = frozenset()
    """The alerts that come of it only when it is taken back."""
    over_within: float = 0.0
    """Seconds from then until the last alert is told to be over: mostly as long as its window is."""
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
    async def hogging() -> None:
        while scene.broken:
            await scene.manager.queue_and_wait(cast.hog, timeout=30)
            await asyncio.sleep(scene.hog_pause)

    scene.go_on(hogging)


async def poison(scene: Scene) -> None:
    """Whoever takes it is gone; the other one finds it dead."""
    await scene.manager.queue(cast.poison)


async def fail(scene: Scene) -> None:
    async def failing() -> None:
        while True:
            await scene.manager.queue(cast.fail, broken=scene.broken)
            await asyncio.sleep(FAIL_EVERY_SECONDS)

    scene.go_on(failing)


async def stop_the_scheduler(scene: Scene) -> None:
    await scene.stop(scene.processes[0])


async def drown_a_handler(scene: Scene) -> None:
    await scene.manager.queue_many(cast.flood, [{}] * cast.FLOOD)


OF_15_MINUTES = 960
"""Seconds until what happened has left a window of 15 minutes."""
AT_ONCE = 90
"""Seconds until two scrapes have shown that all is well, a new start in them."""

MATRIX = (
    Fault("nothing", leave_alone, parts=("scheduler",), lasts=True),
    Fault(
        "kill a consumer",
        kill_a_consumer,
        parts=("consumer", "consumer"),
        expected=frozenset({"FluidRunsLost", "FluidTargetDown"}),
        within=180,
        over_within=OF_15_MINUTES,
    ),
    Fault(
        "stop all",
        stop_all,
        expected=frozenset({"FluidConsumerAbsent", "FluidTargetDown"}),
        within=180,
        lasts=True,
        over_within=AT_ONCE,
    ),
    Fault(
        "stop redis",
        stop_redis,
        expected=frozenset({"FluidBrokerDown"}),
        within=120,
        lasts=True,
        over_within=AT_ONCE,
        own_server=True,
        scrape_seconds=SCRAPE_WITHOUT_BROKER_SECONDS,
    ),
    Fault(
        "hog the loop",
        hog_the_loop,
        expected=frozenset({"FluidLoopBlocked"}),
        within=420,
        over_within=360,
    ),
    Fault(
        "poison task",
        poison,
        parts=("consumer", "consumer"),
        expected=frozenset({"FluidRunsLost", "FluidDeadRunsGrow", "FluidTargetDown"}),
        within=180,
        over_within=OF_15_MINUTES,
    ),
    Fault(
        "failing task",
        fail,
        expected=frozenset({"FluidNothingSucceeds", "FluidFailureRatioHigh"}),
        within=420,
        lasts=True,
        over_within=360,
    ),
    Fault(
        "stop the scheduler",
        stop_the_scheduler,
        parts=("scheduler", "consumer"),
        expected=frozenset({"FluidScheduleLate", "FluidTargetDown"}),
        within=200,
        lasts=True,
        afterwards=frozenset({"FluidScheduleMissed"}),
        over_within=OF_15_MINUTES + AT_ONCE,
    ),
    Fault(
        "drown a handler",
        drown_a_handler,
        expected=frozenset({"FluidHandlerDrops"}),
        within=60,
        over_within=660,
    ),
)
