"""Attaching is one line, detaching leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from fluid.errors import PluginError
from fluid.plugins import PLUGIN_GROUP, Plugin
from fluid.scheduler import EVENTS, TaskConsumer
from telemetry import Telemetry, names
from telemetry.plugin import TelemetryPlugin
from tests.house.reading import ROOT
from tests.telemetry.scraping import scrape


def traces_of(host: TaskConsumer) -> dict[str, Any]:
    """Everything of a host that an attachment could change."""
    return {
        "handlers": {event: host.dispatcher.handlers_of(event) for event in EVENTS},
        "listeners": [
            list(getattr(host.broker.listeners, name)) for name in ("lost", "command", "recovered")
        ],
        "workers": host.workers,
    }


async def test_attached_before_the_start_it_counts_from_the_first_run(consumer: TaskConsumer) -> None:
    telemetry = Telemetry(port=0)
    telemetry.attach(consumer)
    async with consumer:
        await consumer.queue_and_wait("greet", timeout=10)
        await consumer.queue_and_wait("stumble", timeout=10)
        seen = await scrape(telemetry)
    assert seen.value(names.RUNS_QUEUED, task="greet", priority="medium") == 1
    assert seen.value(names.RUNS_STARTED, task="greet") == 1
    assert seen.value(names.RUNS_ENDED, task="greet", state="success") == 1
    assert seen.value(names.RUNS_ENDED, task="stumble", state="failure") == 1
    assert seen.value("fluid_run_wait_seconds_count") == 2
    assert seen.value("fluid_run_dispatch_seconds_count") == 2
    assert seen.value("fluid_run_duration_seconds_count") == 2
    assert seen.value("fluid_run_latency_seconds_count") == 2
    assert seen.value(names.BOOKS_RUNS, outcome="success") == 1


async def test_attached_to_a_running_consumer_it_serves_at_once(consumer: TaskConsumer) -> None:
    async with consumer:
        telemetry = Telemetry(port=0)
        telemetry.attach(consumer)
        await consumer.queue_and_wait("greet", timeout=10)
        assert (await scrape(telemetry)).value(names.RUNS_ENDED, task="greet", state="success") == 1


def test_one_telemetry_is_for_one_host(new_consumer: Callable[[], TaskConsumer]) -> None:
    first, second = new_consumer(), new_consumer()
    telemetry = Telemetry(server=False)
    telemetry.attach(first)
    before = traces_of(second)
    with pytest.raises(PluginError, match="attached already"):
        telemetry.attach(second)
    assert traces_of(second) == before


def test_one_host_has_one_telemetry(consumer: TaskConsumer) -> None:
    Telemetry(server=False).attach(consumer)
    before = traces_of(consumer)
    second = Telemetry(server=False)
    with pytest.raises(PluginError, match="has telemetry already"):
        second.attach(consumer)
    assert traces_of(consumer) == before
    second.detach()
    assert traces_of(consumer) == before


async def test_detached_it_leaves_nothing_behind_and_can_be_attached_again(consumer: TaskConsumer) -> None:
    before = traces_of(consumer)
    telemetry = Telemetry(port=0)
    for _ in range(2):
        telemetry.attach(consumer)
        assert traces_of(consumer) != before
        await telemetry.expose()
        telemetry.detach()
        assert traces_of(consumer) == before
    assert list(telemetry.registry.collect()) == []
    with pytest.raises(PluginError, match="attached to nothing"):
        await telemetry.expose()


async def test_detached_while_it_serves_it_serves_no_more(consumer: TaskConsumer) -> None:
    telemetry = Telemetry(port=0)
    telemetry.attach(consumer)
    async with consumer:
        server = next(worker for worker in consumer.workers if worker.worker_name == "telemetry")
        telemetry.detach()
        await server.wait_for_exit()
        assert server.error is None
        assert telemetry.url is None
        assert (await consumer.queue_and_wait("greet", timeout=10)).is_done


async def test_as_a_plugin_it_is_detached_with_the_stop(consumer: TaskConsumer) -> None:
    before = traces_of(consumer)
    plugin = TelemetryPlugin(port=0)
    consumer.add_plugin(plugin)
    async with consumer:
        assert plugin.url is not None
    assert traces_of(consumer) == before


def test_the_command_finds_it(no_environment: None) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    point = EntryPoint("telemetry", project["entry-points"][PLUGIN_GROUP]["telemetry"], PLUGIN_GROUP)
    plugin = point.load()()
    assert isinstance(plugin, TelemetryPlugin)
    assert isinstance(plugin, Plugin)


def test_what_was_registered_with_the_default_registry_of_a_program_stays_out(consumer: TaskConsumer) -> None:
    first, second = Telemetry(server=False), Telemetry(server=False)
    first.attach(consumer)
    assert first.registry is not second.registry
    program = (
        "from prometheus_client import REGISTRY; before = len(list(REGISTRY.collect()));"
        "import telemetry; telemetry.Telemetry(server=False);"
        "assert len(list(REGISTRY.collect())) == before"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_the_door_has_telemetry_and_nothing_that_it_does_not_know() -> None:
    import telemetry as door

    assert door.Telemetry is Telemetry
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = door.Nonsense
