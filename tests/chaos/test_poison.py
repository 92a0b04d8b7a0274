"""One run kills whoever runs it, among many that take their time."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from fluid.scheduler import Snapshot, TaskManager, TaskState
from tests.chaos import fleet
from tests.chaos.cast import Supervised, consumer_process
from tests.support.ledger import Ledger
from tests.support.queues import OwnQueue, queue_of_its_own
from tests.support.servers import RedisServer
from tests.support.waiting import poll

LEASE = 1.0
GOOD = 500
SECONDS = 0.1
SLOTS = 8
MOST_LOSSES = 3


def consumer_of(queue: OwnQueue, output: Path) -> Supervised:
    """A consumer that its supervisor starts again."""
    return Supervised(
        lambda: consumer_process(
            queue.url,
            output,
            lease_seconds=LEASE,
            max_concurrent_tasks=SLOTS,
            max_deliveries=MOST_LOSSES,
        )
    )


@pytest.mark.slow
async def test_a_run_that_kills_its_consumers_is_dead_and_takes_no_neighbour_along(
    valkey_server: RedisServer, tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path / "ledger")
    given = {"ledger": str(ledger.path), "seconds": SECONDS}
    async with AsyncExitStack() as stack:
        queue = stack.enter_context(queue_of_its_own(valkey_server))
        manager = await stack.enter_async_context(TaskManager(broker_url=queue.url))
        fleet.know_all(manager)
        # it is claimed with the good ones, by whoever comes first
        good = await manager.queue_many("nap", [given] * (GOOD // 2))
        bad = await manager.queue("poison", ledger=str(ledger.path))
        good += await manager.queue_many("nap", [given] * (GOOD // 2))
        consumers = [
            await stack.enter_async_context(consumer_of(queue, tmp_path / f"said-{number}"))
            for number in range(2)
        ]

        def at_rest(seen: Snapshot) -> bool:
            return seen.ready + seen.running + seen.scheduled + seen.held == 0

        snapshot = await poll(manager.broker.snapshot, at_rest, "every run to end", every=0.1)
        evidence = await manager.get_evidence(bad.id)
    books = snapshot.books
    assert (books.accepted, books.success, snapshot.dead, books.unaccounted) == (GOOD + 1, GOOD, 1, 0)
    assert (evidence["state"], evidence["reason"]) == (TaskState.dead, "lost_too_often")

    killed = [life for one in consumers for life in one.lives if life.returncode == -9]
    owners = [line.split()[2] for one in consumers for line in one.said("consumer_started")]
    assert len(evidence["lost_by"]) == len(set(evidence["lost_by"])) == MOST_LOSSES
    assert set(evidence["lost_by"]) <= set(owners)
    poisoned = ledger.entries("start")
    assert Counter(entry.attempt for entry in poisoned if entry.task == "poison") == {1: 1, 2: 1, 3: 1}
    assert {entry.pid for entry in poisoned if entry.task == "poison"} <= {life.pid for life in killed}
    ended = {entry.run_id for entry in ledger.entries("end")}
    assert ended == {run.id for run in good}
