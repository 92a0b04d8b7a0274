"""`fluid events`: the newest events of the fleet, and those that come."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest

from fluid.scheduler import TaskConsumer
from tests.fluid.cli import shop
from tests.fluid.cli.calling import SHOP, call
from tests.support.processes import PythonProcess
from tests.support.queues import OwnQueue


@pytest.fixture
async def consumer(queue: OwnQueue) -> AsyncIterator[TaskConsumer]:
    """A consumer that tells the fleet what it does."""
    consumer = TaskConsumer(broker_url=queue.url, fleet_events=1000)
    consumer.register_from_dict({"add": shop.add, "charge": shop.charge})
    async with consumer:
        yield consumer


async def test_the_newest_are_shown_and_can_be_chosen(consumer: TaskConsumer) -> None:
    added = await consumer.queue_and_wait("add", timeout=20, a=1, b=2)
    failed = await consumer.queue_and_wait("charge", timeout=20, amount=-1)
    await consumer.shutdown()
    told = await call("events", "--json")
    events = [json.loads(line) for line in told.lines]
    assert [event["name"] for event in events if event.get("run_id") == added.id] == [
        *("queue", "queued", "start", "end", "success")
    ]
    assert events[-1]["name"] == "consumer_stopped"
    (line,) = (await call("events", SHOP, "--event", "failure")).lines
    instant, name, task, run_id, reason, *rest = line.split()
    assert (name, task, run_id, reason) == ("failure", "charge", failed.id, "error,")
    assert rest[-2:] == ["by", consumer.consumer_name]
    assert len(instant) == len("07:36:23.123")
    shown = (await call("events", "--task", "add", "--limit", "2")).lines
    assert [line.split()[1] for line in shown] == ["end", "success"]


async def test_what_is_told_of_a_consumer_can_be_read_by_a_person(consumer: TaskConsumer) -> None:
    tick = datetime(2026, 3, 1, 12, 30).astimezone()
    facts = {"task": "add", "tick": tick.timestamp(), "lateness": 0.0213, "next": None}
    consumer.announce("schedule_fired", facts=facts)
    consumer.announce("loop_blocked", facts={"seconds": 0.563, "task": "add", "run_id": "r1", "stack": "..."})
    await consumer.shutdown()
    (fired,) = (await call("events", "--event", "schedule_fired")).lines
    assert fired.split()[1:3] == ["schedule_fired", "add"]
    assert f"tick 2026-03-01 12:30:00, lateness 21 ms, next never, by {consumer.consumer_name}" in fired
    (blocked,) = (await call("events", "--event", "loop_blocked")).lines
    assert blocked.split()[1:6] == ["loop_blocked", "add", "r1", "seconds", "563"]


async def test_those_that_come_are_shown_until_ctrl_c(consumer: TaskConsumer, tmp_path: Path) -> None:
    before = await consumer.queue_and_wait("add", timeout=20, a=1, b=2)
    options = ("--follow", "--task", "add", "--event", "success")
    async with PythonProcess("-m", "fluid.cli", "events", *options, output=tmp_path / "said") as fluid:
        while " success " not in fluid.output:
            # nobody tells when it has begun to read
            await consumer.queue_and_wait("add", timeout=20, a=1, b=2)
        fluid.interrupt()
        assert await fluid.wait() == 0
        assert before.id not in fluid.output
        assert "Traceback" not in fluid.output


async def test_an_event_that_is_never_announced_is_an_error_in_a_line(queue: OwnQueue) -> None:
    answer = await call("events", "--event", "failed")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("Error: no event 'failed' is ever announced")


async def test_a_fleet_that_tells_nothing_shows_nothing(queue: OwnQueue) -> None:
    answer = await call("events")
    assert (answer.code, answer.out, answer.err) == (0, "", "")
