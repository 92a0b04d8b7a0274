"""A worker made of a function."""

from __future__ import annotations

import random

import pytest

from fluid.workers import WorkerFunction
from tests.fluid.workers.people import Diary


def writing(diary: Diary) -> WorkerFunction:
    async def write() -> None:
        diary.write("called")

    return WorkerFunction(write)


async def test_a_function_that_never_awaits_does_not_freeze_the_loop() -> None:
    diary = Diary()
    async with writing(diary):
        await diary.wait_for("called", count=3)


async def test_it_is_called_until_asked_to_stop() -> None:
    calls: list[int] = []

    async def count() -> None:
        calls.append(len(calls))
        if len(calls) == 5:
            worker.gracefully_stop()

    worker = WorkerFunction(count)
    await worker.safe_run()
    assert calls == [0, 1, 2, 3, 4]


async def test_it_is_called_once_if_it_is_not_to_be_repeated() -> None:
    diary = Diary()

    async def write() -> None:
        diary.write("called")

    worker = WorkerFunction(write, repeat=False)
    await worker.safe_run()
    assert diary.entries == ["called"]
    assert worker.may_end
    assert not writing(diary).may_end


async def test_a_long_pause_ends_at_once_when_asked_to_stop() -> None:
    diary = Diary()

    async def write() -> None:
        diary.write("called")

    async with WorkerFunction(write, heartbeat=3600.0, stopping_grace_period=3600.0):
        await diary.wait_for("called")
    assert diary.entries == ["called"]


async def test_it_pauses_for_its_heartbeat_and_the_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float | None] = []

    class Observed(WorkerFunction):
        async def wait_for_stop(self, timeout: float | None = None) -> bool:
            pauses.append(timeout)
            self.gracefully_stop()
            return True

    async def nothing() -> None: ...

    monkeypatch.setattr(random, "uniform", lambda _, most: most / 2)
    await Observed(nothing, heartbeat=10.0, jitter=4.0).safe_run()
    assert pauses == [12.0]


async def test_what_the_function_raises_ends_the_worker() -> None:
    async def broken() -> None:
        raise ValueError("no")

    worker = WorkerFunction(broken)
    await worker.safe_run()
    assert isinstance(worker.error, ValueError)


async def test_it_is_called_like_its_function_unless_it_has_a_name() -> None:
    async def sweep() -> None: ...

    assert WorkerFunction(sweep).worker_name == "sweep"
    assert WorkerFunction(sweep, name="broom").worker_name == "broom"
