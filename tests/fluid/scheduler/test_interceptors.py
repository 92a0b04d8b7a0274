"""Interceptors surround the work, and harm none of it, whatever they do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from fluid.scheduler import Interceptor, TaskRun, TaskState, task
from fluid.scheduler.interceptors import Interceptors, around_executing, around_queueing
from tests.fluid.scheduler.consuming import consuming


class Notes:
    """Writes down when it is entered and left, and raises where it is told to."""

    def __init__(
        self, name: str, notes: list[str], raises: str = "", error: BaseException | None = None
    ) -> None:
        self._name = name
        self._notes = notes
        self._raises = raises
        self._error = error or RuntimeError("no trace today")

    @contextmanager
    def _around(self, what: str) -> Iterator[None]:
        if self._raises == f"into {what}":
            raise self._error
        self._notes.append(f"{self._name} into {what}")
        try:
            yield
        finally:
            self._notes.append(f"{self._name} out of {what}")
            if self._raises == f"out of {what}":
                raise self._error

    def queueing(self, runs: Sequence[TaskRun[Any]]) -> Any:
        return self._around("queueing")

    def executing(self, run: TaskRun[Any]) -> Any:
        return self._around("executing")


class Swallows(Notes):
    @contextmanager
    def _around(self, what: str) -> Iterator[None]:
        try:
            yield
        except ValueError:
            self._notes.append("swallowed")


@task
async def body(ctx: TaskRun) -> str:
    if ctx.params.get("broken"):
        raise ValueError("broken")
    return "done"


@pytest.mark.parametrize("broken", [False, True], ids=["returns", "raises"])
@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("no trace today"),
        asyncio.CancelledError("no trace today"),
        SystemExit("no trace today"),
        GeneratorExit("no trace today"),
    ],
    ids=["error", "cancel", "exit", "close"],
)
@pytest.mark.parametrize("raises", ["into queueing", "out of queueing", "into executing", "out of executing"])
async def test_one_that_raises_is_told_of_and_the_others_surround_the_work_all_the_same(
    broker_url: str, raises: str, error: BaseException, broken: bool
) -> None:
    notes: list[str] = []
    async with consuming(broker_url, body) as (consumer, heard):
        consumer.interceptors.append(Notes("outer", notes))
        consumer.interceptors.append(Notes("middle", notes, raises, error))
        consumer.interceptors.append(Notes("inner", notes))
        run = await consumer.queue_and_wait(body, timeout=10, broken=broken)
        told = (await heard.wait_for("handler_failed")).facts
        assert len(heard.of("handler_failed")) == 1
    assert run.state is (TaskState.failure if broken else TaskState.success)
    assert run.error == ("ValueError: broken" if broken else "")
    assert (told["event"], told["handler"]) == (raises.split()[-1], "Notes")
    assert "no trace today" in told["error"]
    for what in ("queueing", "executing"):
        around = [note for note in notes if note.endswith(what) and "middle" not in note]
        assert around == [
            f"outer into {what}",
            f"inner into {what}",
            f"inner out of {what}",
            f"outer out of {what}",
        ]


async def test_one_that_swallows_what_the_body_raises_does_not_make_it_a_success(broker_url: str) -> None:
    notes: list[str] = []
    async with consuming(broker_url, body) as (consumer, _):
        consumer.interceptors.append(Swallows("only", notes))
        run = await consumer.queue_and_wait(body, timeout=10, broken=True)
    assert (run.state, notes) == (TaskState.failure, ["swallowed"])


@pytest.mark.parametrize(
    ("raises", "left"),
    [
        ("into executing", ["outer into executing", "outer out of executing"]),
        (
            "out of executing",
            [
                "outer into executing",
                "inner into executing",
                "inner out of executing",
                "outer out of executing",
            ],
        ),
    ],
)
def test_the_others_are_left_when_one_ends_the_process(raises: str, left: list[str]) -> None:
    notes: list[str] = []
    troubles: list[str] = []
    interceptors = Interceptors(lambda *trouble: troubles.append(trouble[0]))
    interceptors.append(Notes("outer", notes))
    interceptors.append(Notes("inner", notes, raises, KeyboardInterrupt()))
    run: TaskRun = TaskRun(id="run", name="body", params={})
    with pytest.raises(KeyboardInterrupt), around_executing(interceptors, run):
        pass
    assert notes == left
    assert troubles == []


class Absent(Notes):
    def executing(self, run: TaskRun[Any]) -> None:
        self._notes.append(f"{self._name} asked")


def test_one_that_has_nothing_to_surround_is_passed_over() -> None:
    notes: list[str] = []
    troubles: list[str] = []
    interceptors = Interceptors(lambda *trouble: troubles.append(trouble[0]))
    interceptors.extend([Notes("outer", notes), Absent("absent", notes), Notes("inner", notes)])
    run: TaskRun = TaskRun(id="run", name="body", params={})
    with around_executing(interceptors, run):
        notes.append("body")
    inside = ["outer into executing", "absent asked", "inner into executing", "body"]
    assert notes == [*inside, "inner out of executing", "outer out of executing"]
    assert troubles == []


class OnlyQueueing(Interceptor):
    def __init__(self, notes: list[str]) -> None:
        self._notes = notes

    def queueing(self, runs: Sequence[TaskRun[Any]]) -> None:
        self._notes.append("asked")


def test_one_that_inherits_a_method_is_not_asked_there() -> None:
    notes: list[str] = []
    only = OnlyQueueing(notes)
    interceptors = Interceptors(lambda *_: None)
    interceptors.append(only)
    run: TaskRun = TaskRun(id="run", name="body", params={})
    assert interceptors.executing == ()
    with around_executing(interceptors, run):
        assert notes == []
    with around_queueing(interceptors, [run]):
        assert notes == ["asked"]
    interceptors.remove(only)
    with around_queueing(interceptors, [run]):
        assert (notes, list(interceptors)) == (["asked"], [])
