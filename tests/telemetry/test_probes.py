"""The truth table of health: what each probe answers over HTTP in each state of a real consumer."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fluid.clock import elapsed
from fluid.scheduler import TaskConsumer, TaskManager, TaskRun, task
from fluid.testing import Recorder
from telemetry import Telemetry
from tests.support.processes import PythonProcess
from tests.support.proxy import CuttingProxy
from tests.support.queues import OwnQueue, queue_of_its_own
from tests.support.servers import RedisServer, queue_url
from tests.support.waiting import poll
from tests.telemetry import jobs

NO_ANSWER_SECONDS = 1.0
"""How long a probe waits; while the loop is blocked it would wait for ever."""

OUTAGE = float(os.environ.get("FLUID_TEST_OUTAGE", "1"))
"""Seconds that the broker is away: `make outage` makes them five minutes."""

PROBED_EVERY = 0.1
"""Seconds between two probes while it is away."""


@dataclass(frozen=True)
class Answers:
    """What the three probes answered."""

    livez: int
    readyz: int
    startupz: int
    faults: frozenset[str] = frozenset()
    """The checks of /readyz that failed."""


TABLE = {
    "healthy": Answers(200, 200, 200),
    "claiming stopped": Answers(200, 503, 200, frozenset({"claiming"})),
    "broker down": Answers(200, 503, 200, frozenset({"broker"})),
    "draining": Answers(200, 503, 200, frozenset({"running", "claiming"})),
    "starting": Answers(200, 503, 503, frozenset({"broker", "claiming"})),
}
"""With the loop blocked there is no answer, which has a test of its own."""


class Scene:
    """A consumer with a side server behind a way to its broker that can be closed."""

    def __init__(self, proxy: CuttingProxy, queue: OwnQueue) -> None:
        self.proxy = proxy
        self.consumer = TaskConsumer(broker_url=queue_url("valkey", proxy.port, queue.name))
        self.consumer.register_from_dict(vars(jobs))
        self.telemetry = Telemetry(port=0)
        self.telemetry.attach(self.consumer)
        self.heard = Recorder()
        for event in ("consumer_started", "consumer_stopping", "broker_lost", "broker_recovered"):
            self.consumer.dispatcher.register_handler(f"{event}.test", self.heard)

    async def ask(self) -> Answers:
        """Ask all three probes."""
        codes, faults = {}, frozenset[str]()
        async with aiohttp.ClientSession(self.telemetry.url) as http:
            for probe in ("livez", "readyz", "startupz"):
                async with http.get(f"/{probe}") as answer:
                    codes[probe], told = answer.status, await answer.json()
                assert told["ok"] is (answer.status == 200)
                if probe == "readyz":
                    faults = frozenset(name for name, check in told["checks"].items() if not check["ok"])
        return Answers(**codes, faults=faults)


@pytest.fixture
async def scene(valkey_server: RedisServer, no_environment: None) -> AsyncIterator[Scene]:
    """Everything is there; the consumer has not started."""
    with queue_of_its_own(valkey_server) as queue:
        async with CuttingProxy(valkey_server.port) as proxy:
            scene = Scene(proxy, queue)
            yield scene
            await scene.consumer.shutdown()


@asynccontextmanager
async def healthy(scene: Scene) -> AsyncIterator[None]:
    async with scene.consumer:
        await scene.heard.wait_for("consumer_started")
        yield


@asynccontextmanager
async def claiming_stopped(scene: Scene) -> AsyncIterator[None]:
    async with healthy(scene):
        (claiming,) = [one for one in scene.consumer.workers if one.worker_name == "claiming"]
        scene.consumer.remove_workers(claiming)
        await claiming.wait_for_exit()
        yield


@asynccontextmanager
async def broker_down(scene: Scene) -> AsyncIterator[None]:
    async with healthy(scene):
        scene.proxy.refuse()
        await scene.heard.wait_for("broker_lost")
        yield
        await scene.proxy.accept()


@asynccontextmanager
async def draining(scene: Scene) -> AsyncIterator[None]:
    begun, go = asyncio.Event(), asyncio.Event()

    @task
    async def stay(ctx: TaskRun) -> None:
        begun.set()
        await go.wait()

    scene.consumer.register_task(stay)
    async with healthy(scene):
        await scene.consumer.queue("stay")
        await begun.wait()
        scene.consumer.gracefully_stop()
        await scene.heard.wait_for("consumer_stopping")
        yield
        go.set()


@asynccontextmanager
async def starting(scene: Scene) -> AsyncIterator[None]:
    scene.proxy.refuse()
    async with scene.consumer:
        await scene.heard.wait_for("broker_lost")
        yield
        await scene.proxy.accept()


STATES: dict[str, Callable[[Scene], AbstractAsyncContextManager[None]]] = {
    "healthy": healthy,
    "claiming stopped": claiming_stopped,
    "broker down": broker_down,
    "draining": draining,
    "starting": starting,
}


@pytest.mark.parametrize("state", TABLE)
async def test_each_probe_answers_what_the_table_says(state: str, scene: Scene) -> None:
    async with STATES[state](scene):
        assert await scene.ask() == TABLE[state]


async def test_an_answer_says_why_the_broker_is_away(scene: Scene) -> None:
    async with (
        broker_down(scene),
        aiohttp.ClientSession(scene.telemetry.url) as http,
        http.get("/readyz") as answer,
    ):
        broker = (await answer.json())["checks"]["broker"]
    assert broker["ok"] is False
    assert broker["reason"].startswith("the broker cannot be reached: ")
    assert broker["reason"].removeprefix("the broker cannot be reached: ")


@pytest.mark.timeout(60 + 2 * OUTAGE)
async def test_an_outage_of_the_broker_restarts_nothing_and_claiming_goes_on_after_it(
    scene: Scene, valkey_server: RedisServer
) -> None:
    producer = TaskManager(broker_url=valkey_server.queue_url(scene.consumer.broker.queue))
    producer.register_from_dict(vars(jobs))
    async with healthy(scene), producer:
        name = scene.consumer.consumer_name
        assert await scene.ask() == TABLE["healthy"]
        scene.proxy.refuse()
        gone = elapsed()
        await scene.heard.wait_for("broker_lost")
        run = await producer.queue("say")
        asked = 0
        while not asked or elapsed() - gone < OUTAGE:
            assert await scene.ask() == TABLE["broker down"]
            asked += 1
            await asyncio.sleep(PROBED_EVERY)
        back = elapsed()
        await scene.proxy.accept()
        await run.result(timeout=30)
        sys.stdout.write(
            f"away for {back - gone:.1f} s, probed {asked} times; "
            f"back, and {elapsed() - back:.2f} s later the run that waited had ended\n"
        )
        assert await poll(scene.ask, lambda answers: answers.readyz == 200, "readiness") == TABLE["healthy"]
        status: Any = await scene.consumer.status()
        assert {worker["restarts"] for worker in status["workers"].values() if "restarts" in worker} == {0}
        assert scene.consumer.consumer_name == name
        assert len(scene.heard.of("consumer_started")) == 1
        assert (len(scene.heard.of("broker_lost")), len(scene.heard.of("broker_recovered"))) == (1, 1)


async def test_while_the_loop_is_blocked_no_probe_answers_and_afterwards_all_do(
    valkey_server: RedisServer, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with queue_of_its_own(valkey_server) as queue:
        env = {"FLUID_BROKER_URL": queue.url, "FLUID_TELEMETRY_PORT": "0"}
        process = PythonProcess(
            "-m", "fluid.cli", "run", "tests.telemetry.jobs:consumer", output=tmp_path / "said", env=env
        )
        async with process, TaskManager(broker_url=queue.url) as manager:
            manager.register_from_dict(vars(jobs))
            url = (await process.wait_for_line(r"^telemetry +(http://\S+)"))[1]
            run = await manager.queue("block", gate=str(gate))
            await process.wait_for_line("blocking")
            for probe in ("livez", "readyz", "startupz"):
                with pytest.raises(TimeoutError):
                    await status_of(f"{url}/{probe}", NO_ANSWER_SECONDS)
            await asyncio.to_thread(gate.write_bytes, b"go")
            await run.result(timeout=30)
            for probe in ("livez", "readyz", "startupz"):
                assert await status_of(f"{url}/{probe}", 30.0) == 200


async def status_of(url: str, timeout: float) -> int:
    """The status of an answer; TimeoutError when there is none in so many seconds."""
    limit = aiohttp.ClientTimeout(total=timeout)
    async with aiohttp.ClientSession(timeout=limit) as http, http.get(url) as answer:
        return answer.status
