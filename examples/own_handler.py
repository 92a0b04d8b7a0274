"""Own handler: count events in line, and tell somebody of failures without slowing a run down."""

from __future__ import annotations

import asyncio
from collections import Counter

from fluid.scheduler import Event, RetryPolicy, TaskConsumer, TaskRun, group, task


class OutOfStockError(Exception):
    """There is nothing left to ship."""


@task(retry=RetryPolicy(max_attempts=2, wait=0.1))
async def ship(ctx: TaskRun) -> str:
    """Ship an article."""
    if ctx.params["article"] == "unicorn":
        raise OutOfStockError("no unicorn is left")
    return f"shipped {ctx.params['article']}"


async def tell_somebody(event: Event) -> None:
    """An async handler: it gets the run as it was at the event, and may take its time."""
    if event.run is not None:
        print(f"{event.name} of {event.run.name} in attempt {event.run.attempt}: {event.run.error}")


async def main() -> None:
    """Queue three runs, one of which fails twice."""
    consumer = TaskConsumer()
    consumer.register_task(ship)
    seen: Counter[str] = Counter()

    def count(event: Event) -> None:
        """A sync handler: it is called in line, so it must be tiny."""
        seen[event.name] += 1

    for name in ("retry", "success", "failure"):
        consumer.dispatcher.register_handler(f"{name}.count", count)
    consumer.register_async_handler("failure.tell", tell_somebody)
    async with consumer:
        articles = [{"article": name} for name in ("book", "unicorn", "lamp")]
        await group(await consumer.queue_many(ship, articles)).wait(timeout=10)
    print(dict(sorted(seen.items())))


if __name__ == "__main__":
    asyncio.run(main())
