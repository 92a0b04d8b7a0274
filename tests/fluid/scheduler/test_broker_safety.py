"""What a broker may do to runs is said aloud: when it starts to be so, and when it has been done."""

from __future__ import annotations

import pytest

from fluid.scheduler import TaskRun, task
from fluid.scheduler.brokers.keys import Keys
from tests.fluid.scheduler.consuming import consuming
from tests.support.queues import OwnQueue
from tests.support.servers import Flavour, RedisServer


@task
async def idle(ctx: TaskRun) -> None: ...


@pytest.mark.parametrize(
    ("settings", "appendonly", "dangers"),
    [
        ({"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}, True, {"eviction"}),
        ({"maxmemory": "100mb", "maxmemory-policy": "noeviction"}, False, {"not_durable"}),
    ],
    ids=["evicts", "forgets"],
)
async def test_a_broker_that_may_lose_runs_is_told_of_when_a_consumer_starts(
    flavour: Flavour, settings: dict[str, str], appendonly: bool, dangers: set[str]
) -> None:
    with RedisServer(flavour, appendonly=appendonly, settings=settings) as server:
        async with consuming(server.queue_url("unsafe"), idle) as (_, heard):
            await heard.wait_for("broker_unsafe", count=len(dangers))
            assert {event.reason for event in heard.of("broker_unsafe")} == dangers


async def test_a_broker_that_went_back_in_time_is_told_of_with_the_next_claim(
    broker_queue: OwnQueue,
) -> None:
    async with consuming(broker_queue.url, idle) as (consumer, heard):
        await consumer.queue_many(idle, [{}] * 10)
        await heard.wait_for("success", count=10)
        with broker_queue.server.client() as client:
            client.hincrby(Keys(broker_queue.name)["books"], "accepted", -6)
        await consumer.queue_and_wait(idle, timeout=20)
        rewound = await heard.wait_for("broker_rewound")
    before, after = rewound.facts["before"], rewound.facts["after"]
    assert after < before <= 10
