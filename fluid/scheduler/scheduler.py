"""A consumer that also fires schedules: every tick once, however many schedulers run."""

from __future__ import annotations

import logging
import uuid
from datetime import datetime
from typing import Any

from fluid.clock import from_milliseconds
from fluid.errors import BrokerError, FluidError, UniqueRunError
from fluid.scheduler.announcing import Announcer
from fluid.scheduler.being_queued import BeingQueued
from fluid.scheduler.broker import TaskBroker
from fluid.scheduler.consumer import TaskConsumer
from fluid.scheduler.interceptors import Interceptors, around_queueing
from fluid.scheduler.moves import Fired, Tick
from fluid.scheduler.options import NO_OPTIONS, QueueOptions
from fluid.scheduler.registry import TaskRegistry
from fluid.scheduler.run import RunDoor
from fluid.scheduler.schedules import MissedPolicy, Schedule
from fluid.scheduler.states import TaskState
from fluid.scheduler.submitting import new_run, submission_of
from fluid.scheduler.task import Task
from fluid.scheduler.upkeep.agent import Upkeep
from fluid.settings import TaskManagerConfig

logger = logging.getLogger("fluid")

FRESH_SECONDS = 5.0
"""A tick this late is still on time, for the policy `skip`."""

MOST_TICKS = 100
"""Ticks that `all` catches up with at most; the rest count as missed."""

LONGEST_SLEEP = 5.0
"""A scheduler looks again after so long anyway, for a clock can be set."""

TRY_AGAIN_SECONDS = 1.0
"""And after so long when the broker was away."""


class Firing(Upkeep):
    """Sleeps until the next tick of any schedule, and fires what is due."""

    def __init__(
        self,
        *,
        broker: TaskBroker,
        registry: TaskRegistry,
        announcer: Announcer,
        interceptors: Interceptors,
        being_queued: BeingQueued,
        door: RunDoor,
    ) -> None:
        super().__init__(name="firing", interval=LONGEST_SLEEP, stage=20)
        self._broker = broker
        self._registry = registry
        self._announcer = announcer
        self._interceptors = interceptors
        self._being_queued = being_queued
        self._door = door
        self._sleep = 0.0

    async def run(self) -> None:
        while not await self.wait_for_stop(self._sleep):
            await self.pass_over()

    async def once(self) -> None:
        """Fire what is due of every schedule, and learn how long there is to sleep."""
        self._sleep = TRY_AGAIN_SECONDS
        waits = [LONGEST_SLEEP]
        for task in self._registry.scheduled():
            try:
                waits.append(await self.look_after(task))
            except BrokerError:
                raise
            except FluidError as error:
                # one that cannot be made must not stop the others
                logger.error("the schedule of %s cannot be fired: %s", task.name, error)
        self._sleep = max(0.001, min(waits))

    async def look_after(self, task: Task) -> float:
        """Fire what is due of one schedule; the seconds until its next tick."""
        schedule = task.schedule
        if schedule is None:
            return LONGEST_SLEEP
        known = await self._fire(task, schedule, 0.0, nonce="ask")
        now, last = from_milliseconds(known.now), from_milliseconds(known.last)
        ticks = schedule.ticks_between(last, now, MOST_TICKS)
        due, missed = self._choose(schedule, list(ticks.instants), ticks.left_out, now)
        for number, tick in enumerate(due):
            await self._fire_one(task, schedule, tick, missed if number == 0 else 0)
        if not due and missed:
            await self._give_up(task, schedule, ticks.instants[-1], missed)
        upcoming = schedule.next_after(now)
        return min(LONGEST_SLEEP, (upcoming - now).total_seconds()) if upcoming else LONGEST_SLEEP

    @staticmethod
    def _choose(
        schedule: Schedule, ticks: list[datetime], left_out: int, now: datetime
    ) -> tuple[list[datetime], int]:
        """Which ticks to fire, and how many are missed, by the schedule's policy."""
        if not ticks:
            return [], 0
        if schedule.missed is MissedPolicy.ALL:
            return ticks, left_out
        fresh = schedule.missed is MissedPolicy.ONCE or (now - ticks[-1]).total_seconds() <= FRESH_SECONDS
        return (ticks[-1:], len(ticks) - 1 + left_out) if fresh else ([], len(ticks) + left_out)

    async def _fire_one(self, task: Task, schedule: Schedule, tick: datetime, missed: int) -> None:
        milliseconds = tick.timestamp() * 1000
        # the id is the tick's, so that a tick whose answer was lost is not another run
        options = QueueOptions(run_id=f"{task.name}@{int(milliseconds)}")
        run = new_run(task, None, options, {}, door=self._door)
        with self._being_queued.these([run]), around_queueing(self._interceptors, [run]):
            submission = submission_of(run, task, NO_OPTIONS)
            fired = await self._fire(
                task, schedule, milliseconds, nonce=uuid.uuid4().hex[:16], run=submission
            )
            if fired.tick is not Tick.fired:
                return
            self._announcer.announce("queue", run)
            if fired.refusal is None:
                run.queued_at = fired.now
                run.move(TaskState.queued)
                self._announcer.announce("queued", run)
            else:
                run.reason = fired.refusal.reason
                logger.info("run %s was refused: %s", run.id, UniqueRunError(task.name, fired.refusal.run_id))
                self._announcer.announce("refused", run, reason=run.reason)
        following = schedule.next_after(tick)
        facts = {
            "task": task.name,
            "tick": tick.timestamp(),
            "lateness": max(0.0, (fired.now - milliseconds) / 1000),
            "next": following.timestamp() if following else None,
        }
        self._announcer.announce("schedule_fired", facts=facts)
        self._say_missed(task, missed)

    async def _give_up(self, task: Task, schedule: Schedule, tick: datetime, missed: int) -> None:
        passed = await self._fire(task, schedule, tick.timestamp() * 1000, nonce=uuid.uuid4().hex[:16])
        if passed.tick is Tick.passed:
            self._say_missed(task, missed)

    def _say_missed(self, task: Task, missed: int) -> None:
        if missed:
            logger.warning(
                "%d ticks of the schedule of %s were missed",
                missed,
                task.name,
                extra={"event": "schedule_missed", "task": task.name},
            )
            self._announcer.announce("schedule_missed", facts={"task": task.name, "count": missed})

    async def _fire(
        self, task: Task, schedule: Schedule, tick: float, *, nonce: str, run: Any = None
    ) -> Fired:
        fingerprint = uuid.uuid5(uuid.NAMESPACE_OID, schedule.fingerprint).hex[:16]
        return await self._broker.fire(task.name, fingerprint, tick, nonce=nonce, run=run)


class TaskScheduler(TaskConsumer):
    """A consumer that also fires the schedules of its tasks, each tick once in the whole fleet."""

    def __init__(self, *, config: TaskManagerConfig | None = None, name: str = "", **settings: Any) -> None:
        super().__init__(config=config, name=name, **settings)
        self.add_workers(
            Firing(
                broker=self._broker,
                registry=self._registry,
                announcer=self._announcer,
                interceptors=self._interceptors,
                being_queued=self._being_queued,
                door=self,
            )
        )

    @property
    def type(self) -> str:
        """`task_scheduler`."""
        return "task_scheduler"
