"""Hello: declare a task, queue a run of it, wait for what it returns."""

from __future__ import annotations

import asyncio

from fluid.scheduler import TaskConsumer, TaskRun, task


@task
async def hello(ctx: TaskRun) -> str:
    """Greet somebody."""
    return f"Hello, {ctx.params['name']}!"


async def main() -> None:
    """Queue and execute in one process."""
    consumer = TaskConsumer()
    consumer.register_task(hello)
    async with consumer:
        run = await consumer.queue(hello, name="world")
        print(await run.result(timeout=10))


if __name__ == "__main__":
    asyncio.run(main())
