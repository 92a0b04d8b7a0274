"""A consumer that is watched loads what it uses: what is loaded stays in its memory for good."""

from __future__ import annotations

import asyncio
import os
import sys

from tests.bench.receivers import HEALTHY, exporting_to

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


OF_OTHERS = {"opentelemetry.exporter", "opentelemetry.proto", "google.protobuf", "requests"}
"""What others export with: several MiB in every consumer."""


async def loaded(queue_url: str, **variables: str) -> set[str]:
    """The modules of a watched consumer that has run a task."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", PROGRAM, queue_url),
        env=os.environ | variables,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    state, *modules = said.decode().strip().splitlines()[-1].split()
    assert state == "success"
    assert {"aiohttp.web", "telemetry.telemetry"} <= set(modules)
    return set(modules)


async def test_a_watched_consumer_loads_nothing_that_it_does_not_use(
    queue_url: str, no_environment: None
) -> None:
    assert not UNUSED & await loaded(queue_url)


async def test_one_that_exports_loads_an_http_client_and_nothing_else(
    queue_url: str, no_environment: None
) -> None:
    with exporting_to(HEALTHY) as variables:
        modules = await loaded(queue_url, **variables)
    assert {"urllib3", "telemetry.otlp.spans"} <= modules
    assert not (UNUSED - {"urllib3"} | OF_OTHERS) & modules
