"""`fluid cancel`, `fluid runs replay` and `discard`."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass

import pytest

from fluid.cli import deciding, run_for
from fluid.cli.showing import show_line
from fluid.errors import BrokerUnavailableError, RunDeadError
from fluid.scheduler import TaskConsumer, TaskManager, TaskRun, task
from fluid.scheduler import deciding as room
from tests.fluid.cli import shop
from tests.fluid.cli.calling import call
from tests.support.queues import OwnQueue


@dataclass
class Strict:
    """What an older program did not know."""

    needed: int


def old_weigh() -> object:
    """A task as an older program declared it, without a model."""

    @task
    async def weigh(ctx: TaskRun) -> None:
        """Weigh."""

    return weigh


def new_weigh() -> object:
    """The same task, with a model that old parameters do not fit."""

    @task
    async def weigh(ctx: TaskRun[Strict]) -> None:
        """Weigh."""

    return weigh


async def make_dead(queue: OwnQueue) -> str:
    """The id of a dead run in the queue."""
    async with TaskManager(broker_url=queue.url) as manager:
        manager.register_from_dict({"weigh": old_weigh()})
        run = await manager.queue("weigh", other=1)
        consumer = TaskConsumer(broker_url=queue.url)
        consumer.register_from_dict({"weigh": new_weigh()})
        async with consumer:
            with pytest.raises(RunDeadError):
                await run.result(20)
    return run.id


async def make_failed(queue: OwnQueue, count: int) -> list[str]:
    """The ids of failed runs in the queue."""
    async with TaskConsumer(broker_url=queue.url) as consumer:
        return [(await consumer.queue_and_wait(shop.charge, timeout=20, amount=-1)).id for _ in range(count)]


async def test_a_waiting_run_is_cancelled_there_and_then(queue: OwnQueue) -> None:
    async with TaskManager(broker_url=queue.url) as manager:
        run = await manager.queue(shop.add, a=1, b=2)
    first = await call("cancel", run.id)
    assert (first.code, first.out) == (0, "aborted\n")


async def test_runs_are_cancelled_where_all_else_is_decided_about_them(queue: OwnQueue) -> None:
    async with TaskManager(broker_url=queue.url) as manager:
        manager.register_from_dict({"weigh": old_weigh()})
        run = await manager.queue("weigh")
    assert (await call("runs", "cancel", run.id)).lines == ["aborted"]


async def test_a_run_that_has_ended_cannot_be_cancelled(queue: OwnQueue) -> None:
    (run_id,) = await make_failed(queue, 1)
    answer = await call("cancel", run_id)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err == f"Error: run {run_id} had ended before: failure\n"


async def test_a_failed_run_is_replayed_as_a_new_one(queue: OwnQueue) -> None:
    (run_id,) = await make_failed(queue, 1)
    answer = await call("runs", "replay", run_id)
    assert answer.code == 0
    new_id = answer.out.split()[-1]
    assert answer.out == f"{run_id} as {new_id}\n"
    kept = (await call("runs", "show", new_id, "--json")).json
    assert (kept["state"], kept["from_run_id"]) == ("queued", run_id)


async def test_all_runs_of_a_state_and_task_are_replayed(queue: OwnQueue) -> None:
    run_ids = await make_failed(queue, 2)
    none = await call("runs", "replay", "--all", "--state", "failure", "--task", "add", "--json")
    assert none.json == []
    both = await call("runs", "replay", "--all", "--state", "failure", "--task", "charge", "--json")
    assert {one["id"] for one in both.json} == set(run_ids)
    assert {one["run"]["from_run_id"] for one in both.json} == set(run_ids)


async def test_who_stops_on_the_way_is_told_how_to_go_on(
    queue: OwnQueue, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_ids = await make_failed(queue, 3)
    monkeypatch.setattr(room, "DECIDED_AT_ONCE", 1)

    def lose_broker(line: str) -> None:
        monkeypatch.setattr(deciding, "show_line", show_line)
        raise BrokerUnavailableError("it is away")

    arguments = ["runs", "replay", "--all", "--state", "failure"]
    monkeypatch.setattr(deciding, "show_line", lose_broker)
    assert await asyncio.to_thread(run_for, TaskManager(), args=arguments, standalone=False) == 1
    told = capsys.readouterr()
    lines = ["Error: stopped after 0: the same command goes on with the rest", "Error: it is away"]
    assert told.err.splitlines() == lines
    assert await asyncio.to_thread(run_for, TaskManager(), args=arguments, standalone=False) == 0
    rest = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert len(rest) == 2
    assert set(rest) < set(run_ids)


async def test_how_far_it_has_come_is_said_where_nobody_sees_the_runs(
    queue: OwnQueue, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await make_failed(queue, 3)
    monkeypatch.setattr(deciding, "SAID_EVERY", 2)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    arguments = ["runs", "replay", "--all", "--state", "failure", "--json"]
    assert await asyncio.to_thread(run_for, TaskManager(), args=arguments, standalone=False) == 0
    told = capsys.readouterr()
    assert told.err == "2 so far\n"
    assert len(json.loads(told.out)) == 3


async def test_all_dead_runs_that_are_meant_are_discarded(queue: OwnQueue) -> None:
    run_id = await make_dead(queue)
    none = await call("runs", "discard", "--all", "--task", "add")
    assert (none.code, none.out) == (0, "")
    every = await call("runs", "discard", "--all", "--task", "weigh", "--reason", "invalid_params")
    assert (every.code, every.out) == (0, f"{run_id}\n")


@pytest.mark.parametrize("arguments", [[], ["--all", "id"], ["--task", "add"], ["--task", "add", "id"]])
async def test_discard_wants_to_know_which_runs_are_meant(arguments: list[str]) -> None:
    answer = await call("runs", "discard", *arguments)
    assert answer.code == 2
    assert answer.err.startswith("Error: ")


async def test_a_dead_run_is_replayed_as_itself_and_discarded_for_good(queue: OwnQueue) -> None:
    run_id = await make_dead(queue)
    replayed = await call("runs", "replay", run_id)
    assert (replayed.code, replayed.out) == (0, f"{run_id}\n")
    refused = await call("runs", "discard", run_id)
    assert (refused.code, refused.out) == (1, "")
    assert "only a dead run can be discarded" in refused.err
    dead_id = await make_dead(queue)
    discarded = await call("runs", "discard", dead_id)
    assert (discarded.code, discarded.out) == (0, f"{dead_id}\n")
    assert (await call("runs", "show", dead_id, "--json")).json["reason"] == "discarded"


async def test_a_run_that_cannot_be_replayed_stops_no_other(queue: OwnQueue) -> None:
    (run_id,) = await make_failed(queue, 1)
    answer = await call("runs", "replay", "nobody", run_id)
    assert answer.code == 1
    assert answer.err.startswith("Error: unknown run 'nobody'")
    assert answer.out.startswith(f"{run_id} as ")


@pytest.mark.parametrize(
    "arguments", [[], ["--all"], ["--all", "--state", "dead", "id"], ["--state", "dead", "id"]]
)
async def test_replay_wants_to_know_which_runs_are_meant(arguments: list[str]) -> None:
    answer = await call("runs", "replay", *arguments)
    assert answer.code == 2
    assert answer.err.startswith("Error: ")
