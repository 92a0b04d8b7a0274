"""`fluid run`: a consumer with its plugins, from start to stop."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

import fluid
from fluid.cli.faults import CallError
from fluid.cli.showing import remark, show_facts, show_line
from fluid.cli.signals import stopping_on_signals
from fluid.cli.target import Named, find_consumer
from fluid.collector import spare_the_collector
from fluid.plugins import Plugin, find_plugins
from fluid.scheduler import TaskConsumer, TaskScheduler

LOG_LINE = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def run(
    target: Named,
    *,
    broker_url: str | None = None,
    concurrency: int | None = None,
    host: str | None = None,
    port: int | None = None,
    plugins: bool = True,
) -> int:
    """Run the consumer until it has stopped; what it bailed out with, else 0."""
    consumer = find_consumer(target, broker_url=broker_url, concurrency=concurrency)
    place = {name: value for name, value in {"host": host, "port": port}.items() if value is not None}
    attached = _attach(consumer, dict(find_plugins()) if plugins else {}, place)
    if not logging.getLogger().handlers:
        logging.basicConfig(format=LOG_LINE, level=logging.INFO)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(consumer, attached))


def _attach(
    consumer: TaskConsumer, factories: Mapping[str, Callable[..., Plugin]], place: Mapping[str, Any]
) -> dict[str, Plugin]:
    """Make plugins and attach them; one that takes a `host` or a `port` is told it."""
    takes = {
        name: place.keys() & inspect.signature(factory).parameters for name, factory in factories.items()
    }
    if untold := place.keys() - set().union(*takes.values()):
        options = ", ".join(f"--{word}" for word in sorted(untold))
        raise CallError(f"{options}: no plugin that is attached takes it")
    attached = {}
    for name, factory in factories.items():
        attached[name] = factory(**{word: place[word] for word in takes[name]})
        consumer.add_plugin(attached[name])
    return attached


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(consumer: TaskConsumer, plugins: Mapping[str, Plugin]) -> int:
    def stop(signal: str) -> None:
        grace = consumer.config.stopping_grace_period
        consumer.gracefully_stop()
        remark(
            f"{signal}: stopping; bodies have {grace:g} s to finish, a second signal stops at once",
            sys.stdout,
        )

    with stopping_on_signals(stop):
        await consumer.start_running()
        spare_the_collector()
        _say_where_to_look(consumer, plugins)
        await consumer.wait_for_exit()
    if consumer.exit_reason:
        remark(f"Error: stopped: {consumer.exit_reason}", sys.stderr)
    elif consumer.error is not None:
        remark(f"Error: stopped: {consumer.error}", sys.stderr)
    else:
        remark("stopped", sys.stdout)
    return consumer.exit_code or int(consumer.error is not None)


def _say_where_to_look(consumer: TaskConsumer, plugins: Mapping[str, Plugin]) -> None:
    schedules = [
        f"{task.name} {task.schedule.describe()}" for task in consumer.registry.scheduled() if task.schedule
    ]
    if schedules and not isinstance(consumer, TaskScheduler):
        schedules = ["none is fired by a TaskConsumer: use a TaskScheduler"]
    slots = consumer.config.max_concurrent_tasks
    show_line(f"fluid {fluid.__version__}: {consumer.consumer_name} with {slots} slots")
    show_facts(
        {
            "queue": consumer.broker.queue,
            "broker": consumer.broker.url,
            "tasks": ", ".join(consumer.registry) or "none",
            "schedules": "; ".join(schedules),
        }
        | {name: url for name, plugin in plugins.items() if (url := getattr(plugin, "url", ""))}
    )
