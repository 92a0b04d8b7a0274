"""`fluid pause` and `fluid resume`."""

from __future__ import annotations

from fluid.scheduler import TaskConsumer, TaskManager, TaskState
from fluid.testing import Recorder
from tests.fluid.cli import shop
from tests.fluid.cli.calling import SHOP, call
from tests.support.queues import OwnQueue


async def test_a_queue_is_paused_and_resumed(queue: OwnQueue) -> None:
    paused = await call("pause")
    assert (paused.code, paused.out) == (0, f"queue {queue.name} is paused: nothing is claimed\n")
    assert "paused: nothing is claimed" in (await call("status")).lines[0]
    resumed = await call("resume", "--json")
    assert resumed.json == {"queue": queue.name, "task": None, "paused": False}
    assert (await call("status", "--json")).json["paused"] is False


async def test_a_task_is_paused_and_its_runs_go_on_when_it_is_resumed(queue: OwnQueue) -> None:
    paused = await call("pause", "charge", "--json")
    assert paused.json == {"queue": queue.name, "task": "charge", "paused": True}
    assert (await call("status", "--json")).json["paused_tasks"] == ["charge"]
    assert (await call("status")).lines[1] == "paused tasks, whose runs are held: charge"
    consumer = TaskConsumer(broker_url=queue.url)
    consumer.register_from_dict(vars(shop))
    heard = Recorder(consumer)
    async with consumer:
        run = await consumer.queue(shop.charge, amount=3)
        assert (await heard.wait_for("held", run.id)).reason == "paused"
        assert (await consumer.queue_and_wait(shop.add, timeout=20, a=1, b=2)).state is TaskState.success
        listed = (await call("runs", "ls", "--state", "held", "--reason", "paused", "--json")).json
        assert [(one["id"], one["reason"]) for one in listed] == [(run.id, "paused")]
        resumed = await call("resume", "charge", "--consumer", SHOP)
        assert (resumed.code, resumed.out) == (0, f"task charge in queue {queue.name} is resumed\n")
        assert await run.result(timeout=20) == "you paid 3"


async def test_a_mistyped_task_is_refused_where_tasks_are_known(queue: OwnQueue) -> None:
    answer = await call("pause", "chrage", "--consumer", SHOP)
    assert (answer.code, answer.out) == (1, "")
    assert "unknown task 'chrage'" in answer.err
    async with TaskManager(broker_url=queue.url) as manager:
        assert (await manager.broker.snapshot()).paused_tasks == ()
