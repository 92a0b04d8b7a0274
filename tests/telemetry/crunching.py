"""A CPU-bound task, where another process can find it; and a consumer that is to be killed."""

from __future__ import annotations

import asyncio
import atexit
import logging
import sys

import structlog
from opentelemetry import context, trace

from fluid.scheduler import TaskConsumer, TaskRun, task
from telemetry import Telemetry


@task(cpu_bound=True)
def crunch(ctx: TaskRun) -> str:
    """Work in a span of its own, and one within it."""
    tracer = trace.get_tracer("crunching")
    logging.getLogger("cruncher").warning("before the crunch")
    with tracer.start_as_current_span("crunching") as span:
        with tracer.start_as_current_span("chewing"):
            logging.getLogger("cruncher").warning("chewing")
            structlog.get_logger("cruncher").warning("swallowing")
        return f"{span.get_span_context().trace_id:032x}"


@task(cpu_bound=True)
def clear_away(ctx: TaskRun) -> None:
    """Leave something to be done at the exit of the process, in a span of the run's."""
    within = context.get_current()
    tracer = trace.get_tracer("crunching")
    atexit.register(lambda: tracer.start_span("clearing-away", within).end())


@task(cpu_bound=True)
def recite(ctx: TaskRun) -> None:
    """Say something in every way there is."""
    try:
        raise LookupError("the page is torn")
    except LookupError:
        logging.getLogger("library").exception("cannot read")
    logging.getLogger("library").warning("asked", extra={"asked": {"password": "open sesame"}})
    log = structlog.get_logger("poet").bind(name="Ada")
    log.info("verse", line=1, module="odes")
    try:
        raise ValueError("out of ink")
    except ValueError:
        log.exception("cannot write")


@task
async def linger(ctx: TaskRun) -> None:
    """Stay until somebody kills the process, the first time."""
    if ctx.attempt == 1:
        with trace.get_tracer("crunching").start_as_current_span("settling-in"):
            pass
        await asyncio.Event().wait()


async def main(broker_url: str) -> None:
    """Consume until killed."""
    consumer = TaskConsumer(broker_url=broker_url, lease_seconds=1)
    consumer.register_task(linger)
    Telemetry(server=False).attach(consumer)
    await consumer.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
