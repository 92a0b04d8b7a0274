"""Every event a test heard, in order, and a way to wait for the next."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import msgspec

from fluid.errors import UnknownEventError
from fluid.scheduler import EVENTS, Event, Task, TaskManager, TaskRun
from fluid.testing.waiting import PATIENCE, Watch

MOST_SHOWN = 50
"""Events that a failure lists, the newest ones."""


class Recorder:
    """Keeps what managers and consumers announce, each event with its run as it was then.

    It is a sync handler, so nothing can be missed between an event and the next line of a test. It can
    also be registered for single events: `manager.dispatcher.register_handler("end.mine", recorder)`.
    """

    def __init__(self, *managers: TaskManager) -> None:
        self.events: list[Event] = []
        self._watch = Watch()
        for manager in managers:
            self.listen_to(manager)

    def listen_to(self, manager: TaskManager) -> None:
        """Hear all that a manager or consumer announces from now on."""
        manager.dispatcher.register_handler(self._registration, self)

    def leave(self, manager: TaskManager) -> None:
        """Hear no more of it."""
        manager.dispatcher.unregister_handler(self._registration)

    def __call__(self, event: Event) -> None:
        """Take an event."""
        if event.run is not None:
            event = msgspec.structs.replace(event, run=event.run.snapshot())
        self.events.append(event)
        self._watch.changed()

    def of(
        self, event: str, run: TaskRun[Any] | str | None = None, *, task: Task | str | None = None
    ) -> list[Event]:
        """The events of this name, in the order they came; of one run, or of one task's runs.

        Raises `UnknownEventError`.
        """
        _check(event)
        run_id, name = _id_of(run), task.name if isinstance(task, Task) else task
        return [
            one
            for one in self.events
            if one.name == event
            and (run_id is None or (one.run is not None and one.run.id == run_id))
            and (name is None or (one.run is not None and one.run.name == name))
        ]

    def names(self, run: TaskRun[Any] | str) -> list[str]:
        """What was announced of a run, in the order it came."""
        return [one.name for one in self.events if one.run is not None and one.run.id == _id_of(run)]

    async def wait_for(
        self,
        event: str,
        run: TaskRun[Any] | str | None = None,
        *,
        task: Task | str | None = None,
        count: int = 1,
        timeout: float = PATIENCE,
    ) -> Event:
        """The `count`th such event (see `of`), once it has come; what came before counts as well.

        AssertionError, which lists what came, after `timeout` seconds. Raises `UnknownEventError`.
        """

        def wanted() -> str:
            number = "" if count == 1 else f" number {count}"
            of_run = "" if run is None else f" of run {_id_of(run)}"
            of_task = "" if task is None else f" of task {task.name if isinstance(task, Task) else task!r}"
            return f"{event!r}{number}{of_run}{of_task}; {self.account()}"

        await self._watch.until(lambda: len(self.of(event, run, task=task)) >= count, wanted, timeout=timeout)
        return self.of(event, run, task=task)[count - 1]

    async def wait_for_change(self) -> None:
        """Until the next event, whatever it is."""
        await self._watch.change()

    def account(self) -> str:
        """What came, a line for each event."""
        if not self.events:
            return "nothing came"
        left_out = len(self.events) - MOST_SHOWN
        lines = [f"({left_out} before these)"] if left_out > 0 else []
        lines += [_line(event) for event in self.events[-MOST_SHOWN:]]
        return "\n  ".join(["came:", *lines])

    @property
    def _registration(self) -> str:
        return f"*.recorder-{id(self):x}"


def _id_of(run: TaskRun[Any] | str | None) -> str | None:
    return run.id if isinstance(run, TaskRun) else run


def _line(event: Event) -> str:
    run = event.run
    words = [event.name]
    if run is not None:
        words += [run.name, run.id]
    if event.reason:
        words.append(f"({event.reason})")
    if run is not None and run.error:
        words.append(run.error)
    words += [f"{name}={value!r}" for name, value in event.facts.items()]
    return " ".join(words)


def _check(event: str) -> None:
    if event not in EVENTS:
        near = get_close_matches(event, EVENTS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(EVENTS))}"
        raise UnknownEventError(f"no event {event!r} is ever announced: {hint}")
