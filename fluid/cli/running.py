"""`fluid run`: a consumer with its plugins, from start to stop."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable
from typing import Any

import fluid
from fluid.cli.faults import CallError
from fluid.cli.showing import complain, show_facts, show_line
from fluid.cli.signals import stopping_on_signals
from fluid.cli.target import Named, find_consumer
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
    attached = _attach(consumer, place) if plugins else {}
    if not logging.getLogger().handlers:
        logging.basicConfig(format=LOG_LINE, level=logging.INFO)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(consumer, attached))


def _attach(consumer: TaskConsumer, place: dict[str, Any]) -> dict[str, Plugin]:
    """Attach every installed plugin; those that serve somewhere take `host` and `port`, and are told."""
    attached: dict[str, Plugin] = {}
    told: set[str] = set()
    for name, factory in find_plugins():
        wanted = {word: value for word, value in place.items() if word in _words(factory)}
        told.update(wanted)
        attached[name] = factory(**wanted)
        consumer.add_plugin(attached[name])
    if untold := [f"--{word}" for word in place if word not in told]:
        raise CallError(f"{', '.join(untold)}: no plugin that is installed serves anywhere")
    return attached


def _words(factory: Callable[..., Plugin]) -> Iterable[str]:
    return inspect.signature(factory).parameters


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(consumer: TaskConsumer, plugins: dict[str, Plugin]) -> int:
    def stop(signal: str) -> None:
        grace = consumer.config.stopping_grace_period
        show_line(f"{signal}: stopping; bodies have {grace:g} s to finish, a second signal stops at once")
        consumer.gracefully_stop()

    with stopping_on_signals(stop):
        await consumer.start_running()
        _say_where_to_look(consumer, plugins)
        await consumer.wait_for_exit()
    if consumer.exit_reason:
        complain(f"stopped: {consumer.exit_reason}")
    elif consumer.error is not None:
        complain(f"stopped: {consumer.error}")
    else:
        show_line("stopped")
    return consumer.exit_code or int(consumer.error is not None)


def _say_where_to_look(consumer: TaskConsumer, plugins: dict[str, Plugin]) -> None:
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
