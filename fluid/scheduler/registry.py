"""Name -> Task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import ModuleType

from fluid.errors import DuplicateTaskError, UnknownTaskError
from fluid.scheduler.task import Task


class TaskRegistry(Mapping[str, Task]):
    """The tasks a consumer or a manager knows, by name, in order of registration."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._listeners: list[Callable[[Task], None]] = []

    def __getitem__(self, name: str) -> Task:
        try:
            return self._tasks[name]
        except KeyError:
            raise UnknownTaskError(name, tuple(self._tasks)) from None

    def find(self, name: str) -> Task | None:
        """The task of this name, if there is one; `get` in one step, for it is asked for every run."""
        return self._tasks.get(name)

    def __contains__(self, name: object) -> bool:
        return name in self._tasks

    def __iter__(self) -> Iterator[str]:
        # of what there is now, for the keeper's thread goes through it while the loop may register one more
        return iter(tuple(self._tasks))

    def __len__(self) -> int:
        return len(self._tasks)

    def register(self, task: Task) -> Task:
        """Add a task; the same one again is no fault, another one of its name is."""
        known = self._tasks.get(task.name)
        if known is not None and known is not task:
            raise DuplicateTaskError(
                f"two tasks are named {task.name!r}: give one of them another name, @task('...')"
            )
        if known is None:
            self._tasks[task.name] = task
            for listener in self._listeners:
                listener(task)
        return task

    def register_module(self, module: ModuleType) -> None:
        """Add every task that is an attribute of the module."""
        self.register_mapping(vars(module))

    def register_mapping(self, mapping: Mapping[str, object]) -> None:
        """Add every task among the mapping's values."""
        for value in list(mapping.values()):
            if isinstance(value, Task):
                self.register(value)

    def resolve(self, task: str | Task) -> Task:
        """The registered task of this name, or the task itself, which is registered by that."""
        return self[task] if isinstance(task, str) else self.register(task)

    def on_register(self, listener: Callable[[Task], None]) -> None:
        """Tell `listener` of every task, those already here first."""
        for task in self._tasks.values():
            listener(task)
        self._listeners.append(listener)

    def scheduled(self) -> list[Task]:
        """The tasks that have a schedule."""
        return [task for task in self._tasks.values() if task.schedule is not None]
