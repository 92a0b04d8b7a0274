"""`fluid tasks`, `fluid status`, `fluid runs ls` and `show`."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta

import pytest

from fluid.cli import run_for
from fluid.cli.arguments import read_moment
from fluid.clock import now
from fluid.scheduler import TaskConsumer, TaskManager, TaskPriority
from tests.fluid.cli import shop
from tests.fluid.cli.calling import SHOP, call
from tests.support.queues import OwnQueue


async def test_tasks_are_listed_with_what_they_promise() -> None:
    told = await call("tasks", SHOP, "--json")
    tasks = {one["name"]: one for one in told.json}
    assert tasks["sweep"]["schedule"] == "every hour"
    assert tasks["charge"]["params"] == "Charge"
    assert tasks["add"]["description"] == "Add two numbers."
    table = (await call("tasks", SHOP)).lines
    assert table[0].split() == ["name", "priority", "max_attempts", "params", "schedule", "description"]
    assert len(table) == 1 + len(tasks)


async def test_status_shows_the_depth_and_the_books_with_a_broker_url_alone(queue: OwnQueue) -> None:
    async with TaskManager(broker_url=queue.url) as manager:
        await manager.queue(shop.add, a=1, b=2)
        await manager.queue(shop.add, TaskPriority.high, a=1, b=2)
    told = await call("status", "--broker-url", queue.url, env={"FLUID_BROKER_URL": ""})
    assert told.code == 0
    assert told.lines[0] == f"queue {queue.name} at {queue.url}"
    assert [line.split()[:2] for line in told.lines[2:7]] == [
        ["priority", "ready"],
        ["high", "1"],
        ["medium", "1"],
        ["low", "0"],
        ["all", "2"],
    ]
    assert told.lines[-1] == "no consumer shows signs of life"
    status = (await call("status", "--json")).json
    assert status["by_priority"]["high"]["ready"] == 1
    assert status["oldest_ready_age"]["high"] > 0
    assert status["books"]["accepted"] == 2
    assert status["books"]["unaccounted"] == 0
    assert status["consumers"] == []


async def test_status_shows_who_consumes(queue: OwnQueue) -> None:
    consumer = TaskConsumer(broker_url=queue.url, max_concurrent_tasks=7)
    consumer.register_task(shop.add)
    async with consumer:
        # what has ended here was claimed, so the consumer is known
        await consumer.queue_and_wait("add", timeout=20, a=1, b=2)
        told = await call("status", SHOP, "--json")
        shown = await call("status", SHOP)
    (one,) = told.json["consumers"]
    assert (one["name"], one["slots"], one["tasks"]) == (consumer.consumer_name, 7, ["add"])
    assert shown.lines[-1].split()[:2] == [consumer.consumer_name, "7"]


async def test_runs_are_listed_by_state_and_task_and_in_pages(queue: OwnQueue) -> None:
    async with TaskManager(broker_url=queue.url) as manager:
        runs = await manager.queue_many(shop.add, [{"a": n, "b": n} for n in range(3)])
        await manager.queue(shop.charge, amount=1)
    everything = (await call("runs", "ls", "--json")).json
    assert len(everything) == 4
    added = (await call("runs", "ls", "--state", "queued", "--task", "add", "--json")).json
    assert [one["id"] for one in added] == [run.id for run in runs]
    page = await call("runs", "ls", "--task", "add", "--limit", "1")
    assert page.lines[0].split() == ["id", "task", "state", "reason", "queued", "error"]
    assert [line.split()[:3] for line in page.lines[1:]] == [[runs[0].id, "add", "queued"]]
    assert (await call("runs", "ls", "--state", "dead", "--json")).json == []


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
async def test_a_page_says_how_to_go_on_and_goes_on_from_one_state_to_the_next(
    queue: OwnQueue, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    async with TaskConsumer(broker_url=queue.url) as consumer:
        failed = await consumer.queue_and_wait(shop.charge, timeout=20, amount=-1)
    async with TaskManager(broker_url=queue.url) as manager:
        runs = await manager.queue_many(shop.add, [{"a": n, "b": n} for n in range(2)])
    listed = []
    after: list[str] = []
    for _ in range(3):
        page = ["runs", "ls", "--limit", "1", *(["--json"] if as_json else []), *after]
        assert await asyncio.to_thread(run_for, TaskManager(), args=page, standalone=False) == 0
        told = capsys.readouterr()
        if as_json:
            listed += [one["id"] for one in json.loads(told.out)]
            after = ["--after", json.loads(told.err)["after"]] if told.err else []
        else:
            listed.append(told.out.splitlines()[1].split()[0])
            after = told.err.removeprefix("there are more: ").split()
    assert listed == [failed.id, *(run.id for run in runs)]
    assert after == []


async def test_runs_are_listed_by_reason_and_time(queue: OwnQueue) -> None:
    async with TaskConsumer(broker_url=queue.url) as consumer:
        run = await consumer.queue_and_wait(shop.charge, timeout=20, amount=-1)
    listed = {
        arguments: [one["id"] for one in (await call("runs", "ls", "--json", *arguments)).json]
        for arguments in (
            ("--reason", "error"),
            ("--reason", "timeout"),
            ("--since", "2020-01-31", "--until", "2999-12-31T23:59:59"),
            ("--since", "2999-12-31"),
            ("--until", "2020-01-31 08:30:00"),
            ("--since", "1h"),
            ("--until", "7d"),
        )
    }
    assert list(listed.values()) == [[run.id], [], [run.id], [], [], [run.id], []]


@pytest.mark.parametrize("time", ["yesterday", "2026-13-01", "5 h", "99999999999999d", ""])
async def test_a_time_that_is_none_is_refused_with_one_that_is(time: str) -> None:
    wrong = await call("runs", "ls", "--since", time)
    assert (wrong.code, wrong.out) == (2, "")
    assert f"{time!r} is no time: write 2026-01-31 or" in wrong.err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31T08:30Z", "2026-01-31T08:30:00+00:00"),
        ("2026-01-31T08:30:00+02:00", "2026-01-31T06:30:00+00:00"),
    ],
)
def test_a_time_may_have_a_zone(text: str, expected: str) -> None:
    assert read_moment(text) == datetime.fromisoformat(expected)


def test_an_age_is_so_long_ago() -> None:
    ages = {"90s": 90, "15min": 900, "6h": 21_600, "7d": 604_800}
    before = now()
    instants = {age: read_moment(age) for age in ages}
    after = now()
    for age, seconds in ages.items():
        assert before <= instants[age] + timedelta(seconds=seconds) <= after


async def test_times_that_leave_no_room_are_refused(queue: OwnQueue) -> None:
    wrong = await call("runs", "ls", "--since", "1h", "--until", "2h")
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.err == "Error: --since is later than --until, so no run can be meant\n"


async def test_a_page_after_something_else_is_an_error_in_a_line(queue: OwnQueue) -> None:
    wrong = await call("runs", "ls", "--after", "nonsense")
    assert (wrong.code, wrong.out) == (1, "")
    assert wrong.err.startswith("Error: no list of these states has a page after 'nonsense': ")


async def test_all_that_is_kept_of_a_run_is_shown(queue: OwnQueue) -> None:
    consumer = TaskConsumer(broker_url=queue.url)
    async with consumer:
        run = await consumer.queue_and_wait(shop.charge, timeout=20, amount=-1)
    told = await call("runs", "show", run.id)
    assert told.lines[:4] == [
        f"run        {run.id}",
        "task       charge",
        "state      failure",
        "reason     error",
    ]
    assert "traceback" in told.lines
    assert told.lines[-1] == "  ValueError: an amount is positive"
    kept = (await call("runs", "show", run.id, "--json")).json
    assert kept["error_type"] == "ValueError"
    assert kept["consumer"] == consumer.consumer_name


async def test_a_run_that_nobody_knows_is_an_error_in_a_line(queue: OwnQueue) -> None:
    answer = await call("runs", "show", "nobody")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err == "Error: unknown run 'nobody': never queued here, or its record has expired\n"


async def test_a_broker_that_is_away_is_an_error_in_a_line(free_port: int) -> None:
    answer = await call("status", "--broker-url", f"redis://:secret@127.0.0.1:{free_port}")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("Error: the broker at ")
    assert len(answer.err.splitlines()) == 1
    assert "secret" not in answer.err
