"""A new release is rolled out, rolled back and rolled out again, while work comes from both."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle
from pathlib import Path

import pytest

from fluid.scheduler import Snapshot, TaskManager, TaskRun, TaskState
from tests.chaos.releases import ONE, TWO, tasks_of
from tests.support.ledger import Ledger
from tests.support.processes import PythonProcess
from tests.support.waiting import poll

PACE = 0.01
"""Seconds between runs of a producer."""


class Application:
    """Consumers and producers of both releases."""

    def __init__(self, url: str, directory: Path, stack: AsyncExitStack) -> None:
        self.url = url
        self.ledger = Ledger(directory / "ledger")
        self.processes: list[PythonProcess] = []
        self.queued: list[TaskRun] = []
        self._directory = directory
        self._stack = stack

    async def start(self, release: str) -> PythonProcess:
        """A consumer more; returned when it claims."""
        process = PythonProcess(
            *("-m", "tests.chaos.releases", release, self.url, self.ledger.path),
            output=self._directory / f"said-{len(self.processes)}",
        )
        self.processes.append(await self._stack.enter_async_context(process))
        await process.wait_for_line("^consumer_started")
        return process

    async def roll(self, old: list[PythonProcess], release: str) -> list[PythonProcess]:
        """Put a consumer of the release in the place of each, one after the other."""
        new = []
        for leaving in old:
            new.append(await self.start(release))
            await self.stop(leaving)
        return new

    @staticmethod
    async def stop(leaving: PythonProcess) -> None:
        """SIGTERM, and it ends well."""
        leaving.terminate()
        assert await leaving.wait() == 0, leaving.output

    @asynccontextmanager
    async def manager(self, release: str) -> AsyncIterator[TaskManager]:
        """What a producer of this release queues with."""
        async with TaskManager(broker_url=self.url) as manager:
            manager.register_from_dict(tasks_of(release, self.ledger))
            yield manager

    @asynccontextmanager
    async def producer(self, release: str, *names: str) -> AsyncIterator[TaskManager]:
        """Queues runs of these tasks in turn, until it is left."""
        over = asyncio.Event()
        async with self.manager(release) as manager, asyncio.TaskGroup() as producing:
            producing.create_task(self._produce(manager, names, over))
            try:
                yield manager
            finally:
                over.set()

    async def _produce(self, manager: TaskManager, names: tuple[str, ...], over: asyncio.Event) -> None:
        for name in cycle(names):
            if over.is_set():
                return
            self.queued.append(await manager.queue(name))
            await asyncio.sleep(PACE)

    def times(self, event: str) -> Counter[str]:
        """How often an event of each run was told, by all consumers."""
        told = (line.split() for one in self.processes for line in one.output.splitlines())
        return Counter(words[1] for words in told if words[0] == event)


@pytest.mark.slow
async def test_a_deploy_a_rollback_and_a_deploy_lose_and_misrun_nothing(
    broker_url: str, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        app = Application(broker_url, tmp_path, stack)
        async with app.producer(ONE, "order", "fax") as manager, app.producer(TWO, "order", "chat"):

            async def some_wait(task: str) -> None:
                async def held() -> int:
                    return len(await manager.list_runs(TaskState.held, task=task, limit=10))

                await poll(held, lambda count: count >= 10, f"runs of {task} to be held")

            old = [await app.start(ONE), await app.start(ONE)]
            await some_wait("chat")
            new = await app.roll(old, TWO)
            await some_wait("fax")
            old = await app.roll(new, ONE)
            await some_wait("chat")
            new = [await app.start(TWO)]
            await app.stop(old.pop())

        def at_rest(seen: Snapshot) -> bool:
            return seen.ready + seen.running + seen.scheduled + seen.held == 0

        async with TaskManager(broker_url=broker_url) as manager:
            snapshot = await poll(manager.broker.snapshot, at_rest, "every run to end")
        for process in (*old, *new):
            await app.stop(process)

    ids = {run.id for run in app.queued}
    assert len(ids) == snapshot.books.accepted == snapshot.books.success
    assert (snapshot.dead, snapshot.books.unaccounted) == (0, 0)
    assert Counter(entry.run_id for entry in app.ledger.entries()) == dict.fromkeys(ids, 1)
    ran_by = {(entry.task, entry.what) for entry in app.ledger.entries()}
    assert ran_by == {("order", ONE), ("order", TWO), ("fax", ONE), ("chat", TWO)}
    assert app.times("success") == dict.fromkeys(ids, 1)
    assert set(app.times("held").values()) == {1}, "a run that was moved aside went straight to who knows it"


@pytest.mark.slow
async def test_parameters_that_only_the_newer_release_reads_are_never_misread(
    broker_url: str, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        app = Application(broker_url, tmp_path, stack)
        old = await app.start(ONE)
        async with app.manager(TWO) as manager:
            signed = await manager.queue("mail", text="hello", signed="Ann")
            await old.wait_for_line(f"^dead {signed.id}")
            assert (await manager.get_evidence(signed.id))["reason"] == "invalid_params"
            (new,) = await app.roll([old], TWO)
            await manager.replay(signed.id)
            assert await signed.result(timeout=20) == "hello, Ann"
            async with app.manager(ONE) as before:
                plain = await before.queue("mail", text="hello")
                assert await plain.result(timeout=20) == "hello, nobody"
        await app.stop(new)
    assert {entry.what for entry in app.ledger.entries()} == {TWO}
