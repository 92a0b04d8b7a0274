"""What a plugin is, and how one is found.

A plugin watches or extends a consumer or a manager. It sees only `PluginHost`, and it is found
by the `fluid` command through the entry-point group `fluid.plugins`; that is how metrics are
served although the core has never heard of them.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Protocol, runtime_checkable

from fluid.errors import PluginError
from fluid.workers import Worker

__all__ = ["PLUGIN_GROUP", "Examiner", "Finding", "Mark", "Plugin", "PluginHost", "find_plugins"]

PLUGIN_GROUP = "fluid.plugins"


class PluginHost(Protocol):
    """What a plugin may use of the consumer or manager it is attached to."""

    @property
    def type(self) -> str:
        """`task_consumer`, `task_scheduler` or `task_manager`."""

    @property
    def config(self) -> Any:
        """The settings, a `TaskManagerConfig`."""

    @property
    def broker(self) -> Any:
        """The broker, a `TaskBroker`."""

    @property
    def registry(self) -> Any:
        """The registered tasks, a `TaskRegistry`."""

    @property
    def dispatcher(self) -> Any:
        """Where sync handlers are registered, a `TaskDispatcher`."""

    def announce(self, event: str, *, reason: str = "", facts: Mapping[str, Any]) -> None:
        """Tell an event about the host to every handler."""

    def add_workers(self, *workers: Worker) -> None:
        """Run these beside the host's own workers."""

    def remove_workers(self, *workers: Worker) -> None:
        """Stop these."""


@runtime_checkable
class Plugin(Protocol):
    """Something that can be attached to a consumer or a manager, once, and detached."""

    def attach(self, host: Any) -> None:
        """Start to listen; `host` is a `PluginHost`."""

    def detach(self) -> None:
        """Stop to listen, and leave nothing behind."""


class Mark(enum.StrEnum):
    """How a hop of the road was found."""

    fine = "fine"
    warning = "warning"
    """It works, and a person should know."""
    broken = "broken"
    skipped = "skipped"
    """It could not be looked at."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What `fluid doctor` tells of one hop of the road: how it was found, and what to do."""

    hop: str
    mark: Mark
    told: str
    advice: str = ""


@runtime_checkable
class Examiner(Protocol):
    """A plugin that knows hops of its own. It is asked as it was made, attached to nothing."""

    async def checks(self, queue: str, consumers: Sequence[str]) -> Sequence[Finding]:
        """What is found at its hops; `consumers` are the names of those alive, none when nobody can tell.

        It takes seconds at most, and what does not answer it is a finding.
        """


def find_plugins() -> Iterator[tuple[str, Callable[..., Plugin]]]:
    """Name and factory of every installed plugin, in the order of their names.

    PluginError, naming it, for one that does not load.
    """
    for point in sorted(entry_points(group=PLUGIN_GROUP), key=lambda found: found.name):
        try:
            yield point.name, point.load()
        except Exception as error:
            raise PluginError(f"plugin {point.name!r} ({point.value}) does not load: {error}") from error
