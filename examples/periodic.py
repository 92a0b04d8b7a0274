"""Periodic: a task that is due every second, one that is due every night; it ends after three ticks."""

from __future__ import annotations

import asyncio

from fluid.scheduler import Event, TaskRun, TaskScheduler, crontab, every, task
from telemetry.logs import configure

TICKS = 3


@task(schedule=every(1))
async def heartbeat(ctx: TaskRun) -> None:
    """Say that time has passed, in a line with the ids of the run."""
    ctx.logger.info("tick %s", ctx.id)


@task(schedule=crontab("30 2 * * *", timezone="Europe/Rome", missed="once"))
async def nightly(ctx: TaskRun) -> None:
    """Tidy up; a night that was missed is made good once, when a scheduler is back."""
    ctx.logger.info("good night")


async def main() -> None:
    """Any number of schedulers may run this: each tick fires once among them all."""
    configure()
    scheduler = TaskScheduler()
    scheduler.register_from_dict(globals())
    ended: list[Event] = []

    async def stop_after_some(event: Event) -> None:
        ended.append(event)
        if len(ended) == TICKS:
            scheduler.gracefully_stop()

    scheduler.register_async_handler("success.stop", stop_after_some)
    await scheduler.safe_run()


if __name__ == "__main__":
    asyncio.run(main())
