"""Workers that start, run and stop together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fluid.errors import BrokerUnavailableError, WorkerError, WorkerStartError
from fluid.workers import Worker, WorkerFunction, Workers
from tests.fluid.workers.people import Deaf, Diary, Diligent, Failing, HungAtStart, Stubborn, Unstartable

# -- starting and stopping -----------------------------------------------------------------


async def test_a_started_group_has_all_its_workers_running() -> None:
    one, two = Diligent("one"), Diligent("two")
    async with Workers(one, two) as group:
        assert one.running
        assert two.running
        assert group.running
    assert one.state.is_stopped
    assert two.state.is_stopped
    assert group.state.is_stopped
    assert (group.exit_reason, group.exit_code) == ("", 0)


async def test_lower_stages_start_before_and_stop_after_higher_ones() -> None:
    diary = Diary()
    server = Diligent("server", diary=diary, stage=-10)
    tasks = Diligent("tasks", diary=diary)
    last = Diligent("last", diary=diary, stage=5)
    async with Workers(last, tasks, server):
        pass
    names = [entry for entry in diary.entries if not entry.endswith(" stop")]
    assert names == [
        *("server startup", "server run", "tasks startup", "tasks run", "last startup", "last run"),
        *("last shutdown", "tasks shutdown", "server shutdown"),
    ]


async def test_a_worker_that_starts_may_add_others() -> None:
    diary = Diary()
    late = Diligent("late", diary=diary, stage=-10)

    class Adding(Diligent):
        async def on_startup(self) -> None:
            group.add_workers(late)

    group = Workers(Adding("adding", diary=diary))
    async with group:
        assert late.running


async def test_waiting_for_the_exit_waits_for_every_worker() -> None:
    one, two = Diligent("one"), Diligent("two", stage=-1)
    group = Workers(one, two)
    await group.start_running()
    group.gracefully_stop()
    await group.wait_for_exit()
    assert one.diary.entries[-1] == "one shutdown"
    assert two.diary.entries[-1] == "two shutdown"


async def test_to_run_a_group_that_has_not_begun_is_its_whole_life() -> None:
    diary = Diary()
    group = Workers(Diligent("one", diary=diary))
    running = asyncio.create_task(group.run())
    await diary.wait_for("one run")
    assert group.running
    await group.shutdown()
    await running
    assert diary.entries == ["one startup", "one run", "one stop", "one shutdown"]
    assert group.state.is_stopped


async def test_to_run_a_group_raises_why_it_bailed_out() -> None:
    failing = Failing()
    group = Workers(failing)
    running = asyncio.create_task(group.run())
    await failing.diary.wait_for("failing run")
    failing.fail()
    with pytest.raises(WorkerError, match="out of ink"):
        await running
    assert group.exit_code == 1


async def test_a_group_without_workers_runs_until_it_is_stopped() -> None:
    async with Workers() as group:
        assert group.running
    assert group.error is None


async def test_a_waiting_group_gives_the_loop_nothing_to_do() -> None:
    async def nothing() -> None: ...

    async with Workers(Diligent(), WorkerFunction(nothing, heartbeat=3600.0, critical=False)):
        loop = vars(asyncio.get_running_loop())
        for _ in range(10):
            await asyncio.sleep(0)
        due = [timer.when() for timer in loop["_scheduled"] if not timer.cancelled()]
        assert list(loop["_ready"]) == []
        assert len(due) == 1, "the heartbeat"


async def test_a_group_within_a_group_is_one_of_its_workers() -> None:
    inner_worker = Diligent("worker")
    outer = Workers(Workers(inner_worker, Diligent("other"), name="inner"), Diligent("own"), name="outer")
    assert outer.num_workers == 3
    async with outer:
        assert inner_worker.running
    assert inner_worker.state.is_stopped


# -- failing -------------------------------------------------------------------------------


async def test_a_critical_worker_that_raises_stops_the_group_with_reason_and_code() -> None:
    failing, other = Failing("failing"), Diligent("other")
    group = Workers(failing, other)
    await group.start_running()
    failing.fail()
    await group.wait_for_exit()
    assert group.exit_code == 1
    assert group.exit_reason == "worker 'failing' raised ValueError('out of ink')"
    assert other.diary.entries[-1] == "other shutdown"


async def test_a_critical_worker_that_returns_early_stops_the_group() -> None:
    brief, other = Diligent("brief"), Diligent("other")
    group = Workers(brief, other)
    await group.start_running()
    brief.gracefully_stop()
    await group.wait_for_exit()
    assert (group.exit_code, group.exit_reason) == (
        1,
        "worker 'brief' ended although its group does not stop",
    )
    assert other.state.is_stopped


async def test_a_worker_that_may_end_leaves_the_group_running() -> None:
    diary = Diary()

    async def once() -> None:
        diary.write("done")

    worker = WorkerFunction(once, repeat=False)
    async with Workers(worker, Diligent()) as group:
        await worker.wait_for_exit()
        await diary.wait_for("done")
        assert group.running
    assert group.exit_code == 0


async def test_a_worker_that_is_not_critical_may_return_early() -> None:
    brief = Diligent("brief", critical=False)
    async with Workers(brief, Diligent("other")) as group:
        brief.gracefully_stop()
        await brief.wait_for_exit()
        assert group.running
    assert group.exit_code == 0


async def test_the_failure_of_a_group_within_reaches_the_outer_one() -> None:
    failing = Failing("failing")
    outer = Workers(Workers(failing, name="inner"), name="outer")
    await outer.start_running()
    failing.fail()
    await outer.wait_for_exit()
    assert outer.exit_code == 1
    assert "worker 'inner' raised" in outer.exit_reason
    assert "worker 'failing' raised" in outer.exit_reason


async def test_anyone_may_have_the_group_bail_out_and_the_first_reason_stands() -> None:
    group = Workers(Diligent())
    await group.start_running()
    group.bail_out("disk full", code=7)
    group.bail_out("and more", code=9)
    await group.wait_for_exit()
    assert (group.exit_reason, group.exit_code) == ("disk full", 7)
    assert isinstance(group.error, WorkerError)


async def test_bailing_out_with_code_0_is_no_failure() -> None:
    group = Workers(Diligent())
    await group.start_running()
    group.bail_out("all is done", code=0)
    await group.wait_for_exit()
    assert (group.exit_reason, group.exit_code, group.error) == ("all is done", 0, None)


async def test_a_critical_worker_that_raises_while_the_group_stops_changes_nothing() -> None:
    class Fragile(Diligent):
        async def run(self) -> None:
            await self.wait_for_stop()
            raise ValueError("not so fast")

    async with Workers(Fragile()) as group:
        pass
    assert (group.exit_reason, group.exit_code) == ("", 0)


async def test_a_group_that_bailed_out_can_be_started_again() -> None:
    group = Workers(Diligent())
    await group.start_running()
    group.bail_out("once")
    await group.wait_for_exit()
    async with group:
        assert group.running
    assert (group.exit_reason, group.exit_code, group.error) == ("", 0, None)


# -- starts that fail ----------------------------------------------------------------------


@pytest.mark.parametrize("stage", [-1, 0, 1])
async def test_when_a_critical_worker_cannot_start_all_are_stopped_and_the_reason_is_raised(
    stage: int,
) -> None:
    cause = OSError("port is busy")
    diary = Diary()
    neighbour = Diligent("neighbour", diary=diary)
    group = Workers(neighbour, Unstartable(cause, "server", diary=diary, stage=stage))
    with pytest.raises(WorkerStartError, match="'server' could not start") as raised:
        await group.start_running()
    assert raised.value.__cause__ is cause
    assert group.state.is_stopped
    assert group.exit_code == 1
    assert "port is busy" in group.exit_reason
    assert ("neighbour startup" in diary.entries) is (stage >= 0)
    assert diary.entries.count("neighbour startup") == diary.entries.count("neighbour shutdown")


async def test_when_a_critical_worker_cannot_start_an_error_of_ours_is_raised_as_it_is() -> None:
    cause = BrokerUnavailableError("nobody there")
    with pytest.raises(BrokerUnavailableError) as raised:
        async with Workers(Unstartable(cause)):
            pytest.fail("it must not run")
    assert raised.value is cause


async def test_a_failed_start_does_not_wait_for_one_that_hangs() -> None:
    hung = HungAtStart("hung", stopping_grace_period=0.01)
    with pytest.raises(WorkerStartError, match="'unstartable'"):
        await Workers(hung, Unstartable(OSError("no"))).start_running()
    assert hung.state.is_stopped
    assert hung.diary.entries == ["hung startup", "hung cancelled"]


async def test_a_worker_that_is_not_critical_and_cannot_start_does_not_stop_the_start() -> None:
    unstartable = Unstartable(OSError("no"), critical=False)
    other = Diligent("other")
    async with Workers(unstartable, other) as group:
        assert other.running
        assert group.restarts == 1
    assert group.exit_code == 0


async def test_a_worker_that_must_start_stops_the_start_although_it_is_not_critical() -> None:
    server = Unstartable(OSError("port is busy"), "server", critical=False)
    server.must_start = True
    with pytest.raises(WorkerStartError, match="'server' could not start"):
        await Workers(Diligent(), server).start_running()
    assert server.diary.entries == ["server startup"]


async def test_a_stop_during_the_start_starts_nobody_more() -> None:
    hung, later = HungAtStart("hung", stopping_grace_period=0.01), Diligent("later", stage=1)
    group = Workers(hung, later)
    start = asyncio.create_task(group.start_running())
    await hung.diary.wait_for("hung startup")
    group.gracefully_stop()
    await start
    await group.wait_for_exit()
    assert hung.state.is_stopped
    assert later.state.is_init


# -- stopping by force ---------------------------------------------------------------------


async def test_the_group_forces_whom_its_grace_period_does_not_stop() -> None:
    stubborn, diligent = Stubborn("stubborn"), Diligent("diligent")
    async with Workers(stubborn, diligent, stopping_grace_period=0.01):
        pass
    assert stubborn.diary.entries[-2:] == ["stubborn cancelled", "stubborn shutdown"]
    assert diligent.diary.entries[-2:] == ["diligent stop", "diligent shutdown"]


async def test_a_worker_with_less_patience_than_the_group_keeps_its_own() -> None:
    stubborn = Stubborn("stubborn", stopping_grace_period=0.01)
    async with Workers(stubborn, stopping_grace_period=3600.0):
        pass
    assert "stubborn cancelled" in stubborn.diary.entries


async def test_a_worker_that_ignores_its_cancellation_is_left_behind_and_the_others_stop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    deaf, lower = Deaf("deaf"), Diligent("lower", stage=-1)
    async with Workers(deaf, lower, stopping_grace_period=0.01) as group:
        pass
    assert group.state.is_stopped
    assert lower.state.is_stopped
    assert "worker deaf ignores that it was cancelled" in caplog.text
    await deaf.let_go()


async def test_a_stage_has_a_moment_to_stop_although_the_one_above_used_up_the_time() -> None:
    class Draining(Diligent):
        async def run(self) -> None:
            await self.wait_for_stop()
            for _ in range(100):
                await asyncio.sleep(0)
            self.diary.write("drained")

    stubborn, handlers = Stubborn("stubborn"), Draining("handlers", stage=-1)
    async with Workers(stubborn, handlers, stopping_grace_period=0.01):
        await stubborn.diary.wait_for("stubborn run")
    assert handlers.diary.entries == ["handlers startup", "drained", "handlers shutdown"]


async def test_a_group_that_is_forced_forces_its_workers() -> None:
    stubborn = Stubborn("stubborn")
    group = Workers(Workers(stubborn, name="inner"), name="outer")
    await group.start_running()
    await group.shutdown(grace=0.0)
    assert group.state.is_stopped
    assert stubborn.diary.entries[-2:] == ["stubborn cancelled", "stubborn shutdown"]


async def test_cancelling_who_runs_the_group_forces_its_workers() -> None:
    stubborn, diligent = Stubborn("stubborn"), Diligent("diligent")
    caller = asyncio.create_task(Workers(stubborn, diligent).safe_run())
    await stubborn.diary.wait_for("stubborn run")
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert stubborn.diary.entries[-2:] == ["stubborn cancelled", "stubborn shutdown"]
    assert diligent.state.is_stopped


async def test_a_stop_that_is_cut_short_forces_whoever_is_left() -> None:
    stubborn = Stubborn("stubborn")
    group = Workers(stubborn)
    await group.start_running()
    group.gracefully_stop()
    asked = asyncio.create_task(stubborn.wait_for_stop())
    await asked
    await group.shutdown(grace=0.0)
    assert stubborn.diary.entries[-2:] == ["stubborn cancelled", "stubborn shutdown"]


# -- who is in it --------------------------------------------------------------------------


async def test_workers_added_before_the_start_wait_for_it() -> None:
    group = Workers()
    worker = Diligent()
    group.add_workers(worker)
    assert worker.state.is_init
    async with group:
        assert worker.running
    assert group.workers == (worker,)


async def test_workers_added_while_running_are_started() -> None:
    worker = Diligent("late")
    async with Workers(Diligent("early")) as group:
        group.add_workers(worker)
        await worker.diary.wait_for("late run")
        assert group.num_workers == 2
    assert worker.state.is_stopped


async def test_a_critical_worker_added_while_running_that_cannot_start_stops_the_group() -> None:
    group = Workers(Diligent())
    await group.start_running()
    group.add_workers(Unstartable(OSError("port is busy"), "late"))
    await group.wait_for_exit()
    assert group.exit_code == 1
    assert "'late'" in group.exit_reason


async def test_a_stopping_group_starts_nobody() -> None:
    worker = Diligent("late")
    async with Workers(Diligent("early")) as group:
        group.gracefully_stop()
        group.add_workers(worker)
    assert worker.state.is_init


async def test_adding_a_worker_twice_adds_it_once() -> None:
    worker = Diligent()
    group = Workers(worker, worker)
    group.add_workers(worker)
    assert group.workers == (worker,)


async def test_two_workers_of_one_name_are_refused() -> None:
    with pytest.raises(WorkerError, match="already has a worker named 'same'"):
        Workers(Diligent("same"), Diligent("same"))


async def test_removed_workers_are_asked_to_stop_and_the_group_runs_on() -> None:
    worker, other = Diligent("leaves"), Diligent("stays")
    async with Workers(worker, other) as group:
        group.remove_workers(worker)
        assert group.workers == (other,)
        await worker.wait_for_exit()
        assert worker.diary.entries == ["leaves startup", "leaves run", "leaves stop", "leaves shutdown"]
        assert group.running
    assert group.exit_code == 0


async def test_a_removed_worker_that_does_not_stop_is_forced() -> None:
    worker = Stubborn("leaves", stopping_grace_period=0.01)
    async with Workers(worker, Diligent("stays")) as group:
        group.remove_workers(worker)
        await worker.diary.wait_for("leaves shutdown")
        assert group.running


async def test_a_removed_worker_that_still_stops_is_waited_for_by_the_group() -> None:
    worker = Stubborn("leaves")
    async with Workers(worker, stopping_grace_period=0.01) as group:
        group.remove_workers(worker)
    assert worker.state.is_stopped


async def test_a_worker_can_come_back_after_it_has_left() -> None:
    worker = Diligent("w")
    async with Workers(Diligent("stays")) as group:
        task = group.create_task(worker)
        await worker.diary.wait_for("w run")
        group.remove_workers(worker)
        with pytest.raises(WorkerError, match="'workers' already watches over 'w'"):
            group.add_workers(worker)
        await task
        group.add_workers(worker)
        await worker.diary.wait_for("w run", count=2)


async def test_removing_before_the_start_means_it_never_starts() -> None:
    worker = Diligent()
    group = Workers(worker)
    group.remove_workers(worker)
    async with group:
        assert group.workers == ()
    assert worker.state.is_init


async def test_a_created_task_ends_with_its_worker() -> None:
    diary = Diary()

    async def once() -> None:
        diary.write("done")

    async with Workers() as group:
        worker = WorkerFunction(once, repeat=False)
        task = group.create_task(worker)
        await task
        assert diary.entries == ["done"]
        assert group.workers == (worker,)
        with pytest.raises(WorkerError):
            group.create_task(worker)


async def test_cancelling_the_task_of_a_critical_worker_stops_it_and_the_group() -> None:
    worker = Stubborn("w")
    group = Workers()
    await group.start_running()
    task = group.create_task(worker)
    await worker.diary.wait_for("w run")
    task.cancel()
    await group.wait_for_exit()
    assert worker.diary.entries[-2:] == ["w cancelled", "w shutdown"]
    assert group.exit_reason == "worker 'w' was cancelled"


# -- beside the workers --------------------------------------------------------------------


async def test_the_status_is_that_of_every_worker_by_name() -> None:
    async with Workers(Diligent("one"), Diligent("two", critical=False, stage=3)) as group:
        assert await group.status() == {
            "one": {"state": "running", "critical": True, "stage": 0, "error": None, "restarts": 0},
            "two": {"state": "running", "critical": False, "stage": 3, "error": None, "restarts": 0},
        }


@asynccontextmanager
async def context(name: str, diary: Diary) -> AsyncIterator[str]:
    diary.write(f"enter {name}")
    yield name
    diary.write(f"leave {name}")


class Entering(Workers):
    """Enters two contexts when it starts up, and raises then if it is told to."""

    def __init__(self, *workers: Worker, diary: Diary, broken: bool = False) -> None:
        super().__init__(*workers)
        self.diary = diary
        self.broken = broken

    async def on_startup(self) -> None:
        assert await self.enter_async_context(context("broker", self.diary)) == "broker"
        await self.enter_async_context(context("channel", self.diary))
        if self.broken:
            raise OSError("no")


async def test_contexts_are_left_in_reverse_order_after_the_workers_have_stopped() -> None:
    diary = Diary()
    async with Entering(Diligent("w", diary=diary), diary=diary):
        pass
    assert diary.entries == [
        *("enter broker", "enter channel", "w startup", "w run"),
        *("w stop", "w shutdown", "leave channel", "leave broker"),
    ]


async def test_contexts_are_left_when_the_startup_fails() -> None:
    diary = Diary()
    with pytest.raises(WorkerStartError):
        await Entering(diary=diary, broken=True).start_running()
    assert diary.entries == ["enter broker", "enter channel", "leave channel", "leave broker"]
