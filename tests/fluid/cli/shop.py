"""A program as a user would write it: what the tests of the `fluid` command name as their target."""

from __future__ import annotations

import asyncio
import gc
import time
from dataclasses import dataclass
from pathlib import Path

from fluid.scheduler import TaskConsumer, TaskManager, TaskRun, TaskScheduler, every, task
from fluid.workers import Worker


@dataclass
class Charge:
    """What is charged."""

    amount: int
    who: str = "you"


@task
async def add(ctx: TaskRun) -> int:
    """Add two numbers."""
    return int(ctx.params["a"] + ctx.params["b"])


@task
async def charge(ctx: TaskRun[Charge]) -> str:
    """Charge a customer; nobody can be charged less than nothing."""
    if ctx.params.amount < 0:
        raise ValueError("an amount is positive")
    return f"{ctx.params.who} paid {ctx.params.amount}"


@task(schedule=every(3600))
async def sweep(ctx: TaskRun) -> None:
    """Sweep the floor."""


@task
async def wait_at_gate(ctx: TaskRun) -> None:
    """Wait until somebody opens the gate, a named pipe, from its other end."""
    ctx.logger.info("at the gate")
    await asyncio.to_thread(Path(ctx.params["gate"]).read_bytes)
    ctx.logger.info("through the gate")


@task
async def block(ctx: TaskRun) -> None:
    """Let nothing else happen in the process."""
    ctx.logger.info("blocking")
    while True:
        time.sleep(0.01)  # noqa: ASYNC251 - this is what must not stop a stop


@task
async def look_at_collector(ctx: TaskRun) -> dict[str, int]:
    """Tell how the garbage collector is set."""
    return {"threshold": gc.get_threshold()[0], "frozen": gc.get_freeze_count()}


@task
async def shapeless(ctx: TaskRun) -> object:
    """Return what no JSON can hold."""
    return object()


class Doomed(Worker):
    """A critical worker that raises."""

    async def run(self) -> None:
        raise RuntimeError("nothing works any more")


class Quitter(Worker):
    """Has the whole consumer bail out."""

    def __init__(self, owner: TaskConsumer) -> None:
        super().__init__()
        self._owner = owner

    async def run(self) -> None:
        self._owner.bail_out("the shop has burnt down", 7)
        await self.wait_for_stop()


consumer = TaskConsumer()
consumer.register_from_dict(globals())

scheduler = TaskScheduler()
scheduler.register_task(sweep)

manager = TaskManager()
stubborn = TaskConsumer(max_concurrent_tasks=3)
number = 3


def make() -> TaskConsumer:
    """A factory."""
    made = TaskConsumer()
    made.register_task(add)
    return made


def doomed() -> TaskConsumer:
    """A consumer that cannot live."""
    made = TaskConsumer()
    made.add_workers(Doomed())
    return made


def quitting() -> TaskConsumer:
    """A consumer that bails out."""
    made = TaskConsumer()
    made.add_workers(Quitter(made))
    return made


def make_from(recipe: str) -> TaskConsumer:
    """Not a factory: it wants an argument."""
    return TaskConsumer(name=recipe)


async def make_later() -> TaskConsumer:
    """Not a factory: it is async."""
    return TaskConsumer()


if __name__ == "__main__":
    consumer.cli()
