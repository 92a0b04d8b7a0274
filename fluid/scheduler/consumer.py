"""The consumer: a manager that also claims and executes runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import fluid
from fluid.errors import BrokerError
from fluid.scheduler.announcing import Announcer
from fluid.scheduler.broker import ConsumerInfo, TaskBroker
from fluid.scheduler.claiming import Claiming
from fluid.scheduler.codec import fingerprint
from fluid.scheduler.execution import Execution, Finished
from fluid.scheduler.host import new_name_in_fleet
from fluid.scheduler.keeper import Keeper
from fluid.scheduler.manager import TaskManager
from fluid.scheduler.moves import BrokerReport
from fluid.scheduler.settling import Settling
from fluid.scheduler.slots import Attempt, Slots
from fluid.scheduler.upkeep.inspector import Inspector
from fluid.scheduler.upkeep.janitor import Janitor
from fluid.scheduler.upkeep.rescuer import Rescuer
from fluid.settings import TaskManagerConfig
from fluid.workers import Worker

logger = logging.getLogger("fluid")

LEAVE_SECONDS = 0.5
"""How long a stop tries to leave the broker; one that is not told forgets the consumer by itself."""


class Bodies(Worker):
    """The running bodies, as one worker: on stop they may finish, then they are handed back."""

    def __init__(self, slots: Slots, grace: float) -> None:
        super().__init__(name="bodies", stage=10, stopping_grace_period=grace + 1.0)
        self._slots = slots
        self._grace = grace

    @property
    def num_workers(self) -> int:
        """Every slot is a worker."""
        return self._slots.count

    async def run(self) -> None:
        await self.wait_for_stop()
        try:
            async with asyncio.timeout(self._grace):
                await self._slots.wait_until_empty()
        except TimeoutError:
            self._hand_back()
            await self._slots.wait_until_empty()
        except asyncio.CancelledError:
            self._hand_back()  # those that stop before it have used up the time
            raise

    def _hand_back(self) -> None:
        left = self._slots.attempts
        logger.warning("%d bodies have not ended within %g s: they are handed back", len(left), self._grace)
        for attempt in left:
            attempt.cancel("stopping", again=True)

    async def status(self) -> dict[str, object]:
        return {
            attempt.name: {"task": attempt.run.name, "run_id": attempt.run.id, "attempt": attempt.run.attempt}
            for attempt in self._slots.attempts
        }


class Farewell(Worker):
    """Leaves the broker when all work here has ended, and says so while handlers can still be told."""

    def __init__(self, *, broker: TaskBroker, announcer: Announcer, consumer: Callable[[], str]) -> None:
        super().__init__(name="farewell", stage=-8, stopping_grace_period=2 * LEAVE_SECONDS)
        self._broker = broker
        self._announcer = announcer
        self._consumer = consumer

    async def run(self) -> None:
        await self.wait_for_stop()
        if not self._broker.up:
            return
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                left = await self._broker.leave(self._consumer())
        except (BrokerError, TimeoutError) as error:
            logger.warning(
                "%s could not leave the broker, and is forgotten in time: %r", self._consumer(), error
            )
        else:
            if not left:
                logger.warning(
                    "something is still pending for %s: it comes back when its lease ends", self._consumer()
                )

    async def on_shutdown(self) -> None:
        """Say that the consumer has stopped, however it left."""
        self._announcer.announce("consumer_stopped", facts={"consumer": self._consumer()})


class TaskConsumer(TaskManager):
    """Claims runs, executes their bodies in slots, settles them, and tells of it all.

    It is a `TaskManager` and a `Workers`. `run()` returns when it has stopped; a stop lets bodies
    finish for `stopping_grace_period` seconds, then hands them back, which costs no attempt.
    """

    _may_start_broker = True

    def __init__(self, *, config: TaskManagerConfig | None = None, name: str = "", **settings: Any) -> None:
        super().__init__(config=config, name=name, **settings)
        lease = self._config.lease_seconds
        self._slots = Slots(self._config.max_concurrent_tasks)
        self._keeper = Keeper(
            broker=self._broker,
            lease=lease,
            consumer=lambda: self._name_in_fleet,
            about=self._about,
            limit_of=self._limit_of,
        )
        self._settling = Settling(
            broker=self._broker,
            announcer=self._announcer,
            consumer=lambda: self._name_in_fleet,
            result_ttl=self._config.result_ttl,
            failure_ttl=self._config.failure_ttl,
            on_settled=self._keeper.let_go,
        )
        self._inspector = Inspector(
            broker=self._broker, announcer=self._announcer, durable=self._config.broker_durable
        )
        self._claiming = Claiming(
            broker=self._broker,
            slots=self._slots,
            settling=self._settling,
            keeper=self._keeper,
            execution=Execution(
                registry=self._registry,
                announcer=self._announcer,
                invoker=self._invoker,
                being_queued=self._being_queued,
                hand_on=self._finished,
            ),
            registry=self._registry,
            door=self,
            consumer=lambda: self._name_in_fleet,
            lease=lease,
            announce=self._announcer.announce,
        )
        self._broker.listeners.cancel.append(self._keeper.cancel)
        self.add_workers(
            self._keeper,
            Rescuer(
                broker=self._broker,
                announcer=self._announcer,
                door=self,
                lease=lease,
                max_deliveries=self._config.max_deliveries,
            ),
            Janitor(broker=self._broker, announcer=self._announcer, door=self, lease=lease),
            self._inspector,
            self._settling,
            Bodies(self._slots, self._config.stopping_grace_period),
            self._claiming,
            Farewell(broker=self._broker, announcer=self._announcer, consumer=lambda: self._name_in_fleet),
        )

    @property
    def type(self) -> str:
        """`task_consumer`."""
        return "task_consumer"

    @property
    def consumer_name(self) -> str:
        """What the broker knows this consumer by; another one in every life."""
        return self._name_in_fleet

    @property
    def claiming(self) -> bool:
        """The queue is open and the claim loop runs."""
        return self._claiming.active

    @property
    def broker_report(self) -> BrokerReport | None:
        """What the broker's server told of itself when it was last looked at; None before the first look."""
        return self._inspector.report

    @property
    def broker_dangers(self) -> frozenset[str]:
        """How runs can be lost or refused, by that look; reasons of the event `broker_unsafe`."""
        return self._inspector.dangers

    @property
    def num_concurrent_tasks(self) -> int:
        """Slots whose bodies run."""
        return self._slots.busy

    def num_concurrent_tasks_for(self, task_name: str) -> int:
        """Slots of this consumer that run bodies of this task."""
        return self._slots.busy_with(task_name)

    async def on_startup(self) -> None:
        """Take a new name, so that nothing of an earlier life is taken for this one's."""
        await super().on_startup()
        self._name_in_fleet = new_name_in_fleet()
        self._broker.hear_cancellations()

    async def status(self) -> dict[str, object]:
        """What this consumer is and does, and the status of each of its workers."""
        return {
            "type": self.type,
            "consumer": self._name_in_fleet,
            "state": str(self.state),
            "queue": self._broker.queue,
            "broker": {
                "url": self._broker.url,
                "up": self._broker.up,
                "dangers": sorted(self.broker_dangers),
            },
            "claiming": self.claiming,
            "slots": self._slots.count,
            "busy": self._slots.busy,
            "unsettled": self._settling.backlog,
            "tasks": list(self._registry),
            "workers": await super().status(),
        }

    def _broker_lost(self, error: str) -> None:
        logger.warning(
            "the broker at %s is away, and is tried again: %s",
            self._broker.url,
            error,
            extra={"event": "broker_lost"},
        )
        super()._broker_lost(error)

    def _broker_recovered(self, seconds: float) -> None:
        logger.warning(
            "the broker at %s is back after %.1f s",
            self._broker.url,
            seconds,
            extra={"event": "broker_recovered"},
        )
        super()._broker_recovered(seconds)

    def _finished(self, finished: Finished) -> None:
        self._slots.release(finished.attempt)
        self._settling.offer(finished)

    def _limit_of(self, attempt: Attempt) -> float | None:
        """How long a lease is renewed: what the task may take, and the grace period on top."""
        task = self._registry.get(attempt.run.name)
        # a CPU-bound body may wait for a process first, and its pool kills it when its time is over
        seconds = self._invoker.timeout_of(task) if task and not task.cpu_bound else None
        return None if seconds is None else seconds + self._config.stopping_grace_period

    def _about(self) -> ConsumerInfo:
        return ConsumerInfo(
            name=self._name_in_fleet,
            slots=self._slots.count,
            busy=self._slots.busy,
            version=fluid.__version__,
            tasks=tuple(self._registry),
            models={name: fingerprint(self._registry[name]) for name in self._registry},
        )
