"""Short words for a broker's moves, so that a test reads as the rule it holds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from fluid.clock import elapsed
from fluid.scheduler.broker import ConsumerInfo
from fluid.scheduler.brokers.keys import Keys
from fluid.scheduler.brokers.redis import RedisBroker
from fluid.scheduler.moves import (
    Acceptance,
    Claim,
    Claimed,
    ClaimRequest,
    Kind,
    Renewal,
    Rescued,
    Settlement,
    Submission,
)
from fluid.scheduler.snapshot import Snapshot
from fluid.scheduler.states import TaskPriority, TaskState
from tests.support.queues import OwnQueue
from tests.support.waiting import poll

HIGH, MEDIUM, LOW = TaskPriority.high, TaskPriority.medium, TaskPriority.low
LONG = 3600.0
PATIENCE = 30.0
ABOUT = ConsumerInfo(name="ann", slots=4, busy=1, version="0.1.0", tasks=("greet",))


def submission(run_id: str, priority: TaskPriority = MEDIUM, **about: Any) -> Submission:
    """A run of `greet`, unless told otherwise."""
    told: dict[str, Any] = {"task": "greet", "message": b'{"params":{}}', "version": 1} | about
    return Submission(id=run_id, priority=priority, **told)


def outcome(claimed: Claimed, kind: Kind = Kind.success, **told: Any) -> Settlement:
    """How a claimed run ended."""
    return Settlement(
        code=claimed.code, entry=claimed.entry, id=claimed.id, kind=kind, unique=claimed.unique, **told
    )


def ids(claimed: Sequence[Claimed]) -> list[str]:
    """The runs, in their order."""
    return [run.id for run in claimed]


class Desk:
    """A broker whose queue is open, and a client that looks behind it."""

    def __init__(self, broker: RedisBroker, queue: OwnQueue) -> None:
        self.broker = broker
        self.own = queue
        self.keys = Keys(broker.queue)

    async def submit(self, *runs: Submission, **how: Any) -> Acceptance:
        """These runs into the queue; whether the broker takes them is the test's concern."""
        return await self.broker.enqueue(runs, deadline=elapsed() + PATIENCE, **how)

    async def queue(self, *run_ids: str, priority: TaskPriority = MEDIUM, **about: Any) -> None:
        """Runs that the broker takes."""
        answer = await self.submit(*(submission(run_id, priority, **about) for run_id in run_ids))
        assert answer.verdicts == [None] * len(run_ids)

    async def claim(self, slots: int = 1, consumer: str = "ann", **how: Any) -> Claim:
        """A claim that does not wait, unless told otherwise."""
        return await self.broker.claim(ClaimRequest(consumer, slots, **{"lease": 30.0} | how))

    async def take(self, slots: int = 1, consumer: str = "ann", **how: Any) -> list[Claimed]:
        """The claimed runs."""
        return (await self.claim(slots, consumer, **how)).runs

    async def take_one(self, consumer: str = "ann", **how: Any) -> Claimed:
        """The one run that a single slot gets."""
        (run,) = await self.take(1, consumer, **how)
        return run

    async def settle(self, claimed: Claimed, kind: Kind = Kind.success, **told: Any) -> bool:
        """Whether this outcome was accepted."""
        (accepted,) = (await self.broker.settle([outcome(claimed, kind, **told)])).accepted
        return accepted

    async def run_out(self, *claimed: Claimed) -> None:
        """Let these leases run out now."""
        with self.own.server.client() as client:
            for run in claimed:
                client.zadd(self.keys["leases"], {run.token: 1}, xx=True)

    async def rescue(self, **how: Any) -> list[Rescued]:
        """A pass that is not turned away because of another one."""
        told: dict[str, Any] = {"nonce": uuid4().hex[:16], "interval": 0.0, "max_deliveries": 5} | how
        return await self.broker.rescue(**told)

    async def lose(self, *claimed: Claimed, **how: Any) -> list[Rescued]:
        """These leases run out, and the rescuer comes."""
        await self.run_out(*claimed)
        return await self.rescue(**how)

    async def leave_to_sweep(self) -> None:
        """Two deliveries without a lease, and one of them in a list as well."""
        await self.queue("a", "b")
        await self.queue("c", delay=LONG)
        await self.take(2)
        with self.own.server.client() as client:
            client.delete(self.keys["leases"])
            client.zadd(self.keys["scheduled_m"], {b"%015d\0greet\0\0a" % 1: 0})

    async def lose_times(self, run_id: str, times: int, consumer: str = "ann") -> None:
        """The only run of the queue, claimed and lost so often."""
        for _ in range(times):
            run = await self.take_one(consumer)
            assert run.id == run_id
            await self.lose(run, max_deliveries=100)

    def renew(
        self, *claimed: Claimed, lease: float = 30.0, consumer: str = "ann", about: ConsumerInfo = ABOUT
    ) -> list[Renewal]:
        """What became of these leases."""
        renewer = self.broker.renewer()
        try:
            return renewer.renew(consumer, lease, about, [(run.token, run.id) for run in claimed])
        finally:
            renewer.close()

    def silence(self, *consumers: str) -> None:
        """Let the last sign of life of these be older than any lease."""
        with self.own.server.client() as client:
            client.zadd(self.keys["seen"], dict.fromkeys(consumers, 1))

    def date(self, name: str, instants: Mapping[str, int]) -> None:
        """These runs are in a list by time as if they had come to it, or fell due, at these instants."""
        with self.own.server.client() as client, client.pipeline() as changes:
            before = {member.rpartition(b"\0")[2]: member for member in client.zrange(self.keys[name], 0, -1)}
            for run_id, instant in instants.items():
                member = before[run_id.encode()]
                after = b"%015d" % instant + member[15:]
                changes.zrem(self.keys[name], member)
                changes.zadd(self.keys[name], {after: 0})
                changes.hset(self.keys.run(run_id), "listed", after)
            changes.execute()

    async def state(self, run_id: str) -> TaskState | None:
        """Where a run stands; None when nothing is kept of it."""
        record = await self.broker.get_run(run_id)
        return None if record is None else record.state

    async def balanced(self) -> Snapshot:
        """The queue as it is now, and its books balance."""
        snapshot = await self.broker.snapshot()
        assert snapshot.books.unaccounted == 0, snapshot
        return snapshot

    async def expired(self, *run_ids: str) -> None:
        """Wait until nothing is kept of these runs."""

        async def kept() -> list[str]:
            return [run_id for run_id in run_ids if await self.broker.get_run(run_id) is not None]

        await poll(kept, lambda left: not left, "records to expire")


@asynccontextmanager
async def desk_at(url: str, queue: OwnQueue) -> AsyncIterator[Desk]:
    """A desk at this URL of the queue."""
    broker = RedisBroker(url)
    try:
        await broker.open(elapsed() + PATIENCE)
        yield Desk(broker, queue)
    finally:
        await broker.close()
