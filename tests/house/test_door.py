"""The public promise: its names are exactly those of the design, and each says what it means."""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType

import pytest

from tests.house.reading import assert_none, published, rooms

PROMISE = {
    "fluid.scheduler": {
        "EVENTS",
        "SLO",
        "Abort",
        "AsyncHandler",
        "Books",
        "Event",
        "FleetEvent",
        "Interceptor",
        "Plugin",
        "QueueOptions",
        "Retry",
        "RetryPolicy",
        "Snapshot",
        "Task",
        "TaskBroker",
        "TaskConsumer",
        "TaskDispatcher",
        "TaskManager",
        "TaskManagerConfig",
        "TaskPriority",
        "TaskRegistry",
        "TaskRun",
        "TaskScheduler",
        "TaskState",
        "chain",
        "crontab",
        "every",
        "group",
        "task",
    },
    "fluid.testing": {
        "ManualClock",
        "Recorder",
        "fainting",
        "losing_answers",
        "make_due",
        "run_until_idle",
    },
    "fluid.workers": {"AsyncConsumer", "QueueConsumer", "Worker", "WorkerFunction", "Workers"},
}
ROOMS = {room.name: names for room in rooms("fluid", "telemetry") if (names := published(room))}
"""The names that each room publishes."""


def public_names(module: ModuleType) -> set[str]:
    """What a reader of `dir(module)` would take for public."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and name != "annotations" and not isinstance(value, ModuleType)
    }


def is_own(value: object) -> bool:
    """Written in this house, not taken from a library."""
    return getattr(value, "__module__", "").split(".")[0] == "fluid"


def has_own_words(kind: type) -> bool:
    """A docstring written for this class: neither inherited nor made by `dataclass`."""
    words = vars(kind).get("__doc__") or ""
    return bool(words) and not words.startswith(f"{kind.__name__}(")


def wordless(name: str, value: object) -> list[str]:
    """Which parts of a public thing have no docstring: itself, and its public members."""
    if not isinstance(value, type):
        return [] if not callable(value) or not is_own(value) or inspect.getdoc(value) else [name]
    return ([] if has_own_words(value) else [name]) + [
        f"{name}.{word} ({owner.__module__})"
        for owner in value.__mro__
        if is_own(owner)
        for word, member in vars(owner).items()
        if not word.startswith("_") and is_described(member) and not inspect.getdoc(getattr(owner, word))
    ]


def is_described(member: object) -> bool:
    """A member that carries a docstring; a plain value does not."""
    return isinstance(member, property | classmethod | staticmethod) or inspect.isroutine(member)


@pytest.mark.parametrize("door", PROMISE)
def test_the_door_publishes_exactly_the_promise(door: str) -> None:
    module = importlib.import_module(door)
    assert set(module.__all__) == PROMISE[door]
    assert public_names(module) == PROMISE[door], "a name that is not promised starts with an underscore"


@pytest.mark.parametrize("door", [*PROMISE, "fluid.errors"])
def test_everything_public_has_a_docstring(door: str) -> None:
    module = importlib.import_module(door)
    assert_none(
        sorted({fault for name in ROOMS[door] for fault in wordless(name, getattr(module, name))}),
        f"Public things of {door} without a docstring.",
    )


@pytest.mark.parametrize("name", ROOMS)
def test_a_published_name_exists(name: str) -> None:
    module = importlib.import_module(name)
    missing = [word for word in ROOMS[name] if not hasattr(module, word)]
    assert_none(missing, f"{name} publishes what it does not have.")
