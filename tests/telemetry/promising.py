"""A consumer with a task that promises everything that can be promised."""

from __future__ import annotations

from fluid.scheduler import SLO, TaskConsumer, TaskRun, task


@task(slo=SLO(success=0.999, start_within=5, finish_within=60))
async def charge(ctx: TaskRun) -> None:
    """Charge somebody."""


consumer = TaskConsumer()
consumer.register_task(charge)
