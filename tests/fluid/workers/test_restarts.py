"""A worker that is not critical is started again when it raises."""

from __future__ import annotations

import asyncio

import pytest

from fluid.breaker import Backoff
from fluid.testing import ManualClock
from fluid.workers import WorkerFunction, Workers
from fluid.workers import supervisor as supervising
from tests.fluid.workers.people import Diary, Diligent, Failing, Unstartable


class Pauses:
    """Stands in for the pauses between restarts: writes down their seconds, and lets them pass at once."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, stop: asyncio.Event, seconds: float) -> bool:
        self.seconds.append(seconds)
        await asyncio.sleep(0)
        return stop.is_set()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    pauses = Pauses()
    monkeypatch.setattr(supervising, "set_within", pauses)
    return pauses


async def fail(worker: Failing, times: int) -> None:
    """Have it raise so many times, and wait until it runs again after each."""
    for _ in range(times):
        lives = worker.diary.entries.count("failing run")
        worker.fail()
        await worker.diary.wait_for("failing run", count=lives + 1)


async def test_it_is_started_again_and_counted_and_the_group_runs_on(pauses: Pauses) -> None:
    failing, other = Failing(critical=False), Diligent("other")
    async with Workers(failing, other) as group:
        await fail(failing, times=3)
        assert failing.running
        assert group.restarts == 3
        status = await group.status()
        assert isinstance(status["failing"], dict)
        assert status["failing"]["restarts"] == 3
    assert group.exit_code == 0
    assert other.diary.entries == ["other startup", "other run", "other stop", "other shutdown"]


async def test_each_life_is_a_whole_one(pauses: Pauses) -> None:
    failing = Failing(critical=False)
    async with Workers(failing):
        await fail(failing, times=1)
    assert failing.diary.entries[:5] == [
        *("failing startup", "failing run", "failing shutdown"),
        *("failing startup", "failing run"),
    ]


async def test_the_pauses_double_up_to_the_longest(pauses: Pauses) -> None:
    failing = Failing(critical=False)
    async with Workers(failing, clock=ManualClock()):
        await fail(failing, times=11)
    assert pauses.seconds == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]


async def test_the_pauses_are_short_again_after_a_good_while(pauses: Pauses) -> None:
    failing, clock = Failing(critical=False), ManualClock()
    async with Workers(failing, clock=clock, steady_after=60.0):
        await fail(failing, times=3)
        clock.advance(59.0)
        await fail(failing, times=1)
        clock.advance(60.0)
        await fail(failing, times=2)
    assert pauses.seconds == [0.1, 0.2, 0.4, 0.8, 0.1, 0.2]


async def test_a_start_that_fails_is_tried_again(pauses: Pauses) -> None:
    diary = Diary()
    unstartable = Unstartable(OSError("port is busy"), diary=diary, critical=False)
    async with Workers(unstartable):
        await diary.wait_for("unstartable startup", count=3)
    assert pauses.seconds[:2] == [0.1, 0.2]


@pytest.mark.parametrize("remove", [False, True])
async def test_a_stop_during_the_pause_ends_it(remove: bool) -> None:
    failing = Failing(critical=False)
    async with Workers(failing, restart_backoff=Backoff(first=3600.0, longest=3600.0)) as group:
        failing.fail()
        await failing.diary.wait_for("failing shutdown")
        if remove:
            group.remove_workers(failing)
    assert failing.diary.entries == ["failing startup", "failing run", "failing shutdown"]


def test_a_backoff_doubles_from_the_first_to_the_longest_and_never_overflows() -> None:
    backoff = Backoff(first=1.0, longest=60.0)
    assert [backoff.seconds(n) for n in (1, 2, 3, 6, 7, 8, 5000)] == [1.0, 2.0, 4.0, 32.0, 60.0, 60.0, 60.0]


class Returning(Diligent):
    """Has done its work at once."""

    async def run(self) -> None:
        self.diary.write(f"{self.worker_name} run")


async def test_one_that_returns_is_not_started_again_and_that_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    returning = Returning("returning", critical=False)
    async with Workers(returning, Diligent("other")) as group:
        await returning.diary.wait_for("returning shutdown")
        await group.create_task(WorkerFunction(finish, repeat=False, critical=False))
    assert group.exit_code == 0
    assert returning.diary.entries.count("returning run") == 1
    assert caplog.messages == [
        "worker returning ended although its group does not stop: the group goes on without it"
    ]


async def finish() -> None:
    """What a function that is called once is meant to do."""
