"""A process that queues runs of every sort, keeps to a pace, and writes down what it was promised."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from fluid.clock import elapsed
from fluid.errors import (
    BrokerError,
    BrokerUnavailableError,
    QueueUncertainError,
    UniqueRunError,
    UnknownRunError,
)
from fluid.scheduler import Event, QueueOptions, TaskManager, TaskPriority, TaskRun
from tests.chaos.harness.orders import Ledgers, Orders
from tests.chaos.harness.tasks import MOST_FAILURES, declare

QUEUE_TIMEOUT = 2.0
TOGETHER = 8
"""Calls that are made at once: they share a flush."""
KEYS = 8


class Queueing:
    """Queues through the public door, and writes down what was sent and what was promised."""

    def __init__(self, manager: TaskManager, ledgers: Ledgers) -> None:
        self._manager = manager
        self._ledger = ledgers.producers
        self._events = ledgers.events
        self._sent: list[TaskRun[Any]] = []
        manager.dispatcher.register_handler("queue.ledger", self._intended)
        manager.dispatcher.register_handler("refused.ledger", self._refused)
        manager.dispatcher.register_handler("broker_rewound.ledger", self._rewound)

    async def one(
        self,
        task: str,
        priority: TaskPriority | None = None,
        options: QueueOptions | None = None,
        **params: Any,
    ) -> TaskRun[Any] | None:
        """Queue a run; None if the broker refused it, or could not be asked.

        After an uncertain answer it is queued again, under its own id, until the answer is certain.
        """
        chosen = options or QueueOptions()
        while True:
            self._sent = []
            try:
                run = await self._manager.queue(task, priority, options=chosen, **params)
            except QueueUncertainError as error:
                chosen = replace(chosen, run_id=error.run_id)
            except BrokerUnavailableError:
                if chosen.run_id is None:
                    return None
            except UniqueRunError:
                return None
            else:
                self._ledger.write(run.id, run.name, "accepted")
                return run

    async def many(self, task: str, count: int) -> None:
        """Queue runs in one call. The error of an uncertain one names the first, so what was sent is kept."""
        # A call announces all its `queue` events before it first waits: nobody else's are among them.
        sent: list[TaskRun[Any]] = []
        self._sent = sent
        try:
            await self._manager.queue_many(task, [{} for _ in range(count)])
        except BrokerUnavailableError:
            return
        except QueueUncertainError:
            for run in sent:
                await self.one(task, options=QueueOptions(run_id=run.id))
            return
        for run in sent:
            self._ledger.write(run.id, run.name, "accepted")

    async def cancel(self, run: TaskRun[Any]) -> None:
        """Ask, in vain if the broker is away, that a run is cancelled."""
        self._ledger.write(run.id, run.name, "cancel")
        with suppress(BrokerError, UnknownRunError):
            await run.cancel()

    def _intended(self, event: Event) -> None:
        assert event.run is not None
        self._sent.append(event.run)
        self._ledger.write(event.run.id, event.run.name, "queue")

    def _refused(self, event: Event) -> None:
        assert event.run is not None
        if event.reason == "unique":
            self._ledger.write(event.run.id, event.run.name, "refused")

    def _rewound(self, event: Event) -> None:
        self._events.write("", "", event.name)


class Producer:
    """Draws what to queue from its seed until it is told to stop."""

    def __init__(self, orders: Orders) -> None:
        self._pace = orders.pace
        self._random = random.Random(orders.seed)
        self._stop = asyncio.Event()
        self._manager = TaskManager(broker_url=orders.url, queue_timeout=QUEUE_TIMEOUT)
        self._manager.register_from_dict(declare(orders.ledgers.bodies))
        self._queueing = Queueing(self._manager, orders.ledgers)
        self._drawn = 0

    def gracefully_stop(self) -> None:
        """Draw no more."""
        self._stop.set()

    async def run(self) -> None:
        """Queue at the pace that was asked for; what an outage cost is not caught up with."""
        async with self._manager, asyncio.TaskGroup() as self._later:
            while not self._stop.is_set():
                begin, before = elapsed(), self._drawn
                await asyncio.gather(*(self._draw() for _ in range(TOGETHER)))
                rest = begin + (self._drawn - before) / self._pace - elapsed()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), max(0.001, rest))

    def _draw(self) -> Awaitable[object]:
        sorts: dict[Callable[[], Awaitable[object]], int] = {
            self._plain: 40,
            self._batch: 8,
            self._limited: 8,
            self._keyed: 8,
            self._unique: 8,
            self._delayed: 12,
            self._flaky: 12,
            self._cancelled: 4,
        }
        self._drawn += 1
        return self._random.choices(list(sorts), list(sorts.values()))[0]()

    def _seconds(self, most: float) -> float:
        return round(self._random.uniform(0, most), 3)

    def _plain(self) -> Awaitable[object]:
        return self._queueing.one("plain", self._random.choice(list(TaskPriority)))

    def _batch(self) -> Awaitable[object]:
        count = self._random.randint(2, 30)
        self._drawn += count - 1
        return self._queueing.many("plain", count)

    def _limited(self) -> Awaitable[object]:
        return self._queueing.one("limited", seconds=self._seconds(0.05))

    def _keyed(self) -> Awaitable[object]:
        key = f"k{self._random.randrange(KEYS)}"
        options = QueueOptions(concurrency_key=key)
        return self._queueing.one("keyed", options=options, key=key, seconds=self._seconds(0.1))

    def _unique(self) -> Awaitable[object]:
        key = f"k{self._random.randrange(KEYS)}"
        return self._queueing.one(
            "unique", options=QueueOptions(unique_key=key), key=key, seconds=self._seconds(0.2)
        )

    def _delayed(self) -> Awaitable[object]:
        delay = self._seconds(2.0)
        return self._queueing.one("delayed", options=QueueOptions(delay=delay), not_before=elapsed() + delay)

    def _flaky(self) -> Awaitable[object]:
        failures = self._random.randint(1, MOST_FAILURES)
        return self._queueing.one("flaky", key=str(failures), failures=failures)

    async def _cancelled(self) -> None:
        patience, seconds = self._seconds(1.0), self._seconds(2.0)
        run = await self._queueing.one("long", seconds=seconds)
        if run is not None:
            self._later.create_task(self._cancel_in(patience, run))

    async def _cancel_in(self, seconds: float, run: TaskRun[Any]) -> None:
        await asyncio.sleep(seconds)
        await self._queueing.cancel(run)
