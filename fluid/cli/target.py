"""Finds the manager that a command is about: by `module:consumer`, by a broker URL, or as it is handed in."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from pathlib import Path
from traceback import FrameSummary
from types import ModuleType
from typing import Any

from fluid.cli.faults import CallError
from fluid.errors import FluidError
from fluid.scheduler import TaskConsumer, TaskManager
from fluid.tracebacks import frames_of

Named = str | TaskManager
"""What a command was given to find its manager by."""


def find_manager(
    target: Named, *, broker_url: str | None = None, concurrency: int | None = None
) -> TaskManager:
    """The manager (perhaps a consumer) at `module:name`: an instance, or what a function there makes.

    What is given besides is what it shall be configured with. Raises `CallError`.
    """
    if isinstance(target, TaskManager):
        return target
    settings = {"broker_url": broker_url, "max_concurrent_tasks": concurrency}
    given = {name: value for name, value in settings.items() if value is not None}
    # a consumer is made while its module is imported, so this is how it can be told
    os.environ.update({f"FLUID_{name.upper()}": str(value) for name, value in given.items()})
    manager = _made(target, _attribute(target))
    for name, value in given.items():
        if getattr(manager.config, name) != value:
            raise CallError(
                f"{target} is made with a {name} of its own, which wins over the command line: "
                "leave it out there"
            )
    return manager


def find_consumer(
    target: Named, *, broker_url: str | None = None, concurrency: int | None = None
) -> TaskConsumer:
    """The consumer at `module:name`. Raises `CallError`, also for a mere manager."""
    found = find_manager(target, broker_url=broker_url, concurrency=concurrency)
    if not isinstance(found, TaskConsumer):
        name = target if isinstance(target, str) else "this"
        raise CallError(f"{name} is {_kind(found)}, which only queues; a TaskConsumer can run")
    return found


def find_queue(target: Named | None, *, broker_url: str | None = None) -> TaskManager:
    """A manager to ask a queue with: the target's, or the one at the URL."""
    if target is not None:
        return producer_of(find_manager(target, broker_url=broker_url))
    return TaskManager() if broker_url is None else TaskManager(broker_url=broker_url)


def producer_of(manager: TaskManager) -> TaskManager:
    """A manager that knows the same tasks and only queues: it never starts a broker to queue into."""
    producer = TaskManager(config=manager.config)
    for task in manager.registry.values():
        producer.register_task(task)
    producer.interceptors.extend(manager.interceptors)
    return producer


def _attribute(target: str) -> Any:
    module_name, _, path = target.partition(":")
    if not module_name or not path:
        raise CallError(f"{target!r} does not say where a consumer is: write module:consumer")
    module = found = _module(module_name)
    for name in path.split("."):
        if not hasattr(found, name):
            raise CallError(f"module {module_name!r} has no {path!r}{_instead(module)}")
        found = getattr(found, name)
    return found


def _module(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except FluidError as error:
        raise CallError(_told_of_ours(error)) from error
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{name}.".startswith(f"{missing}."):
            raise CallError(f"there is no module {missing!r}, neither installed nor in {here}") from None
        raise CallError(f"module {name!r} cannot be imported: {_told(error)}") from error


def _made(target: str, found: Any) -> TaskManager:
    if callable(found):
        found = _call(target, found)
    if not isinstance(found, TaskManager):
        raise CallError(f"{target} is {_kind(found)}, not a TaskConsumer, nor a function that makes one")
    return found


def _call(target: str, factory: Any) -> Any:
    if inspect.iscoroutinefunction(factory):
        raise CallError(f"{target} is an async function: only a plain one can make a consumer")
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise CallError(f"{target} is {_kind(factory)} that cannot be called as it is: {error}") from None
    try:
        return factory()
    except FluidError as error:
        raise CallError(_told_of_ours(error)) from error
    except Exception as error:
        raise CallError(f"{target} made no consumer: {_told(error)}") from error


def _told(error: Exception) -> str:
    """What was raised in the user's code, and a line for each place there that it came through."""
    # of a syntax error, the place is told in full below
    words = error.msg if isinstance(error, SyntaxError) else str(error)
    return "\n".join([f"{type(error).__name__}: {words}", *map(_place, frames_of(error))])


def _told_of_ours(error: FluidError) -> str:
    """What we found wrong with the user's code, which says it all, and the place there."""
    # what was generated, such as the constructor of a dataclass, has no lines to show
    places = [frame for frame in frames_of(error) if frame.line]
    return "\n".join([str(error), *map(_place, places[-1:])])


def _place(frame: FrameSummary) -> str:
    path, here = Path(frame.filename), Path.cwd()
    shown = path.relative_to(here) if path.is_relative_to(here) else path
    return f"  {shown}:{frame.lineno}: {(frame.line or '').strip()}"


def _instead(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, TaskManager)]
    return f"; it has {', '.join(names)}" if names else ""


def _kind(thing: Any) -> str:
    if inspect.isroutine(thing) or inspect.isclass(thing):
        return f"a {'class' if inspect.isclass(thing) else 'function'}"
    return f"of type {type(thing).__name__}"
