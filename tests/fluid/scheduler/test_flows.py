"""Runs that belong together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from fluid.errors import Abort, ResultTimeoutError, RunFailedError
from fluid.scheduler import QueueOptions, TaskRun, TaskState, chain, group, task
from tests.fluid.scheduler.consuming import Gate, consuming, managing


@dataclass
class Size:
    n: int


@task
async def double(ctx: TaskRun) -> int:
    return 2 * int(ctx.params["n"])


@task
async def fails(ctx: TaskRun) -> None:
    raise ValueError("broken")


async def test_a_group_waits_for_all_and_gives_the_results_in_order(broker_url: str) -> None:
    async with consuming(broker_url, double) as (consumer, _):
        runs = await consumer.queue_many(double, [{"n": n} for n in range(10)])
        assert await group(runs).results(timeout=10) == [2 * n for n in range(10)]


async def test_a_group_with_a_failure_waits_for_the_others_and_raises_it(broker_url: str) -> None:
    gate = Gate()

    @task
    async def slow(ctx: TaskRun) -> None:
        await gate.wait()

    async with consuming(broker_url, fails, slow) as (consumer, heard):
        bad, good = await consumer.queue(fails), await consumer.queue(slow)
        await heard.wait_for("failure", bad.id)
        gate.open()
        with pytest.raises(RunFailedError, match="broken"):
            await group([bad, good]).results(timeout=10)
        ended: list[TaskRun[Any]] = []
        assert await group([bad, good]).wait(timeout=10, then=ended.extend) == (bad, good)
    assert [run.state for run in ended] == [TaskState.failure, TaskState.success]


async def test_a_group_does_not_wait_for_what_will_never_succeed(broker_url: str) -> None:
    gate = Gate()

    @task
    async def waits(ctx: TaskRun) -> None:
        await gate.wait()

    @task
    async def declines(ctx: TaskRun) -> None:
        raise Abort("not today")

    @task("sized")
    async def sized(ctx: TaskRun[Size]) -> None: ...

    @task("sized")
    async def of_another_release(ctx: TaskRun) -> None: ...

    async with (
        consuming(broker_url, waits, declines, fails, sized) as (consumer, _),
        managing(broker_url, of_another_release) as (manager, _),
    ):
        cancelled = await consumer.queue(waits)
        later = await consumer.queue(declines, options=QueueOptions(delay=600))
        dead = await manager.queue(of_another_release, colour="red")
        runs = [cancelled, later, dead, await consumer.queue(declines), await consumer.queue(fails)]
        await gate.wait_for()
        await cancelled.cancel()
        await later.cancel()
        called: list[TaskRun[Any]] = []
        await group(runs).wait(timeout=20, then=called.extend)
    aborted, failure = TaskState.aborted, TaskState.failure
    assert [run.state for run in called] == [aborted, aborted, TaskState.dead, aborted, failure]


async def test_a_group_that_takes_too_long_is_told(broker_url: str) -> None:
    gate = Gate()

    @task
    async def slow(ctx: TaskRun) -> None:
        await gate.wait()

    async with consuming(broker_url, slow) as (consumer, _):
        runs = await consumer.queue_many(slow, [{}, {}])
        with pytest.raises(BaseExceptionGroup) as late:
            await group(runs).wait(timeout=0.05)
        assert late.value.subgroup(ResultTimeoutError) is not None
        gate.open()


async def test_an_empty_group_has_no_results(broker_url: str) -> None:
    assert await group([]).results() == []


async def test_a_chain_queues_each_step_after_the_one_before_and_follows_it(broker_url: str) -> None:
    async with consuming(broker_url, double) as (consumer, heard):
        last = await chain(consumer, (double, {"n": 1}), ("double", {"n": 2}), (double, {"n": 3}), timeout=10)
        assert await last.result() == 6
        await heard.wait_for("success", count=3)
        runs = [event.run for event in heard.of("queued") if event.run]
    first, second, third = runs
    assert [run.from_run_id for run in runs] == ["", first.id, second.id]
    assert {run.root_run_id for run in runs} == {first.id}
    assert third.id == last.id


async def test_a_chain_stops_at_the_first_step_that_does_not_succeed(broker_url: str) -> None:
    async with consuming(broker_url, double, fails) as (consumer, heard):
        with pytest.raises(RunFailedError, match="broken"):
            await chain(consumer, (fails, {}), (double, {"n": 1}), timeout=10)
        assert len(heard.of("queued")) == 1
        with pytest.raises(ValueError, match="at least one step"):
            await chain(consumer)
