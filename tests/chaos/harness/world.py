"""A fleet, a broker and a network between them: built, broken by plan, brought to rest, and questioned."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fluid.clock import elapsed
from fluid.errors import UnknownRunError
from fluid.scheduler import Snapshot, TaskManager
from tests.chaos.harness.actors import Actor
from tests.chaos.harness.evidence import Evidence, Plan, Record, everyone, tick_ids, tick_of
from tests.chaos.harness.faults import QUEUE, Saboteur, insist
from tests.chaos.harness.orders import Ledgers, Orders, Role
from tests.chaos.harness.plan import draw
from tests.chaos.harness.producer import Queueing
from tests.chaos.harness.rewinds import Replica
from tests.chaos.harness.tasks import declare
from tests.support.proxy import CuttingProxy
from tests.support.queues import OwnQueue
from tests.support.servers import Flavour, RedisServer, queue_url

LOOK_SECONDS = 0.25
START_SECONDS = 60.0
DRAIN_SECONDS = 120.0
"""How long the fleet may take to come to rest once it is left alone."""
QUESTIONS = 64
"""Runs that are asked about at once."""
SKEW = 2.0


@dataclass(frozen=True)
class Cast:
    """How many processes of each role there are; the last of each is behind the proxy."""

    producers: int = 2
    consumers: int = 3
    schedulers: int = 2

    @property
    def actors(self) -> list[tuple[str, Role]]:
        roles: list[tuple[Role, int]] = [
            ("producer", self.producers),
            ("consumer", self.consumers),
            ("scheduler", self.schedulers),
        ]
        return [(f"{role}-{number}", role) for role, count in roles for number in range(1, count + 1)]


class World:
    """Open it with `opened`, then `run` it once."""

    def __init__(
        self,
        asked: Plan,
        cast: Cast,
        server: RedisServer,
        proxy: CuttingProxy,
        replica: Replica | None,
        directory: Path,
    ) -> None:
        self._asked = asked
        self._server = server
        self._proxy = proxy
        self._replica = replica
        self._ledgers = Ledgers(directory)
        self._tally = Tally(self._ledgers.producers.path)
        direct, proxied = server.queue_url(QUEUE), queue_url(server.flavour, proxy.port, QUEUE)
        last = {role: name for name, role in cast.actors}
        self._actors = {
            name: Actor(
                Orders(
                    name=name,
                    role=role,
                    url=proxied if last[role] == name else direct,
                    directory=str(directory),
                    seed=asked.seed * 1_000_000 + number * 1000,
                    lease=asked.lease,
                    pace=asked.runs / asked.seconds / cast.producers,
                    skew=SKEW if role == "scheduler" and last[role] == name else 0.0,
                ),
                directory,
            )
            for number, (name, role) in enumerate(cast.actors)
        }
        self._manager = TaskManager(broker_url=direct)
        self._manager.register_from_dict(declare(self._ledgers.bodies))
        self._plan = draw(
            asked.seed, asked.seconds, asked.lease, cast.actors, pause=asked.pause, rewinds=asked.rewinds
        )

    async def run(self, say: Callable[[str], None]) -> Evidence:
        """From the first start to the last stop; what is known then."""
        async with self._manager:
            queueing = Queueing(self._manager, self._ledgers)
            saboteur = Saboteur(
                self._actors, self._server, self._proxy, self._manager, queueing, self._replica
            )
            for actor in self._actors.values():
                actor.enter()
            first_tick = await self._first_tick()
            begin = elapsed()
            say(f"{len(self._actors)} processes are up; {len(self._plan)} faults follow")
            await saboteur.follow(self._plan)
            await self._wait_for_runs()
            say(f"{self._tally.count()} runs accepted; the fleet is left alone")
            await self._leave("producer", "scheduler")
            snapshot = await self._rest()
            seconds = elapsed() - begin
            say("at rest" if at_rest(snapshot) else f"not at rest after {DRAIN_SECONDS:g} s: {snapshot}")
            await self._leave("consumer")
            return await self._question(saboteur, first_tick, seconds)

    async def end(self) -> None:
        """Kill what is still there."""
        for actor in self._actors.values():
            actor.kill()
        await self._leave("producer", "consumer", "scheduler")

    async def _first_tick(self) -> float:
        """The instant from which the schedule counts, once a scheduler has said it."""
        async with asyncio.timeout(START_SECONDS):
            while True:
                if known := await insist(self._manager.broker.schedules):
                    return min(known.values())
                await asyncio.sleep(LOOK_SECONDS)

    async def _wait_for_runs(self) -> None:
        """Until enough is accepted; patience has an end."""
        deadline = elapsed() + self._asked.seconds + START_SECONDS
        while elapsed() < deadline:
            if self._tally.count() >= self._asked.runs:
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _leave(self, *roles: Role) -> None:
        await asyncio.gather(
            *(actor.leave() for actor in self._actors.values() if actor.orders.role in roles)
        )

    async def _rest(self) -> Snapshot:
        """The queue once nothing in it can move, or when patience has run out."""
        deadline = elapsed() + DRAIN_SECONDS
        while not at_rest(snapshot := await insist(self._manager.broker.snapshot)):
            if elapsed() > deadline:
                break
            await asyncio.sleep(LOOK_SECONDS)
        return snapshot

    # -- questions -------------------------------------------------------------------------

    async def _question(self, saboteur: Saboteur, first_tick: float, seconds: float) -> Evidence:
        snapshot = await self._manager.broker.snapshot()
        last_tick = max((await self._manager.broker.schedules()).values())
        ids = everyone(self._ledgers)
        # Ticks may have fired before we first asked for them.
        first_tick = min([first_tick, *(tick_of(run_id) - 1 for run_id in ids)])
        records = await self._records(sorted(ids | tick_ids(first_tick, last_tick)))
        for record in records.values():
            if record.state == "dead":
                await self._manager.discard(record.id)
        return Evidence(
            asked=self._asked,
            broker=self._version(),
            seconds=seconds,
            faults=saboteur.done,
            lives=[life for actor in self._actors.values() for life in actor.lives],
            bodies=self._ledgers.bodies.entries(),
            producers=self._ledgers.producers.entries(),
            events=self._ledgers.events.entries(),
            records=records,
            snapshot=snapshot,
            first_tick=first_tick,
            last_tick=last_tick,
            leaks=OwnQueue(self._server, QUEUE).leaks(),
            rewinds=saboteur.rewinds,
        )

    async def _records(self, ids: Sequence[str]) -> dict[str, Record]:
        records: dict[str, Record] = {}
        for start in range(0, len(ids), QUESTIONS):
            some = ids[start : start + QUESTIONS]
            for record in await asyncio.gather(*(self._record(run_id) for run_id in some)):
                if record is not None:
                    records[record.id] = record
        return records

    async def _record(self, run_id: str) -> Record | None:
        try:
            return msgspec.convert(await self._manager.get_evidence(run_id), Record)
        except UnknownRunError:
            return None

    def _version(self) -> str:
        with self._server.client() as client:
            info = client.info("server")
        return f"{self._server.flavour} {info.get('valkey_version') or info['redis_version']}"


def at_rest(snapshot: Snapshot) -> bool:
    """Nothing in the queue can move any more."""
    return snapshot.ready + snapshot.running + snapshot.scheduled + snapshot.held == 0


class Tally:
    """How many runs were accepted so far, without reading the whole book again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._accepted = 0

    def count(self) -> int:
        if self._path.exists():
            with self._path.open("rb") as book:
                book.seek(self._read)
                news = book.read()
            self._read += len(news)
            self._accepted += news.count(b'"what":"accepted"')
        return self._accepted


@asynccontextmanager
async def opened(
    asked: Plan, cast: Cast, *, flavour: Flavour = "redis", directory: Path | None = None
) -> AsyncIterator[World]:
    """A world with a broker of its own. Ledgers and logs are left in the `directory` when one is given."""
    async with AsyncExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fluid-chaos-")))
        settings = {"appendfsync": "always", "maxmemory-policy": "noeviction"}
        server = RedisServer(flavour, appendonly=True, settings=settings)
        stack.enter_context(server)
        proxy = await stack.enter_async_context(CuttingProxy(server.port))
        replica = None
        if asked.rewinds:
            replica = Replica(server)
            stack.enter_context(replica.server)
            replica.follow()
        world = World(asked, cast, server, proxy, replica, directory)
        try:
            yield world
        finally:
            await world.end()
