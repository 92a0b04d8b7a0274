"""Five schedulers with wrong clocks, killed and paused at random: fires equal ticks."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from fluid.clock import from_milliseconds, now
from fluid.scheduler import TaskConsumer, TaskManager
from fluid.scheduler.brokers.keys import Keys
from tests.chaos.cast import Supervised
from tests.chaos.schedulers import CLOCK_CHANGES, INTERVAL, OFTEN, ZONE, ticking
from tests.support.ledger import Ledger
from tests.support.processes import PythonProcess
from tests.support.queues import OwnQueue, queue_of_its_own
from tests.support.servers import RedisServer
from tests.support.waiting import poll

SKEWS = (-2.0, -1.0, 0.0, 1.0, 2.0)
TICKS = 1000
MORE_THAN_A_YEAR = timedelta(days=370)
"""Both changes of the clock are within it, wherever in the year it ends."""
BERLIN = ZoneInfo(ZONE)
HALF_PAST_TWO = time(2, 30)


def clock_changes(start: datetime, end: datetime) -> dict[str, set[int]]:
    """The ticks (milliseconds) of `CLOCK_CHANGES`, read minute by minute from the clock on the wall."""
    due: dict[str, set[int]] = {"fixed": set(), "repeating": set()}
    days = set()
    minute = start.replace(second=0, microsecond=0)
    before = minute.astimezone(BERLIN)
    while (minute := minute + timedelta(minutes=1)) <= end:
        wall = minute.astimezone(BERLIN)
        if wall.month in (3, 10) and wall.isoweekday() == 7:
            instant = round(minute.timestamp() * 1000)
            if wall.hour == 2 and wall.minute % 20 == 0:
                due["repeating"].add(instant)
            # also when the clock jumps over it, and once a day when it is put back
            if before.time() < HALF_PAST_TWO <= wall.time() and wall.date() not in days:
                days.add(wall.date())
                due["fixed"].add(instant)
        before = wall
    return due


def as_if_it_stood_still_since(then: datetime, queue: OwnQueue, name: str) -> None:
    """Set the last tick of a schedule back."""
    key = Keys(queue.name)["schedules"]
    with queue.server.client() as client:
        fingerprint, _, nonce = client.hget(key, name).decode().split()
        client.hset(key, name, f"{fingerprint} {round(then.timestamp() * 1000)} {nonce}")


class Chaos:
    """Kills one scheduler, or lets one stand still for a while, and then the next."""

    def __init__(self, schedulers: Sequence[Supervised]) -> None:
        self.kills = 0
        self.pauses = 0
        self._schedulers = schedulers
        self._random = random.Random(19)

    async def go_on(self) -> None:
        """Until it is cancelled."""
        while True:
            victim = self._random.choice(self._schedulers).lives[-1]
            if victim.returncode is None:
                await (self._kill if self._random.random() < 0.4 else self._pause)(victim)
            await asyncio.sleep(self._random.uniform(0.1, 0.4))

    async def _kill(self, victim: PythonProcess) -> None:
        victim.kill()
        await victim.wait()
        self.kills += 1

    async def _pause(self, victim: PythonProcess) -> None:
        victim.pause()
        try:
            await asyncio.sleep(self._random.uniform(0.2, 2.5))
        finally:
            victim.resume()
        self.pauses += 1


class Fleet:
    """Five schedulers, each with a clock of its own and a supervisor."""

    def __init__(self, url: str, ledger: Ledger, directory: Path) -> None:
        self._url = url
        self._ledger = ledger
        self._directory = directory

    def scheduler(self, number: int) -> Supervised:
        """One of them."""
        arguments = ("-m", "tests.chaos.schedulers", self._url, self._ledger.path, str(SKEWS[number]))
        return Supervised(lambda: PythonProcess(*arguments, output=self._directory / f"scheduler-{number}"))

    async def break_until(self, manager: TaskManager, ticks: int, schedulers: Sequence[Supervised]) -> Chaos:
        """Kill and pause until so many ticks have been fired."""

        async def accepted() -> int:
            return (await manager.broker.snapshot()).books.accepted

        chaos = Chaos(schedulers)
        breaking = asyncio.create_task(chaos.go_on())
        for some in range(ticks // 4, ticks + 1, ticks // 4):
            await poll(accepted, lambda count, some=some: count >= some, f"{some} ticks", every=0.2)  # type: ignore[misc]
        breaking.cancel()
        with suppress(asyncio.CancelledError):
            await breaking
        return chaos


async def known_schedules(manager: TaskManager) -> Mapping[str, float]:
    """Every schedule, and the last tick that counts."""
    count = len(OFTEN) + len(CLOCK_CHANGES)
    return await poll(manager.broker.schedules, lambda known: len(known) == count, "every schedule")


def fired(ledger: Ledger) -> dict[str, set[int]]:
    """The ticks (milliseconds) of each schedule that were fired and have run."""
    ticks: dict[str, set[int]] = {}
    for entry in ledger.entries():
        name, _, instant = entry.run_id.partition("@")
        ticks.setdefault(name, set()).add(int(instant))
    return ticks


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_fires_equal_ticks_whatever_becomes_of_five_schedulers(
    valkey_server: RedisServer, tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path / "ledger")
    async with AsyncExitStack() as stack:
        queue = stack.enter_context(queue_of_its_own(valkey_server))
        manager = await stack.enter_async_context(TaskManager(broker_url=queue.url))
        async with AsyncExitStack() as running:
            fleet = Fleet(queue.url, ledger, tmp_path)
            schedulers = [
                await running.enter_async_context(fleet.scheduler(number)) for number in range(len(SKEWS))
            ]
            first_seen = await known_schedules(manager)
            long_ago = now() - MORE_THAN_A_YEAR
            for name in CLOCK_CHANGES:
                as_if_it_stood_still_since(long_ago, queue, name)
            chaos = await fleet.break_until(manager, TICKS, schedulers)
            # those that were killed or stood still may be what the last ticks wait for
            await poll(lambda: _not_ahead(manager), bool, "every tick until now", every=0.05)
        last = await known_schedules(manager)
        consumer = TaskConsumer(broker_url=queue.url, lease_seconds=1.0, max_deliveries=100)
        consumer.register_from_dict(ticking(ledger))
        async with consumer:
            books = (
                await poll(
                    manager.broker.snapshot,
                    lambda seen: seen.books.success == seen.books.accepted,
                    "every run to end",
                )
            ).books

    ticks = fired(ledger)
    for name in OFTEN:
        step = round(INTERVAL * 1000)
        first = min(ticks[name])
        assert first <= first_seen[name] + step, name
        assert ticks[name] == set(range(first, round(last[name]) + 1, step)), name
    past = clock_changes(long_ago, now())
    assert {name: ticks[name] for name in CLOCK_CHANGES} == past
    assert books.accepted == sum(len(instants) for instants in ticks.values()) >= TICKS
    assert books.unaccounted == 0
    assert chaos.kills > 1
    assert chaos.pauses > 1
    assert {from_milliseconds(one).astimezone(BERLIN).utcoffset() for one in past["repeating"]} == {
        timedelta(hours=1),
        timedelta(hours=2),
    }


async def _not_ahead(manager: TaskManager) -> bool:
    """Whether every frequent schedule has fired within its last few intervals."""
    known = await known_schedules(manager)
    moment = (await manager.broker.snapshot()).now
    return all(moment - known[name] < 5000 * INTERVAL for name in OFTEN)
