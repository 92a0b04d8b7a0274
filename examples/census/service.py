"""The service: a scheduled scan that queues the measurements, and the handler that reports failures."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from examples.census import tasks
from examples.census.report import FailureReport
from examples.census.sources import cross_section, find_sources, usual_roots
from fluid.scheduler import Event, TaskRun, TaskScheduler, every, task

SCAN_SECONDS = 30
MOST_FILES = 1_000
"""Queued by a scan; measuring them takes a few seconds of one processor."""


def build(roots: Sequence[Path] = (), report: Path | None = None) -> TaskScheduler:
    """The census of the source files below these roots, else below those of `CENSUS_PATH`, else the usual.

    Failures are written to the report, else to `CENSUS_REPORT`, else to `census-report.txt` here.
    """
    where = roots or _roots_of_environment() or usual_roots()
    failures = FailureReport(report or Path(os.environ.get("CENSUS_REPORT", "census-report.txt")).resolve())
    # Every run has a line when it starts and one when it ends; of thousands, those that fail are worth one.
    logging.getLogger("fluid.runs").setLevel(logging.WARNING)
    # Few slots, for their bodies share one thread and few processors: with more they would wait in there.
    consumer = TaskScheduler(name="census", max_concurrent_tasks=4)
    consumer.register_from_module(tasks)
    turns = itertools.count()

    @consumer.register_task
    @task(schedule=every(SCAN_SECONDS))
    async def scan(ctx: TaskRun) -> dict[str, int]:
        """Queue a measurement of every source file whose turn it is."""
        if (await consumer.broker.snapshot()).ready:
            ctx.logger.info("the files of the last scan are not all measured yet: none are added")
            return {"found": 0, "queued": 0}
        found = await asyncio.to_thread(find_sources, where)
        chosen = cross_section(found, next(turns), MOST_FILES)
        for measure, is_big in ((tasks.measure, False), (tasks.measure_big, True)):
            files = [{"path": str(one.path)} for one in chosen if (one.size >= tasks.BIG_BYTES) is is_big]
            await consumer.queue_many(measure, files)
        return {"found": len(found), "queued": len(chosen)}

    async def first_scan() -> None:
        await consumer.queue(scan)

    def welcome(_: Event) -> None:
        print(
            f"measuring {', '.join(map(str, where))}: at most {MOST_FILES:,} files every {SCAN_SECONDS} s\n"
            f"what cannot be measured is written to {failures.path}\n",
            flush=True,
        )

    # The schedule fires at whole multiples of its interval; who has just started this wants to see it now.
    consumer.register_callback(first_scan, seconds=0)
    consumer.register_async_handler("failure.report", failures.add)
    consumer.dispatcher.register_handler("consumer_started.welcome", welcome)
    return consumer


def _roots_of_environment() -> list[Path]:
    return [Path(path).resolve() for path in os.environ.get("CENSUS_PATH", "").split(os.pathsep) if path]
