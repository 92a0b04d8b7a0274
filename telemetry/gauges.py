"""Facts that are read at scrape: the queue from one snapshot of the broker, and how the host stands."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict

from fluid import __version__
from fluid.clock import elapsed
from fluid.errors import BrokerError
from fluid.scheduler import EVENTS, Snapshot, TaskConsumer, TaskManager
from telemetry import names
from telemetry.logs import dropped_lines
from telemetry.metrics import Metrics
from telemetry.series import Child, Row
from telemetry.slo import Objective, objectives_of

SNAPSHOT_TIMEOUT = 2.0
"""Seconds that a scrape waits for the broker."""

AWAY_TIMEOUT = 0.2
"""Seconds that it waits for a broker that gave no answer the last time; the question goes on meanwhile."""

SNAPSHOT_FRESH = 1.0
"""Scrapes within so many seconds share a snapshot."""

HandlerKey = tuple[str, str]

logger = logging.getLogger("fluid")


class Snapshots:
    """The newest snapshot of a broker; however many ask, one question is under way at a time."""

    def __init__(self, host: TaskManager, metrics: Metrics) -> None:
        self._broker = host.broker
        self._process = metrics.process
        self._asking: asyncio.Task[Snapshot | None] | None = None
        self._asked_at = float("-inf")
        self._away = False

    async def newest(self) -> Snapshot | None:
        """A snapshot no older than a second; None when the broker is away.

        The first to find it away waits for `SNAPSHOT_TIMEOUT`, later ones no longer than `AWAY_TIMEOUT`.
        """
        if self._asking is None or (self._asking.done() and elapsed() - self._asked_at >= SNAPSHOT_FRESH):
            self._asked_at = elapsed()
            self._asking = asyncio.create_task(self._ask(), name="telemetry-snapshot")
        # One who asks may go away; the others still want the answer.
        done, _ = await asyncio.wait({self._asking}, timeout=AWAY_TIMEOUT if self._away else None)
        return next((asking.result() for asking in done), None)

    def forget(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None

    async def _ask(self) -> Snapshot | None:
        began = elapsed()
        try:
            async with asyncio.timeout(SNAPSHOT_TIMEOUT):
                snapshot = await self._broker.snapshot()
        except (BrokerError, TimeoutError):
            self._away = True
        except Exception:
            logger.exception("the snapshot for a scrape failed")
            self._away = True
        else:
            self._away = False
            return snapshot
        finally:
            self._process.snapshot_seconds.observe(elapsed() - began)
        self._process.snapshot_errors[""] += 1
        return None


class Gauges:
    """What is known at a scrape: `read` in the loop's thread, then `rows` in any."""

    def __init__(self, host: TaskManager, metrics: Metrics) -> None:
        self._host = host
        self._metrics = metrics
        self._snapshots = Snapshots(host, metrics)
        self._snapshot: Snapshot | None = None
        self._handlers: dict[names.Metric, dict[HandlerKey, float]] = {}
        self._slots = self._busy = 0

    @property
    def snapshots(self) -> Snapshots:
        """The snapshots of the host's broker."""
        return self._snapshots

    async def read(self) -> None:
        """Read everything; takes the broker's answer, or the time to give up on it."""
        self._snapshot = await self._snapshots.newest()
        self._metrics.know_tasks()
        self._metrics.count_active()
        self._handlers = self._read_handlers()
        if isinstance(self._host, TaskConsumer):
            self._slots = self._host.config.max_concurrent_tasks
            self._busy = self._host.num_concurrent_tasks

    def rows(self) -> Iterator[Row]:
        """What was read last."""
        yield Row(names.BROKER_UP, [((), float(self._snapshot is not None))])
        yield Row(names.SLOTS, [((), self._slots)])
        yield Row(names.SLOTS_BUSY, [((), self._busy)])
        yield Row(names.FLEET_EVENTS_TOLD, [((), self._host.broker.fleet.told)])
        yield Row(names.FLEET_EVENTS_DROPPED, [((), self._host.broker.fleet.dropped)])
        yield from self._broker_rows()
        yield Row(names.BUILD, [((__version__,), 1)])
        yield Row(names.SLO_GOAL, list(self._goals()))
        yield Row(names.LOG_LINES_DROPPED, [((), dropped_lines())])
        for metric, values in self._handlers.items():
            yield Row(metric, list(values.items()))
        if self._snapshot is not None:
            yield from _rows_of(self._snapshot)
            yield Row(names.TASK_PAUSED, _paused(self._snapshot, self._metrics.task_labels))

    def _goals(self) -> Iterator[tuple[tuple[str, ...], Child]]:
        """What is promised of the tasks that have series of their own; 0 where nothing is."""
        declared = objectives_of(self._host.broker.queue, self._host.registry.values())
        promised: dict[tuple[str, str], Objective] = {(one.task, one.name): one for one in declared}
        for task in self._metrics.task_labels:
            for name in names.OBJECTIVE.values:
                one = promised.get((task, name))
                # a bound as the buckets have it
                within = repr(float(one.within)) if one and one.within else ""
                yield (task, name, within), one.share if one else 0.0

    def _broker_rows(self) -> Iterator[Row]:
        """The server, by this consumer's last look at it."""
        host = self._host if isinstance(self._host, TaskConsumer) else None
        report = host.broker_report if host else None
        dangers = host.broker_dangers if host else frozenset()
        yield Row(names.BROKER_UNSAFE, _marked(names.BROKER_UNSAFE, dangers))
        yield Row(
            names.BROKER_DURABILITY, _marked(names.BROKER_DURABILITY, {report.durability} if report else ())
        )
        yield Row(names.BROKER_MEMORY_USED, [((), report.memory_used if report else 0)])
        yield Row(names.BROKER_MEMORY_LIMIT, [((), report.memory_limit if report else 0)])
        yield Row(names.BROKER_CLOCK_OFFSET, [((), report.clock_offset if report else 0.0)])

    def _read_handlers(self) -> dict[names.Metric, dict[HandlerKey, float]]:
        statistics = {(one.event, one.handler): one for one in self._host.handler_statistics()}
        troubles = {(key.event, key.name): one for key, one in self._host.dispatcher.troubles().items()}
        every = [*self._sync_handlers(), *statistics]
        failures, dropped, paused = (dict.fromkeys(every, 0.0) for _ in range(3))
        # What an interceptor raised is known from events alone.
        failures |= self._metrics.sync_failures | {key: one.failures for key, one in troubles.items()}
        for key, trouble in troubles.items():
            dropped[key], paused[key] = trouble.dropped, trouble.paused
        # A sync handler and an async one may have the same name.
        for key, one in statistics.items():
            failures[key] += one.failures
            dropped[key] += one.dropped
            paused[key] = max(paused[key], one.paused)
        return {
            names.HANDLER_QUEUE: {key: one.queue_size for key, one in statistics.items()},
            names.HANDLER_HANDLED: {key: one.handled for key, one in statistics.items()},
            names.HANDLER_DROPPED: dropped,
            names.HANDLER_FAILURES: failures,
            names.HANDLER_PAUSED: paused,
            names.HANDLER_SECONDS: {key: one.seconds for key, one in statistics.items()},
        }

    def _sync_handlers(self) -> Iterator[HandlerKey]:
        for event in EVENTS:
            for registered, _ in self._host.dispatcher.handlers_of(event):
                yield registered.event, registered.name


def _marked(metric: names.Metric, there: Collection[str]) -> list[tuple[tuple[str, ...], Child]]:
    """1 for each value of its label that is there, else 0."""
    return [((value,), float(value in there)) for value in metric.labels[0].values]


def _paused(snapshot: Snapshot, labels: Sequence[str]) -> list[tuple[tuple[str, ...], Child]]:
    """1 for each task that is paused; those without series of their own are `other`."""
    there = {task if task in labels else names.OTHER for task in snapshot.paused_tasks}
    return [((label,), float(label in there)) for label in labels]


def _rows_of(snapshot: Snapshot) -> Iterator[Row]:
    runs: list[tuple[tuple[str, ...], Child]] = [
        ((str(priority), status), count)
        for priority, depths in snapshot.by_priority.items()
        for status, count in asdict(depths).items()
    ]
    ages = [((str(priority),), age) for priority, age in snapshot.oldest_ready_age.items()]
    outcomes = [((outcome,), getattr(snapshot.books, outcome)) for outcome in names.OUTCOME.values]
    yield Row(names.QUEUE_RUNS, runs)
    yield Row(names.QUEUE_PAUSED, [((), float(snapshot.paused))])
    yield Row(names.QUEUE_OLDEST, ages)
    yield Row(names.BOOKS_RUNS, outcomes)
    yield Row(names.BOOKS_UNACCOUNTED, [((), snapshot.books.unaccounted)])
