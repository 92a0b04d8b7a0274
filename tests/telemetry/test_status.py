"""What a host tells of itself holds no secret."""

from __future__ import annotations

from fluid.scheduler import TaskConsumer
from fluid.workers import Worker
from telemetry import Telemetry
from telemetry.status import status_of


class Talkative(Worker):
    async def run(self) -> None:
        await self.wait_for_stop()

    async def status(self) -> dict[str, object]:
        return {"asked": 3, "headers": {"Authorization": "Bearer abcdef"}}


async def test_what_a_worker_tells_of_itself_is_masked(consumer: TaskConsumer) -> None:
    consumer.add_workers(Talkative(name="talkative"))
    telemetry = Telemetry(server=False)
    telemetry.attach(consumer)
    attachment = telemetry._attachment
    assert attachment is not None
    async with consumer:
        told = await status_of(consumer, attachment.gauges.snapshots, attachment.metrics)
    assert told["workers"]["talkative"] == {
        "asked": 3,
        "headers": {"Authorization": "***"},
        "restarts": 0,
    }
