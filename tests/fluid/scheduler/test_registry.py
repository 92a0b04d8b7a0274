"""A registry knows tasks by name, each name once."""

from __future__ import annotations

from types import ModuleType

import pytest

from fluid.errors import DuplicateTaskError, UnknownTaskError
from fluid.scheduler.registry import TaskRegistry
from fluid.scheduler.run import TaskRun
from fluid.scheduler.schedules import every
from fluid.scheduler.task import Task, task


def make(name: str) -> Task:
    async def body(ctx: TaskRun) -> None: ...

    return task(name)(body)


def test_tasks_come_in_the_order_of_registration() -> None:
    registry = TaskRegistry()
    tasks = [registry.register(make(name)) for name in ("b", "a", "c")]
    assert list(registry) == ["b", "a", "c"]
    assert list(registry.values()) == tasks
    assert len(registry) == 3
    assert "a" in registry
    assert "d" not in registry


def test_the_same_task_again_is_no_fault_and_another_one_of_its_name_is() -> None:
    registry = TaskRegistry()
    first = registry.register(make("greet"))
    assert registry.register(first) is first
    with pytest.raises(DuplicateTaskError, match="two tasks are named 'greet'"):
        registry.register(make("greet"))
    assert registry["greet"] is first


def test_an_unknown_name_is_told_with_those_that_are_known() -> None:
    registry = TaskRegistry()
    registry.register(make("greet"))
    with pytest.raises(UnknownTaskError) as unknown:
        registry["great"]
    assert (unknown.value.name, unknown.value.known) == ("great", ("greet",))
    assert "greet" in str(unknown.value)


def test_get_answers_a_default_as_every_mapping_does() -> None:
    registry = TaskRegistry()
    assert registry.get("nobody") is None


def test_a_modules_tasks_are_registered_and_nothing_else_of_it() -> None:
    module = ModuleType("jobs")
    vars(module).update(first=make("a"), second=make("b"), number=7)
    registry = TaskRegistry()
    registry.register_module(module)
    assert list(registry) == ["a", "b"]


def test_a_task_is_resolved_by_name_and_by_itself() -> None:
    registry = TaskRegistry()
    known, new = registry.register(make("known")), make("new")
    assert registry.resolve("known") is known
    assert registry.resolve(new) is new
    assert "new" in registry


def test_listeners_hear_of_every_task_once_those_before_them_too() -> None:
    registry = TaskRegistry()
    first = registry.register(make("a"))
    heard: list[Task] = []
    registry.on_register(heard.append)
    second = registry.register(make("b"))
    registry.register(second)
    assert heard == [first, second]


def test_scheduled_tasks_are_those_with_a_schedule() -> None:
    registry = TaskRegistry()
    registry.register(make("a"))

    async def body(ctx: TaskRun) -> None: ...

    timed = registry.register(task("timed", schedule=every(60))(body))
    assert registry.scheduled() == [timed]
