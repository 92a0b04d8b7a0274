"""A consumer is killed with its hands full."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fluid.scheduler import TaskManager
from tests.chaos import fleet
from tests.chaos.cast import consumer_here, consumer_process
from tests.support.ledger import Ledger
from tests.support.processes import PythonProcess
from tests.support.waiting import poll

LEASE = 1.0
IN_FLIGHT = 32


@pytest.mark.slow
async def test_every_run_of_a_killed_consumer_runs_again_on_another(broker_url: str, tmp_path: Path) -> None:
    ledger, gate = Ledger(tmp_path / "ledger"), tmp_path / "gate"
    async with TaskManager(broker_url=broker_url) as manager:
        fleet.know_all(manager)
        async with consumer_process(broker_url, tmp_path / "said", lease_seconds=LEASE) as doomed:
            started = await doomed.wait_for_line(r"^consumer_started - (\S+)")
            given = {"ledger": str(ledger.path), "gate": str(gate)}
            runs = await manager.queue_many("hold", [given] * IN_FLIGHT)
            await ledger.wait_for(IN_FLIGHT, "start")
            doomed.kill()
            assert await doomed.wait() == -9
        gate.touch()
        async with consumer_here(broker_url, lease_seconds=LEASE) as (_, heard):
            await heard.wait_for("success", count=IN_FLIGHT)
            lost = heard.of("lost")
            snapshot = await manager.broker.snapshot()
    assert Counter(event.run.id for event in lost if event.run) == {run.id: 1 for run in runs}
    assert {event.owner for event in lost} == {started[1]}
    assert Counter((entry.run_id, entry.attempt) for entry in ledger.entries("start")) == {
        (run.id, attempt): 1 for run in runs for attempt in (1, 2)
    }
    assert Counter(entry.run_id for entry in ledger.entries("end")) == {run.id: 1 for run in runs}
    books = snapshot.books
    assert (books.accepted, books.success, books.unaccounted) == (IN_FLIGHT, IN_FLIGHT, 0)
    assert (snapshot.ready, snapshot.running, snapshot.dead) == (0, 0, 0)


@pytest.mark.slow
async def test_what_had_ended_before_the_kill_does_not_run_again(broker_url: str, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    async with TaskManager(broker_url=broker_url) as manager:
        fleet.know_all(manager)
        async with consumer_process(
            broker_url, tmp_path / "said", lease_seconds=LEASE, max_concurrent_tasks=4
        ) as doomed:
            await doomed.wait_for_line("^consumer_started")
            runs = await manager.queue_many("quick", [{"ledger": str(ledger.path)}] * 300)
            await doomed.wait_for_line("^success", count=20)
            doomed.kill()
            await doomed.wait()
        told = {line.split()[1] for line in doomed.output.splitlines() if line.startswith("success ")}
        async with consumer_here(broker_url, lease_seconds=LEASE):

            async def look() -> Any:
                return await manager.broker.snapshot()

            snapshot = await poll(look, lambda seen: seen.books.success == 300, "300 successes")
    assert snapshot.books.unaccounted == 0
    assert told.isdisjoint(ledger.duplicates("end")), "told as a success, and run again"
    assert {entry.run_id for entry in ledger.entries("end")} == {run.id for run in runs}


@pytest.mark.slow
async def test_a_body_that_blocks_the_loop_for_three_leases_runs_once(
    broker_url: str, tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path / "ledger")
    async with (
        TaskManager(broker_url=broker_url) as manager,
        consumer_process(broker_url, tmp_path / "said", lease_seconds=LEASE) as blocked,
    ):
        fleet.know_all(manager)
        await blocked.wait_for_line("^consumer_started")
        run = await manager.queue("block", ledger=str(ledger.path), seconds=3 * LEASE)
        await ledger.wait_for(1, "start")
        async with consumer_here(broker_url, lease_seconds=LEASE) as (_, heard):
            await run.result(timeout=25)
            assert heard.of("lost") == heard.of("start") == []
        await blocked.wait_for_line("^success")
    assert ledger.counts() == {"start": 1, "end": 1}


@pytest.mark.slow
async def test_a_producer_that_is_killed_leaves_what_it_queued(broker_url: str, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    queues = (
        "import asyncio, sys\n"
        "from fluid.scheduler import TaskManager\n"
        "from tests.chaos import fleet\n"
        "async def main(url, ledger):\n"
        "    async with TaskManager(broker_url=url) as manager:\n"
        "        fleet.know_all(manager)\n"
        "        while True:\n"
        "            run = await manager.queue('quick', ledger=ledger)\n"
        "            print('queued', run.id, flush=True)\n"
        "asyncio.run(main(*sys.argv[1:]))\n"
    )
    async with PythonProcess(
        "-c", queues, broker_url, str(ledger.path), output=tmp_path / "said"
    ) as producer:
        await producer.wait_for_line("^queued", count=50)
        producer.kill()
        await producer.wait()
    promised = {line.split()[1] for line in producer.output.splitlines() if line.startswith("queued ")}
    async with consumer_here(broker_url) as (consumer, _):

        async def look() -> Any:
            return await consumer.broker.snapshot()

        snapshot = await poll(look, lambda seen: seen.books.success == seen.books.accepted, "all to end")
    assert snapshot.books.unaccounted == 0
    assert promised <= {entry.run_id for entry in ledger.entries("end")}
    assert ledger.duplicates("end") == {}
