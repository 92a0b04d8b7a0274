"""The recorder keeps events in order, each with its run as it was, and wakes who waits for one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fluid.errors import UnknownEventError
from fluid.scheduler import Event, TaskManager, TaskRun, TaskState, task
from fluid.testing import Recorder


@task
async def pick(ctx: TaskRun) -> None: ...


def run(run_id: str, name: str = "pick") -> TaskRun[Any]:
    return TaskRun(id=run_id, name=name, params={})


def told(name: str, of: TaskRun[Any] | None = None, **how: Any) -> Event:
    return Event(name=name, run=of, **how)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def test_events_are_kept_in_order_by_run_by_task_and_by_name(recorder: Recorder) -> None:
    one, two = run("1"), run("2", "pack")
    for event in [told("queue", one), told("queue", two), told("broker_lost"), told("end", one)]:
        recorder(event)
    assert recorder.names("1") == recorder.names(one) == ["queue", "end"]
    assert recorder.names("2") == ["queue"]
    assert [event.run and event.run.id for event in recorder.of("queue")] == ["1", "2"]
    assert recorder.of("queue", two) == recorder.of("queue", task="pack") == [recorder.events[1]]
    assert recorder.of("queue", task=pick) == [recorder.events[0]]
    assert recorder.of("broker_lost") == [recorder.events[2]]
    assert recorder.of("broker_lost", task=pick) == []


def test_an_event_keeps_its_run_as_it_was_then(recorder: Recorder) -> None:
    live = run("1")
    recorder(told("queue", live))
    live.move(TaskState.queued)
    recorder(told("queued", live))
    assert [event.run and event.run.state for event in recorder.events] == [TaskState.init, TaskState.queued]


async def test_who_waits_is_woken_by_the_event_of_the_run(recorder: Recorder) -> None:
    awaited = asyncio.create_task(recorder.wait_for("end", "1"))
    await asyncio.sleep(0)
    recorder(told("end", run("2")))
    recorder(told("start", run("1")))
    await asyncio.sleep(0)
    assert not awaited.done()
    recorder(told("end", run("1")))
    assert await awaited is recorder.events[-1]


async def test_what_came_before_the_wait_counts(recorder: Recorder) -> None:
    recorder(told("end", run("1")))
    asyncio.get_running_loop().call_soon(recorder, told("end", run("2")))
    assert await recorder.wait_for("end", count=2) is recorder.events[1]


async def test_waiting_in_vain_says_for_what_and_what_came(recorder: Recorder) -> None:
    failed = run("7")
    failed.error = "ValueError: no stamps"
    recorder(told("failure", failed, reason="error"))
    recorder(told("broker_lost", facts={"error": "no answer"}))
    with pytest.raises(AssertionError) as raised:
        await recorder.wait_for("success", task=pick, count=2, timeout=0.01)
    assert str(raised.value).splitlines() == [
        "waited 0.01 s in vain for 'success' number 2 of task 'pick'; came:",
        "  failure pick 7 (error) ValueError: no stamps",
        "  broker_lost error='no answer'",
    ]


async def test_a_long_account_shows_the_newest_events(recorder: Recorder) -> None:
    for number in range(60):
        recorder(told("end", run(f"run-{number}")))
    lines = recorder.account().splitlines()
    assert lines[1].strip() == "(10 before these)"
    assert lines[2].endswith("run-10")
    assert lines[-1].endswith("run-59")


async def test_an_event_that_does_not_exist_is_refused_at_once(recorder: Recorder) -> None:
    with pytest.raises(UnknownEventError, match="did you mean 'success'"):
        await recorder.wait_for("sucess")


def test_it_hears_many_managers_and_leaves_one() -> None:
    one, two = TaskManager(broker_url="redis://127.0.0.1:1"), TaskManager(broker_url="redis://127.0.0.1:1")
    recorder, other = Recorder(one, two), Recorder(one)
    for manager in (one, two):
        manager.dispatcher.dispatch("queue_paused", told("queue_paused"))
    recorder.leave(one)
    one.dispatcher.dispatch("queue_resumed", told("queue_resumed"))
    assert [event.name for event in recorder.events] == ["queue_paused", "queue_paused"]
    assert [event.name for event in other.events] == ["queue_paused", "queue_resumed"]
