"""A consumer that is watched loads what it uses: what is loaded stays in its memory for good."""

from __future__ import annotations

import asyncio
import os
import sys

PROGRAM = """
import asyncio, sys
from fluid.collector import spare_the_collector
from fluid.scheduler import TaskConsumer
from telemetry import Telemetry, logs
from tests.telemetry.conftest import greet

async def main(url):
    logs.configure(format="json")
    consumer = TaskConsumer(broker_url=url)
    consumer.register_task(greet)
    telemetry = Telemetry(port=0)
    telemetry.attach(consumer)
    async with consumer:
        spare_the_collector()
        run = await consumer.queue_and_wait(greet, timeout=30)
        await telemetry.expose()
    print(run.state, *sys.modules)

asyncio.run(main(sys.argv[1]))
"""

UNUSED = {
    "fluid.cli",
    "typer",
    "apprise",
    "pebble",
    "grpc",
    "opentelemetry.exporter",
    "google.protobuf",
    "requests",
    "urllib3",
}
"""Of the command line, of settings files, of CPU-bound bodies, of channels and exporters nobody asked for."""


async def test_a_watched_consumer_loads_nothing_that_it_does_not_use(
    queue_url: str, no_environment: None
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", PROGRAM, queue_url),
        env=os.environ,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    state, *loaded = said.decode().strip().splitlines()[-1].split()
    assert state == "success"
    assert {"aiohttp.web", "telemetry.telemetry"} <= set(loaded)
    assert not UNUSED & set(loaded)
