"""What stands between the call that queues a run and its body; `make latency` prints how long it takes."""

from __future__ import annotations

from collections import Counter

from fluid.scheduler import TaskRun, task
from tests.fluid.scheduler.consuming import consuming, managing
from tests.support.proxy import CuttingProxy
from tests.support.queues import OwnQueue
from tests.support.waiting import poll

ROUNDS = 20
LONG = 600.0
"""Seconds of a lease, so that nothing is said of it meanwhile."""


async def test_an_idle_consumer_starts_a_run_without_sending_anything(
    broker_queue: OwnQueue, broker_url: str, proxied_url: str, proxy: CuttingProxy
) -> None:
    sent: list[Counter[str]] = []

    @task
    async def note(ctx: TaskRun) -> None:
        sent.append(proxy.commands - before)

    async def waiting() -> int:
        with broker_queue.server.client() as client:
            return int(client.info("clients")["blocked_clients"])

    async with (
        consuming(proxied_url, note, lease_seconds=LONG) as (_, heard),
        managing(broker_url, note) as (manager, _),
    ):
        for round_ in range(1, ROUNDS + 1):
            # the claim has been sent already, behind a wait at the bell
            await poll(waiting, lambda found: found == 1, "the consumer to wait at the bell")
            before = proxy.commands.copy()
            await manager.queue(note)
            await heard.wait_for("end", count=round_)
    first, *others = sent  # the first claim teaches the server its script
    assert first <= Counter(EVAL=1)
    assert others == [{}] * (ROUNDS - 1)
