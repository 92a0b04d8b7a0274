"""One worker: its life, how it is started, and that it always ends."""

from __future__ import annotations

import asyncio
import logging

import pytest

from fluid.errors import BrokerUnavailableError, WorkerError, WorkerStartError
from fluid.workers import Worker
from fluid.workers.states import WorkerState
from tests.fluid.workers.people import Deaf, Diary, Diligent, Failing, HungAtStart, Stubborn, Unstartable


async def test_a_life_is_startup_run_shutdown() -> None:
    worker = Diligent("w")
    async with worker:
        assert worker.diary.entries == ["w startup", "w run"]
    assert worker.diary.entries == ["w startup", "w run", "w stop", "w shutdown"]


async def test_the_state_follows_the_life() -> None:
    worker = Diligent()
    states = [worker.state]
    await worker.start_running()
    states.append(worker.state)
    assert worker.is_running() is worker.running is True
    worker.gracefully_stop()
    states.append(worker.state)
    assert worker.is_stopping()
    assert not worker.is_running()
    await worker.wait_for_exit()
    states.append(worker.state)
    assert not worker.is_stopping()
    assert states == [WorkerState.INIT, WorkerState.RUNNING, WorkerState.STOPPING, WorkerState.STOPPED]
    assert [str(state) for state in states] == ["init", "running", "stopping", "stopped"]
    assert [s.is_init for s in states] == [True, False, False, False]
    assert [s.is_running for s in states] == [False, True, False, False]
    assert [s.is_stopping for s in states] == [False, False, True, False]
    assert [s.is_stopped for s in states] == [False, False, False, True]


async def test_asking_to_stop_twice_is_asking_once() -> None:
    worker = Diligent("w")
    await worker.start_running()
    worker.gracefully_stop()
    worker.gracefully_stop()
    await worker.shutdown()
    await worker.shutdown()
    worker.gracefully_stop()
    assert worker.state.is_stopped
    assert worker.diary.entries == ["w startup", "w run", "w stop", "w shutdown"]


async def test_a_stop_asked_for_before_the_start_is_remembered() -> None:
    worker = Diligent("w")
    worker.gracefully_stop()
    await worker.start_running()
    await worker.wait_for_exit()
    assert worker.diary.entries == ["w startup", "w run", "w stop", "w shutdown"]


async def test_a_running_worker_is_not_started_again() -> None:
    async with Diligent("w") as worker:
        for start in (worker.start_running, worker.safe_run, worker.startup):
            with pytest.raises(WorkerStartError, match="'w' has already been started"):
                await start()
        assert worker.running


async def test_a_worker_started_up_by_hand_runs_on_from_there() -> None:
    worker = Diligent("w")
    await worker.startup()
    with pytest.raises(WorkerStartError):
        await worker.startup()
    async with worker:
        assert worker.running
    assert worker.diary.entries == ["w startup", "w run", "w stop", "w shutdown"]


async def test_a_worker_started_up_by_hand_is_shut_down_without_a_run() -> None:
    worker = Diligent("w")
    await worker.startup()
    await worker.shutdown()
    assert worker.diary.entries == ["w startup", "w shutdown"]


async def test_a_stopped_worker_can_be_started_again() -> None:
    worker = Failing("w")
    await worker.start_running()
    worker.fail()
    await worker.wait_for_exit()
    assert isinstance(worker.error, ValueError)
    await worker.start_running()
    assert worker.running
    assert (await worker.status())["error"] is None
    await worker.shutdown(grace=0.0)
    assert worker.diary.entries == ["w startup", "w run", "w shutdown"] * 2


def test_a_worker_can_live_in_one_event_loop_after_the_other() -> None:
    worker = Diligent("w")

    async def live() -> None:
        async with worker:
            await worker.diary.wait_for("w run")

    asyncio.run(live())
    asyncio.run(live())
    assert worker.diary.entries == ["w startup", "w run", "w stop", "w shutdown"] * 2


async def test_what_run_raises_is_logged_and_kept(caplog: pytest.LogCaptureFixture) -> None:
    worker = Failing("w")
    with caplog.at_level(logging.ERROR, "fluid"):
        worker.fail()
        await worker.safe_run()
    assert isinstance(worker.error, ValueError)
    assert worker.state.is_stopped
    assert "worker w raised ValueError('out of ink')" in caplog.text
    assert worker.diary.entries[-1] == "w shutdown"


async def test_a_run_that_raises_at_once_has_still_been_started() -> None:
    worker = Failing("w")
    worker.fail()
    await worker.start_running()
    await worker.wait_for_exit()
    assert isinstance(worker.error, ValueError)


async def test_a_clean_return_leaves_no_error() -> None:
    class Brief(Worker):
        async def run(self) -> None:
            return

    worker = Brief()
    await worker.safe_run()
    assert worker.error is None
    assert worker.state.is_stopped


async def test_a_cancelled_caller_of_safe_run_gets_its_cancellation_after_the_shutdown() -> None:
    worker = Stubborn("w")
    caller = asyncio.create_task(worker.safe_run())
    await worker.diary.wait_for("w run")
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert worker.diary.entries == ["w startup", "w run", "w cancelled", "w shutdown"]
    assert worker.error is None


async def test_safe_run_returns_when_the_worker_is_forced_to_stop() -> None:
    worker = Stubborn("w")
    caller = asyncio.create_task(worker.safe_run())
    await worker.diary.wait_for("w run")
    await worker.shutdown(grace=0.0)
    await caller
    assert not caller.cancelled()


async def test_a_cancellation_that_nobody_meant_for_the_worker_is_an_error() -> None:
    class Confused(Worker):
        async def run(self) -> None:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

    worker = Confused(name="w")
    await worker.safe_run()
    assert isinstance(worker.error, WorkerError)
    assert isinstance(worker.error.__cause__, asyncio.CancelledError)


async def test_a_start_that_fails_raises_a_start_error_with_its_cause() -> None:
    cause = OSError("port is busy")
    worker = Unstartable(cause, "w")
    with pytest.raises(WorkerStartError, match=r"'w' could not start: .*port is busy") as raised:
        await worker.start_running()
    assert raised.value.__cause__ is cause
    assert worker.state.is_stopped
    assert worker.diary.entries == ["w startup"], "what has not started up is not shut down"


async def test_a_start_that_fails_with_an_error_of_ours_raises_that() -> None:
    cause = BrokerUnavailableError("nobody there")
    with pytest.raises(BrokerUnavailableError) as raised:
        await Unstartable(cause).start_running()
    assert raised.value is cause


async def test_a_start_that_nobody_waits_for_any_more_leaves_nothing_running() -> None:
    worker = HungAtStart("w")
    start = asyncio.create_task(worker.start_running())
    await worker.diary.wait_for("w startup")
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert worker.state.is_stopped
    assert worker.diary.entries == ["w startup", "w cancelled"]


async def test_a_hanging_start_is_cancelled_by_the_shutdown() -> None:
    worker = HungAtStart("w")
    start = asyncio.create_task(worker.start_running())
    await worker.diary.wait_for("w startup")
    await worker.shutdown(grace=0.0)
    with pytest.raises(WorkerStartError, match="it was cancelled"):
        await start


async def test_a_worker_that_does_not_stop_in_its_grace_period_is_cancelled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = Stubborn("w", stopping_grace_period=0.01)
    async with worker:
        pass
    assert worker.diary.entries == ["w startup", "w run", "w cancelled", "w shutdown"]
    assert "worker w did not stop within 0.01 s" in caplog.text


async def test_a_worker_that_ignores_its_cancellation_is_left_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = Deaf("w")
    await worker.start_running()
    await worker.shutdown(grace=0.0)
    await worker.wait_for_exit()
    await worker.shutdown()
    assert caplog.text.count("worker w ignores that it was cancelled: it is left behind") == 1
    assert worker.state.is_stopped
    with pytest.raises(WorkerStartError):
        await worker.start_running()
    await worker.let_go()


async def test_what_on_shutdown_raises_is_kept() -> None:
    class Messy(Diligent):
        async def on_shutdown(self) -> None:
            raise OSError("cannot close")

    worker = Messy()
    async with worker:
        pass
    assert isinstance(worker.error, OSError)
    assert worker.state.is_stopped


async def test_shutting_down_what_never_started_does_nothing() -> None:
    worker = Diligent("w")
    await worker.shutdown()
    assert worker.state.is_init
    async with worker:
        assert worker.running
    assert worker.diary.entries[0] == "w startup"


async def test_waiting_for_the_end_of_what_never_started_is_refused() -> None:
    with pytest.raises(WorkerError, match="has not been started"):
        await Diligent().wait_for_exit()


async def test_a_pause_ends_at_once_when_asked_to_stop() -> None:
    answers: list[bool] = []
    diary = Diary()

    class Pausing(Worker):
        async def run(self) -> None:
            diary.write("pauses")
            answers.append(await self.wait_for_stop(3600.0))

    async with Pausing(stopping_grace_period=3600.0):
        await diary.wait_for("pauses")
    assert answers == [True]


@pytest.mark.parametrize("seconds", [0.0, 0.001])
async def test_a_pause_that_nobody_cuts_short_answers_false(seconds: float) -> None:
    async with Diligent() as worker:
        assert not await worker.wait_for_stop(seconds)


@pytest.mark.parametrize("asked_to_stop", [False, True])
async def test_a_pause_always_lets_the_loop_turn(asked_to_stop: bool) -> None:
    async with Diligent() as worker:
        if asked_to_stop:
            worker.gracefully_stop()
        others: list[str] = []
        asyncio.get_running_loop().call_soon(others.append, "had a turn")
        assert await worker.wait_for_stop(0.0) is asked_to_stop
        assert others == ["had a turn"]


async def test_the_end_of_a_life_wakes_whoever_waits_for_the_stop() -> None:
    worker = Failing()
    await worker.start_running()
    waiting = asyncio.create_task(worker.wait_for_stop())
    worker.fail()
    assert await waiting


@pytest.mark.parametrize(("name", "called"), [("", "diligent"), ("mine", "mine")])
async def test_a_worker_has_a_name(name: str, called: str) -> None:
    assert Diligent(name).worker_name == called


def test_a_name_made_of_the_class_is_in_snake_case() -> None:
    assert HungAtStart("").worker_name == "hung_at_start"


async def test_the_status_is_plain_data() -> None:
    worker = Failing("w", critical=False)
    worker.fail()
    await worker.safe_run()
    assert await worker.status() == {
        "state": "stopped",
        "critical": False,
        "stage": 0,
        "error": "ValueError('out of ink')",
    }
    assert worker.num_workers == 1
