"""A consumer that stood still for longer than its lease comes back with an outcome that nobody wants."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from fluid.scheduler import TaskManager, TaskState
from tests.chaos import fleet
from tests.chaos.cast import consumer_process
from tests.support.ledger import Ledger
from tests.support.waiting import poll
from tests.telemetry.scraping import Scrape, read

LEASE = 1.0


async def scraped(port: int) -> Scrape:
    """What a scraper is told there."""
    url = f"http://127.0.0.1:{port}/metrics"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return read(await answer.text())


@pytest.mark.slow
async def test_the_outcome_of_a_consumer_that_stood_still_is_refused_counted_and_told(
    broker_url: str, free_port: int, tmp_path: Path
) -> None:
    ledger, gate = Ledger(tmp_path / "ledger"), tmp_path / "gate"
    async with TaskManager(broker_url=broker_url) as manager:
        fleet.know_all(manager)
        async with consumer_process(
            broker_url, tmp_path / "late", lease_seconds=LEASE, telemetry_port=free_port
        ) as late:
            await late.wait_for_line("^consumer_started")
            run = await manager.queue("stand", ledger=str(ledger.path), gate=str(gate))
            await ledger.wait_for(1, "start")
            late.pause()
            async with consumer_process(broker_url, tmp_path / "prompt", lease_seconds=LEASE) as prompt:
                first, second = await ledger.wait_for(2, "start")
                assert (first.pid, second.pid) == (late.pid, prompt.pid)
                gate.touch()
                assert await run.result(timeout=20) == prompt.pid
                late.resume()
                await late.wait_for_line(f"^stale {run.id}")
                metrics = await scraped(free_port)
            assert "success" not in {line.split()[0] for line in late.output.splitlines()}
        again = await manager.get_run(run.id)
        assert (again.state, again.attempt) == ("success", 2)
        assert await again.result(timeout=1) == prompt.pid
        books = (await manager.broker.snapshot()).books
    refused = metrics.value("fluid_stale_outcomes_total", task="stand")
    assert refused == metrics.value("fluid_stale_outcomes_total") == 1
    assert (books.success, books.unaccounted) == (1, 0)
    assert ledger.counts() == {"start": 2, "end": 2}


@pytest.mark.slow
async def test_a_run_that_its_first_owner_claimed_again_takes_no_outcome_of_the_first_attempt(
    broker_url: str, tmp_path: Path
) -> None:
    ledger, gate = Ledger(tmp_path / "ledger"), tmp_path / "gate"
    async with TaskManager(broker_url=broker_url) as manager:
        fleet.know_all(manager)
        async with consumer_process(broker_url, tmp_path / "said", lease_seconds=LEASE) as owner:
            await owner.wait_for_line("^consumer_started")
            run = await manager.queue("insist", ledger=str(ledger.path), gate=str(gate))
            await ledger.wait_for(1, "start")
            owner.pause()

            async def rescue() -> list[str]:
                # a rescuer without slots, so that nobody but its first owner can claim the run
                rescued = await manager.broker.rescue(
                    nonce=f"look-{len(passes)}", interval=0, max_deliveries=5, silence=0
                )
                passes.append(len(rescued))
                return [one.record.id for one in rescued]

            passes: list[int] = []
            assert await poll(rescue, bool, "the lease to run out") == [run.id]
            owner.resume()
            first, second = await ledger.wait_for(2, "start")
            assert (first.pid, first.attempt) == (owner.pid, 1)
            assert (second.pid, second.attempt) == (owner.pid, 2)

            (tmp_path / "gate-1").touch()
            await owner.wait_for_line(f"^stale {run.id}")
            assert (await manager.get_run(run.id)).state is TaskState.running
            (tmp_path / "gate-2").touch()
            assert await run.result(timeout=20) == 2
        books = (await manager.broker.snapshot()).books
    assert (books.success, books.unaccounted) == (1, 0)
    assert ledger.counts() == {"start": 2, "end": 2}
