"""What a manager stands on: settings, tasks, broker, events, plugins; and what a plugin sees of it."""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from importlib.metadata import entry_points
from inspect import isawaitable
from types import ModuleType
from typing import Any

from fluid.errors import PluginError
from fluid.plugins import Plugin
from fluid.scheduler.announcing import Announcer
from fluid.scheduler.broker import TaskBroker
from fluid.scheduler.brokers.redis import RedisBroker
from fluid.scheduler.dispatchers import TaskDispatcher
from fluid.scheduler.events import AsyncHandler
from fluid.scheduler.fleet import FleetTeller
from fluid.scheduler.interceptors import Interceptors
from fluid.scheduler.invoking import Invoker
from fluid.scheduler.moves import Rewound
from fluid.scheduler.registry import TaskRegistry
from fluid.scheduler.task import Task
from fluid.settings import TaskManagerConfig
from fluid.workers import Workers

logger = logging.getLogger("fluid")

CLI_GROUP = "fluid.cli"

FLUSH_SECONDS = 5.0
"""What a stop may take on top of the grace period: to tell outcomes and to drain handlers."""


class Host(Workers):
    """Everything of a manager but queueing and asking."""

    _may_start_broker = False

    def __init__(self, *, config: TaskManagerConfig | None = None, name: str = "", **settings: Any) -> None:
        self._config = config or TaskManagerConfig(**settings)
        super().__init__(
            name=name or self.type, stopping_grace_period=self._config.stopping_grace_period + FLUSH_SECONDS
        )
        self._name_in_fleet = new_name_in_fleet()
        self._registry = TaskRegistry()
        self._broker: TaskBroker = RedisBroker(
            self._config.broker_url,
            result_ttl=self._config.result_ttl,
            failure_ttl=self._config.failure_ttl,
            start=self._may_start_broker,
        )
        self._announcer = Announcer(stopping_grace_period=self._config.stopping_grace_period)
        self._interceptors = Interceptors(self._announcer.interceptor_failed)
        self._invoker = Invoker(task_timeout=self._config.task_timeout, interceptors=self._interceptors)
        self._plugins: list[Plugin] = []
        self._broker.listeners.lost.append(self._broker_lost)
        self._broker.listeners.recovered.append(self._broker_recovered)
        self._broker.listeners.rewound.append(self._broker_rewound)
        self.add_workers(self._announcer.handlers)
        self._fleet = self._fleet_teller() if self._config.fleet_events else None

    # -- what it is ------------------------------------------------------------------------

    @property
    def type(self) -> str:
        """`task_manager`, `task_consumer` or `task_scheduler`."""
        return "task_manager"

    @property
    def config(self) -> TaskManagerConfig:
        """The settings."""
        return self._config

    @property
    def registry(self) -> TaskRegistry:
        """The tasks known here."""
        return self._registry

    @property
    def broker(self) -> TaskBroker:
        """Where runs are kept."""
        return self._broker

    @property
    def dispatcher(self) -> TaskDispatcher:
        """Where sync handlers of events are registered; they run in line, so they must be tiny."""
        return self._announcer.dispatcher

    @property
    def interceptors(self) -> Interceptors:
        """What surrounds queueing and executing; add to it before the start."""
        return self._interceptors

    # -- tasks -----------------------------------------------------------------------------

    def register_task(self, task: Task) -> Task:
        """Make a task known here. Raises `DuplicateTaskError` when another one has its name."""
        return self._registry.register(task)

    def register_from_module(self, module: ModuleType) -> None:
        """Make every task in a module known here."""
        self._registry.register_module(module)

    def register_from_dict(self, mapping: Mapping[str, object]) -> None:
        """Make every task among the values known here, as in `register_from_dict(globals())`."""
        self._registry.register_mapping(mapping)

    def task_of(self, name: str) -> Task:
        """The registered task of this name; `UnknownTaskError` when there is none."""
        return self._registry[name]

    # -- events, plugins, command line -----------------------------------------------------

    def register_async_handler(self, event: str, handler: AsyncHandler) -> None:
        """Have `handler` told of `event`, given as `event` or `event.name`, without slowing anything down.

        Raises `UnknownEventError` or `DuplicateHandlerError`.
        """
        self._announcer.handlers.register_handler(event, handler)

    def unregister_async_handler(self, event: str) -> AsyncHandler | None:
        """Take back a registration; its handler, or None."""
        return self._announcer.handlers.unregister_handler(event)

    def handler_statistics(self) -> list[Any]:
        """What became of the events of each async handler until now."""
        return self._announcer.handlers.statistics()

    def announce(self, event: str, *, reason: str = "", facts: Mapping[str, Any]) -> None:
        """Tell an event about this host to every handler, as plugins do; in the event loop's thread."""
        self._announcer.announce(event, reason=reason, facts=facts)

    def add_plugin(self, plugin: Plugin) -> None:
        """Attach a plugin; it is detached when this has stopped."""
        plugin.attach(self)
        self._plugins.append(plugin)

    def cli(self, **kwargs: Any) -> Any:
        """The `fluid` command for this manager and its tasks, as a program's own entry point."""
        found = list(entry_points(group=CLI_GROUP, name="builder"))
        if not found:
            raise PluginError("the command line is not installed: reinstall fluid-tasks")
        return found[0].load()(self, **kwargs)

    async def on_shutdown(self) -> None:
        """Detach plugins and close connections; one step that fails keeps no other from being taken."""
        plugins, self._plugins = self._plugins, []
        await _each_of(
            self._announcer.say_the_rest,
            *(plugin.detach for plugin in reversed(plugins)),
            self._invoker.close,
            super().on_shutdown,
            *([] if self._fleet is None else [self._fleet.finish]),
            self._broker.close,
        )

    def _fleet_teller(self) -> FleetTeller:
        self._broker.fleet.keep = self._config.fleet_events
        teller = FleetTeller(self._broker.fleet, lambda: self._name_in_fleet)
        self._announcer.dispatcher.register_handler("*.fleet", teller)
        self.add_workers(teller)
        return teller

    def _broker_lost(self, error: str) -> None:
        self._announcer.announce("broker_lost", facts={"error": error})

    def _broker_recovered(self, seconds: float) -> None:
        self._announcer.announce("broker_recovered", facts={"seconds": seconds})

    def _broker_rewound(self, rewound: Rewound) -> None:
        facts = asdict(rewound)
        logger.error(
            "the broker went back in time, and forgot %(forgot)s that it had confirmed: "
            "it had accepted %(before)d runs, now %(after)d",
            facts,
            extra={"event": "broker_rewound"},
        )
        self._announcer.announce("broker_rewound", facts=facts)


def new_name_in_fleet() -> str:
    """What the fleet will know this process by."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


async def _each_of(*steps: Callable[[], Awaitable[None] | None]) -> None:
    """Take every step, whatever those before it raised; all that was raised is raised in the end."""
    errors: list[BaseException] = []
    for step in steps:
        try:
            answer = step()
            if isawaitable(answer):
                await answer
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)
    for raised in errors:
        if len(errors) == 1 or not isinstance(raised, Exception):
            raise raised
    if errors:
        raise BaseExceptionGroup("steps of the stop failed", errors)
