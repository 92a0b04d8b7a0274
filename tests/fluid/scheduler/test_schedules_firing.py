"""Every tick is fired once, however many schedulers run; what passed meanwhile goes by the policy."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from fluid.clock import timestamp
from fluid.scheduler import Task, TaskRun, TaskScheduler, TaskState, every, task
from fluid.scheduler.brokers.keys import Keys
from fluid.scheduler.schedules import MissedPolicy
from tests.fluid.scheduler.consuming import Gate, eventually, scheduling, slot_taken
from tests.support.queues import OwnQueue
from tests.support.waiting import poll

MINUTE = 60
INTERVAL = 0.2


def _minutely(missed: MissedPolicy | str, *, shift: float = 0.0) -> Task:
    """A task with a tick half a minute ago, so that none comes while a test runs."""

    async def report(ctx: TaskRun) -> None: ...

    schedule = every(MINUTE, offset=(timestamp() - 30) % MINUTE + shift, missed=missed)
    return task("report", schedule=schedule)(report)


async def _last_tick(scheduler: TaskScheduler, name: str = "report") -> float:
    known = await poll(scheduler.broker.schedules, lambda known: name in known, "the schedule to be known")
    return known[name]


async def _forget(queue: OwnQueue, declared: Task, intervals: int) -> None:
    """As if the last scheduler had stopped so many intervals ago."""
    async with scheduling(queue.url, declared) as (scheduler, _):
        await _last_tick(scheduler)
    key = Keys(queue.name)["schedules"]
    with queue.server.client() as client:
        fingerprint, last, nonce = client.hget(key, "report").split()
        earlier = int(last) - intervals * MINUTE * 1000
        client.hset(key, "report", f"{fingerprint.decode()} {earlier} {nonce.decode()}")


async def _after_looking(scheduler: TaskScheduler) -> None:
    """Until the schedule has been dealt with: its last tick is one of the last minute."""

    async def look() -> float:
        return timestamp() - await _last_tick(scheduler) / 1000

    await poll(look, lambda age: age < MINUTE + 1, "the schedule to be dealt with")


async def test_five_schedulers_fire_every_tick_once(broker_url: str) -> None:
    starts: list[str] = []

    @task(schedule=every(INTERVAL, missed="all"))
    async def tick(ctx: TaskRun) -> None:
        starts.append(ctx.id)

    async with AsyncExitStack() as stack:
        fleet = [await stack.enter_async_context(scheduling(broker_url, tick)) for _ in range(5)]

        def fired() -> list[Any]:
            return [event for _, heard in fleet for event in heard.of("schedule_fired")]

        await eventually(lambda: len(fired()) >= 20, "20 ticks")
        await eventually(lambda: len(starts) >= 20, "20 runs")
        ticks = sorted(event.facts["tick"] for event in fired())
        queued = [event.run.id for _, heard in fleet for event in heard.of("queued") if event.run]
    first = round(ticks[0] / INTERVAL)
    assert [round(instant / INTERVAL) for instant in ticks] == list(range(first, first + len(ticks)))
    assert len(queued) == len(set(queued)) == len(ticks)
    assert len(starts) == len(set(starts))
    assert {int(run_id.partition("@")[2]) for run_id in queued} == {
        round(instant * 1000) for instant in ticks
    }
    assert all(heard.of("schedule_missed") == [] for _, heard in fleet)


async def test_a_fired_tick_tells_its_instant_how_late_it_was_and_the_next_one(broker_url: str) -> None:
    @task(schedule=every(INTERVAL))
    async def tick(ctx: TaskRun) -> None: ...

    async with scheduling(broker_url, tick) as (_, heard):
        told = (await heard.wait_for("schedule_fired")).facts
        await heard.wait_for("success")
    assert told["task"] == "tick"
    assert told["lateness"] >= 0
    assert told["next"] == pytest.approx(told["tick"] + INTERVAL)
    assert told["tick"] / INTERVAL == pytest.approx(round(told["tick"] / INTERVAL))


async def test_a_fired_run_is_told_like_any_other_and_in_order(
    broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()

    @task(schedule=every(INTERVAL))
    async def tick(ctx: TaskRun) -> None:
        await gate.wait()

    scheduler = TaskScheduler(broker_url=broker_url)
    scheduler.register_task(tick)
    names: dict[str, list[str]] = {}

    def note(event: Any) -> None:
        if event.run is not None:
            names.setdefault(event.run.id, []).append(event.name)

    scheduler.dispatcher.register_handler("*.note", note)
    fire = scheduler.broker.fire

    async def slow_to_answer(*args: Any, **kwargs: Any) -> Any:
        answer = await fire(*args, **kwargs)
        if kwargs["run"] is not None and not gate.is_open:
            await slot_taken(scheduler)
            gate.open()
        return answer

    monkeypatch.setattr(scheduler.broker, "fire", slow_to_answer)
    async with scheduler:
        await eventually(lambda: any("success" in told for told in names.values()), "a run to end")
    first = next(told for told in names.values() if "success" in told)
    assert first == ["queue", "queued", "start", "end", "success"]


async def test_a_tick_whose_unique_key_is_taken_is_fired_and_its_run_refused(
    broker_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()

    @task(schedule=every(INTERVAL), unique=lambda params: "one at a time")
    async def tick(ctx: TaskRun) -> None:
        await gate.wait()

    caplog.set_level("INFO", "fluid")
    async with scheduling(broker_url, tick) as (scheduler, heard):
        refused = await heard.wait_for("refused")
        assert refused.run is not None
        assert (refused.reason, refused.run.reason) == ("unique", "unique")
        assert refused.run.state is TaskState.init
        assert heard.names(refused.run.id) == ["queue", "refused"]
        await heard.wait_for("schedule_fired", count=2)
        (queued,) = heard.of("queued")
        assert queued.run is not None
        assert f"run {refused.run.id} was refused" in caplog.text
        assert queued.run.id in caplog.text
        gate.open()
        await heard.wait_for("queued", count=2)
        await heard.wait_for("success", count=2)
        books = (await scheduler.broker.snapshot()).books
        assert books.unaccounted == 0
        assert books.accepted == len(heard.of("schedule_fired")) - len(heard.of("refused"))


async def test_two_tasks_whose_long_names_begin_alike_both_fire(broker_url: str) -> None:
    ran: set[str] = set()

    async def body(ctx: TaskRun) -> None:
        ran.add(ctx.name)

    alike = "reports.monthly.accounting.of_every_department."
    one = task(f"{alike}one", schedule=every(INTERVAL))(body)
    two = task(f"{alike}two", schedule=every(INTERVAL))(body)
    async with scheduling(broker_url, one, two) as (_, heard):
        await heard.wait_for("schedule_fired", count=6)
        await eventually(lambda: ran == {one.name, two.name}, "both tasks")


async def test_a_new_schedule_starts_from_now(broker_url: str) -> None:
    async with scheduling(broker_url, _minutely("all")) as (scheduler, heard):
        await _last_tick(scheduler)
        assert heard.of("schedule_fired") == heard.of("schedule_missed") == []


async def test_a_changed_schedule_starts_from_now(broker_queue: OwnQueue) -> None:
    await _forget(broker_queue, _minutely("all"), intervals=10)
    async with scheduling(broker_queue.url, _minutely("all", shift=1)) as (scheduler, heard):
        await _after_looking(scheduler)
        assert heard.of("schedule_fired") == heard.of("schedule_missed") == []


async def test_skip_fires_nothing_that_has_passed_and_tells_how_much_was_missed(
    broker_queue: OwnQueue,
) -> None:
    declared = _minutely(MissedPolicy.SKIP)
    await _forget(broker_queue, declared, intervals=10)
    async with scheduling(broker_queue.url, declared) as (scheduler, heard):
        missed = await heard.wait_for("schedule_missed")
        await _after_looking(scheduler)
        assert heard.of("schedule_fired") == []
    assert missed.facts == {"task": "report", "count": 10}


async def test_once_fires_the_newest_for_all_and_tells_how_late_it_is(broker_queue: OwnQueue) -> None:
    declared = _minutely("once")
    await _forget(broker_queue, declared, intervals=10)
    async with scheduling(broker_queue.url, declared) as (_, heard):
        fired = await heard.wait_for("schedule_fired")
        missed = await heard.wait_for("schedule_missed")
        await heard.wait_for("success")
        assert len(heard.of("schedule_fired")) == 1
    assert fired.facts["lateness"] >= 29
    assert missed.facts["count"] == 9


async def test_all_fires_every_tick_that_passed_in_order(broker_queue: OwnQueue) -> None:
    declared = _minutely("all")
    await _forget(broker_queue, declared, intervals=10)
    async with scheduling(broker_queue.url, declared) as (_, heard):
        await heard.wait_for("success", count=10)
        ticks = [event.facts["tick"] for event in heard.of("schedule_fired")]
        assert heard.of("schedule_missed") == []
    assert [later - earlier for earlier, later in pairwise(ticks)] == [MINUTE] * 9


async def test_all_stops_at_a_hundred_ticks_and_the_rest_is_missed(broker_queue: OwnQueue) -> None:
    declared = _minutely("all")
    await _forget(broker_queue, declared, intervals=150)
    async with scheduling(broker_queue.url, declared) as (_, heard):
        await heard.wait_for("schedule_fired", count=100)
        missed = await heard.wait_for("schedule_missed")
        await heard.wait_for("success", count=100)
        assert len(heard.of("schedule_fired")) == 100
    assert missed.facts["count"] == 50


async def test_what_passed_is_caught_up_with_once_in_the_whole_fleet(broker_queue: OwnQueue) -> None:
    declared = _minutely("all")
    await _forget(broker_queue, declared, intervals=20)
    async with AsyncExitStack() as stack:
        fleet = await asyncio.gather(
            *(stack.enter_async_context(scheduling(broker_queue.url, declared)) for _ in range(3))
        )
        await eventually(lambda: sum(len(heard.of("success")) for _, heard in fleet) >= 20, "20 runs")
        ticks = [event.facts["tick"] for _, heard in fleet for event in heard.of("schedule_fired")]
        books = (await fleet[0][0].broker.snapshot()).books
    assert len(ticks) == len(set(ticks)) == 20
    assert (books.accepted, books.success, books.unaccounted) == (20, 20, 0)


async def test_a_schedule_goes_on_where_it_was_after_a_stop(broker_url: str) -> None:
    @task(schedule=every(INTERVAL, missed="all"))
    async def tick(ctx: TaskRun) -> None: ...

    ticks: list[int] = []
    for _ in range(2):
        async with scheduling(broker_url, tick) as (_, heard):
            await heard.wait_for("schedule_fired", count=3)
            await heard.wait_for("success", count=3)
        ticks += [round(event.facts["tick"] / INTERVAL) for event in heard.of("schedule_fired")]
    assert ticks == list(range(ticks[0], ticks[0] + len(ticks)))


async def test_a_scheduled_run_is_an_ordinary_run(broker_url: str) -> None:
    @task(schedule=every(INTERVAL))
    async def tick(ctx: TaskRun) -> str:
        return "tock"

    async with scheduling(broker_url, tick) as (scheduler, heard):
        event = await heard.wait_for("success")
        assert event.run is not None
        run = await scheduler.get_run(event.run.id)
        assert (run.name, run.state, run.root_run_id) == ("tick", TaskState.success, run.id)
        assert await run.result(timeout=1) == "tock"


async def test_a_schedule_whose_run_cannot_be_made_stops_no_other(broker_url: str) -> None:
    @dataclass
    class Required:
        city: str

    @task(schedule=every(INTERVAL))
    async def cannot_be_made(ctx: TaskRun[Required]) -> None: ...

    @task(schedule=every(INTERVAL))
    async def tick(ctx: TaskRun) -> None: ...

    async with scheduling(broker_url, cannot_be_made, tick) as (scheduler, heard):
        await heard.wait_for("success", count=5)
        assert scheduler.running
        assert {event.facts["task"] for event in heard.of("schedule_fired")} == {"tick"}
