"""Does to the world what the plan says, and puts it right again."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from fluid.clock import elapsed
from fluid.errors import BrokerError
from fluid.scheduler import TaskManager
from tests.chaos.harness.actors import Actor
from tests.chaos.harness.plan import TARGETS, Fault, Step
from tests.chaos.harness.producer import Queueing
from tests.chaos.harness.rewinds import Replica, Rewind, cut_file
from tests.support.proxy import CuttingProxy
from tests.support.servers import RedisServer

T = TypeVar("T")

QUEUE = "chaos"
PATIENCE = 0.2
SLOWNESS = 0.05
"""Seconds that everything is held up for, again and again, in a slow network."""


class Saboteur:
    """Follows a plan. Faults of different targets overlap, those of one come one after the other."""

    def __init__(
        self,
        actors: Mapping[str, Actor],
        server: RedisServer,
        proxy: CuttingProxy,
        manager: TaskManager,
        queueing: Queueing,
        replica: Replica | None,
    ) -> None:
        self._actors = actors
        self._server = server
        self._proxy = proxy
        self._manager = manager
        self._queueing = queueing
        self._replica = replica
        self._locks = {name: actor.lock for name, actor in actors.items()}
        self._locks |= {target: asyncio.Lock() for target in ("broker", "network", "queue")}
        self.done: Counter[Fault] = Counter()
        self.rewinds: list[Rewind] = []
        self._pausing = False

    async def follow(self, plan: Sequence[Step]) -> None:
        """Everything in the plan at its moment, or as soon after as its target is free.

        When this returns, all is whole again.
        """
        begin = elapsed()
        async with asyncio.TaskGroup() as faults:
            for step in plan:
                await asyncio.sleep(max(0.0, begin + step.seconds - elapsed()))
                faults.create_task(self._inflict(step))

    async def _inflict(self, step: Step) -> None:
        doing: dict[Fault, Callable[[Step], Awaitable[None]]] = {
            Fault.TOXIC: self._queue_toxic,
            Fault.QUEUE_PAUSE: self._pause_queue,
        }
        default = {"actor": self._to_actor, "broker": self._to_broker, "network": self._to_network}
        async with self._locks[step.target]:
            act = doing.get(step.fault) or default[TARGETS[step.fault]]
            await act(step)
            self.done[step.fault] += step.times

    async def _to_actor(self, step: Step) -> None:
        actor = self._actors[step.target]
        match step.fault:
            case Fault.KILL:
                actor.kill(rest=step.lasting)
            case Fault.STOP:
                actor.stop(rest=step.lasting)
            case _:
                actor.signal(signal.SIGSTOP)
                await asyncio.sleep(step.lasting)
                actor.signal(signal.SIGCONT)

    async def _to_broker(self, step: Step) -> None:
        match step.fault:
            case Fault.BROKER_PAUSE:
                self._server.pause()
                await asyncio.sleep(step.lasting)
                self._server.resume()
            case Fault.CUT_FILE:
                await self._go_back(asyncio.to_thread(cut_file, self._server, QUEUE, step.part))
            case Fault.PROMOTE:
                assert self._replica is not None, "a plan with rewinds needs a replica"
                self._replica.server.pause()
                await asyncio.sleep(step.part)
                await self._go_back(asyncio.to_thread(self._replica.promote, QUEUE))
            case _:
                end = self._server.stop if step.fault is Fault.BROKER_RESTART else self._server.kill
                await asyncio.to_thread(end)
                await asyncio.sleep(step.lasting)
                await asyncio.to_thread(self._server.start)

    async def _go_back(self, rewinding: Awaitable[Rewind]) -> None:
        self.rewinds.append(await rewinding)
        if not self._pausing:
            # what somebody has decided is taken back as well, and has to be decided again
            await insist(self._manager.resume)

    async def _to_network(self, step: Step) -> None:
        match step.fault:
            case Fault.CUT:
                self._proxy.drop_all()
            case Fault.REFUSE:
                self._proxy.refuse()
                await asyncio.sleep(step.lasting)
                await self._proxy.accept()
            case Fault.CUT_ANSWERS:
                for _ in range(step.times):
                    self._proxy.cut_next_answer(b"EVALSHA")
            case Fault.FREEZE:
                self._proxy.freeze()
                await asyncio.sleep(step.lasting)
                self._proxy.thaw()
            case _:
                end = elapsed() + step.lasting
                while elapsed() < end:
                    self._proxy.freeze()
                    await asyncio.sleep(SLOWNESS)
                    self._proxy.thaw()
                    await asyncio.sleep(0)

    async def _queue_toxic(self, step: Step) -> None:
        await self._queueing.one("toxic")

    async def _pause_queue(self, step: Step) -> None:
        self._pausing = True
        await insist(self._manager.pause)
        await asyncio.sleep(step.lasting)
        self._pausing = False
        await insist(self._manager.resume)


async def insist(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask the broker until it answers, however long it is away."""
    while True:
        try:
            return await ask()
        except BrokerError:
            await asyncio.sleep(PATIENCE)
