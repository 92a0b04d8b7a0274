"""What is open can be ended from another process, and what it holds is let go, however its consumer ended."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fluid.errors import RunAbortedError, RunDeadError, UniqueRunError
from fluid.scheduler import QueueOptions, TaskManager, TaskRun, TaskState
from tests.chaos import fleet
from tests.chaos.cast import consumer_here, consumer_process
from tests.support.ledger import Ledger
from tests.support.processes import PythonProcess
from tests.support.waiting import poll

LEASE = 1.0
ONE_KEY = QueueOptions(unique_key="the only one")


@pytest.fixture
async def manager(broker_url: str) -> AsyncIterator[TaskManager]:
    """Queues and asks; it executes nothing."""
    async with TaskManager(broker_url=broker_url) as manager:
        fleet.know_all(manager)
        yield manager


@pytest.fixture
async def consumer(broker_url: str, tmp_path: Path) -> AsyncIterator[PythonProcess]:
    """A consumer in another process, with two slots, that waits long for its bodies when it is to stop."""
    async with consumer_process(
        broker_url,
        tmp_path / "said",
        lease_seconds=LEASE,
        max_concurrent_tasks=2,
        stopping_grace_period=3600,
    ) as consumer:
        await consumer.wait_for_line("^consumer_started")
        yield consumer


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """What the bodies did."""
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def given(ledger: Ledger, tmp_path: Path) -> dict[str, Any]:
    """The parameters of a body that ends when the test likes."""
    return {"ledger": str(ledger.path), "gate": str(tmp_path / "gate")}


def open_gate(given: dict[str, Any]) -> None:
    """Let those bodies end."""
    Path(given["gate"]).touch()


async def in_state(manager: TaskManager, run: TaskRun, state: TaskState) -> None:
    """Until the broker knows the run so."""

    async def look() -> TaskState:
        return (await manager.get_run(run.id)).state

    await poll(look, lambda seen: seen is state, f"the run to be {state}")


@pytest.mark.slow
async def test_a_run_is_cancelled_from_another_process_wherever_it_is(
    manager: TaskManager, consumer: PythonProcess, ledger: Ledger, given: dict[str, Any]
) -> None:
    running = await manager.queue("alone", **given)
    crunching = await manager.queue("crunch", ledger=str(ledger.path))
    await ledger.wait_for(2, "start")
    held = await manager.queue("alone", **given)
    await in_state(manager, running, TaskState.running)
    # both slots are taken: what comes now stays queued
    waiting = await manager.queue("quick", ledger=str(ledger.path))
    later = await manager.queue("quick", options=QueueOptions(delay=600), ledger=str(ledger.path))
    body = next(entry.pid for entry in ledger.entries("start") if entry.task == "crunch")
    assert body != consumer.pid

    for run, state in ((later, TaskState.scheduled), (waiting, TaskState.queued)):
        assert (await manager.get_run(run.id)).state is state
        assert await run.cancel()
    assert await crunching.cancel()
    await in_state(manager, held, TaskState.held)
    assert await held.cancel()
    assert await running.cancel()
    for run in (later, waiting, held, running, crunching):
        with pytest.raises(RunAbortedError, match="cancelled"):
            await run.result(timeout=20)
    assert {entry.run_id for entry in ledger.entries()} == {running.id, crunching.id}
    assert ledger.counts()["end"] == 0
    await poll(lambda: _lives(body), lambda lives: not lives, "the process of the body to be killed")
    books = (await manager.broker.snapshot()).books
    assert (books.accepted, books.aborted, books.unaccounted) == (5, 5, 0)


async def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
async def test_a_run_is_cancelled_while_its_consumer_drains(
    manager: TaskManager, consumer: PythonProcess, ledger: Ledger, given: dict[str, Any]
) -> None:
    run = await manager.queue("hold", **given)
    await ledger.wait_for(1, "start")
    consumer.terminate()
    await consumer.wait_for_line("^consumer_stopping")
    assert await run.cancel()
    with pytest.raises(RunAbortedError, match="cancelled"):
        await run.result(timeout=20)
    assert await consumer.wait() == 0


@pytest.mark.slow
async def test_a_unique_key_outlives_its_consumer_and_ends_with_its_run(
    manager: TaskManager, consumer: PythonProcess, ledger: Ledger, given: dict[str, Any]
) -> None:
    async def is_taken() -> None:
        with pytest.raises(UniqueRunError, match=run.id):
            await manager.queue("hold", options=ONE_KEY, **given)

    run = await manager.queue("hold", options=ONE_KEY, **given)
    await ledger.wait_for(1, "start")
    consumer.kill()
    await consumer.wait()
    await is_taken()
    async with consumer_here(manager.broker.url, lease_seconds=LEASE):
        await ledger.wait_for(2, "start")
        await is_taken()
        open_gate(given)
        await run.result(timeout=20)
        after = await manager.queue("hold", options=ONE_KEY, **given)
        await after.result(timeout=20)
    assert ledger.counts() == {"start": 3, "end": 2}


@pytest.mark.slow
async def test_a_unique_key_is_let_go_by_a_run_that_was_lost_too_often(
    manager: TaskManager, consumer: PythonProcess, ledger: Ledger, given: dict[str, Any]
) -> None:
    run = await manager.queue("hold", options=ONE_KEY, **given)
    await ledger.wait_for(1, "start")
    consumer.kill()
    await consumer.wait()
    async with consumer_here(manager.broker.url, lease_seconds=LEASE, max_deliveries=1):
        with pytest.raises(RunDeadError):
            await run.result(timeout=20)
        open_gate(given)
        after = await manager.queue("hold", options=ONE_KEY, **given)
        await after.result(timeout=20)


@pytest.mark.slow
async def test_a_place_of_a_killed_consumer_goes_to_the_next_run(
    manager: TaskManager, consumer: PythonProcess, ledger: Ledger, given: dict[str, Any]
) -> None:
    runs = await manager.queue_many("alone", [given] * 2)
    await ledger.wait_for(1, "start")
    await in_state(manager, runs[1], TaskState.held)
    consumer.kill()
    await consumer.wait()
    async with consumer_here(manager.broker.url, lease_seconds=LEASE):
        await ledger.wait_for(2, "start")
        open_gate(given)
        for run in runs:
            await run.result(timeout=20)
    assert ledger.counts() == {"start": 3, "end": 2}
