"""`make lists`: what it costs to list runs, and to decide about all of them, among 100,000 in each state.

One of them is of a rare task, and there for a rare reason. A question is asked a few times and the quickest
answer counts, for whatever else the machine does only makes it slower. With `--report` the table is put into
a page.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from redis import Redis

from fluid.clock import elapsed, now
from fluid.scheduler import TaskManager, TaskState
from fluid.scheduler.brokers import redis as room
from fluid.scheduler.deciding import Decided
from fluid.scheduler.moves import Kind
from tests.bench import machine
from tests.bench.report import put, table
from tests.fluid.scheduler.brokers.desk import LONG, Desk, desk_at, outcome, submission
from tests.support.queues import OwnQueue
from tests.support.servers import RedisServer

BEGIN, END = "<!-- lists -->", "<!-- /lists -->"
PAGE = 50
TASKS = 100
SLOTS = 320
TIMES = 5
RARE, ODD = "rare", "odd"
MESSAGE = b'{"params":{"customer":"somebody","items":[1,2,3,4,5]},"root_run_id":"","headers":{}}'
EVIDENCE = b'{"error":"ValueError: no","traceback":"%s"}' % (b"x" * 1500)

SETTLED_AS = {
    TaskState.failure: (Kind.failure, "error"),
    TaskState.dead: (Kind.dead, "lost_too_often"),
    TaskState.held: (Kind.held, "unknown_task"),
}

Ask = Callable[[], Awaitable[object]]


class Cost(NamedTuple):
    """Of one question, or of a decision about many."""

    state: str
    question: str
    milliseconds: float
    trips: int
    call: float
    """Milliseconds of a call in the server, on average; it serves nobody else meanwhile."""


async def fill(desk: Desk, state: TaskState, count: int) -> None:
    """So many runs in this state; the eleventh is the rare one."""
    delay = LONG if state is TaskState.scheduled else 0.0
    for first in range(0, count, 5_000):
        numbers = range(first, min(count, first + 5_000))
        await desk.submit(*(_submission(state, number, delay) for number in numbers))
        if state in SETTLED_AS:
            await _settle_all(desk, state)


def _submission(state: TaskState, number: int, delay: float) -> Any:
    name = RARE if number == 10 else f"task-{number % TASKS}"
    return submission(f"{state}-{number}", task=name, message=MESSAGE, delay=delay)


async def _settle_all(desk: Desk, state: TaskState) -> None:
    kind, reason = SETTLED_AS[state]
    evidence = b"" if kind is Kind.held else EVIDENCE
    while runs := await desk.take(500):
        reasons = [ODD if run.task == RARE else reason for run in runs]
        told = [
            outcome(run, kind, reason=why, ttl=LONG, outcome=evidence)
            for run, why in zip(runs, reasons, strict=True)
        ]
        await desk.broker.settle(told)


class Meter:
    """Asks, and sees what that costs."""

    def __init__(self, client: Redis, trips: list[str]) -> None:
        self._client = client
        self._trips = trips
        self.costs: list[Cost] = []

    async def ask(self, state: TaskState, question: str, ask: Ask, times: int = TIMES) -> None:
        """Ask so often; what is asked more than once, also beforehand, so that its script is known."""
        found = []
        if times > 1:
            await ask()
        for _ in range(times):
            self._trips.clear()
            self._client.config_resetstat()
            begin = elapsed()
            await ask()
            took = elapsed() - begin
            calls = self._client.info("commandstats")["cmdstat_evalsha"]
            found.append((1000 * took, calls["usec_per_call"] / 1000))
        quickest, call = (min(values) for values in zip(*found, strict=True))
        self.costs.append(Cost(state.value, question, quickest, len(self._trips), call))


async def ask_of_lists(meter: Meter, desk: Desk, state: TaskState) -> None:
    """The pages that people and boards ask for."""

    def page(**how: Any) -> Ask:
        return lambda: desk.broker.list_runs(state, limit=PAGE, **how)

    await meter.ask(state, "first page", page())
    before = await desk.broker.list_runs(state, limit=999 * PAGE)
    if before.after:
        await meter.ask(state, "1,000th page", page(after=before.after))
    await meter.ask(state, "a rare task", page(task=RARE))
    if state in SETTLED_AS:
        await meter.ask(state, "a rare reason", page(reason=ODD))
    await meter.ask(state, "a time without any", page(until=1.0))


async def decide(meter: Meter, manager: TaskManager, count: int) -> None:
    """What a person does with all of them."""
    of_a_task = count // TASKS
    dead, failed = TaskState.dead, TaskState.failure
    discard = f"discard {of_a_task:,} of one task"
    await meter.ask(dead, discard, lambda: _through(manager.discard_all(task="task-7")), 1)
    await meter.ask(dead, f"replay {count - of_a_task:,}", lambda: _through(manager.replay_all(dead)), 1)
    await meter.ask(failed, f"replay {count:,}", lambda: _through(manager.replay_all(failed)), 1)


async def _through(decided: AsyncIterator[Decided]) -> None:
    async for _ in decided:
        pass


async def measure(server: RedisServer, count: int) -> list[Cost]:
    """Everything, with so many runs in each state."""
    room.FAILURES_KEPT = count
    url = server.queue_url("lists")
    trips: list[str] = []
    with server.client() as client:
        async with desk_at(url, OwnQueue(server, "lists")) as desk, TaskManager(broker_url=url) as manager:
            for broker in (desk.broker, manager.broker):
                broker.listeners.command.append(lambda move, *_: trips.append(move))
            meter = Meter(client, trips)
            await desk.submit(*(_submission(TaskState.running, number, 0.0) for number in range(SLOTS)))
            await desk.take(SLOTS, lease=LONG)
            states = [*SETTLED_AS, TaskState.scheduled, TaskState.queued]
            for state in states:
                await fill(desk, state, count)
            for state in (*states, TaskState.running):
                await ask_of_lists(meter, desk, state)
            await decide(meter, manager, count)
    return meter.costs


def tell(costs: list[Cost], about: str) -> str:
    """The table."""
    lines = [
        (one.state, one.question, f"{one.milliseconds:,.1f}", f"{one.trips:,}", f"{one.call:.2f}")
        for one in costs
    ]
    return f"{about}\n\n" + table(
        ("state", "asked for", "ms", "round trips", "a call in the server, ms"), lines
    )


def main() -> None:
    """Measure against Debian's Redis, and print or write."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.lists", description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000, help="in each state")
    parser.add_argument("--report", type=Path, help="the page whose table is written anew")
    given = parser.parse_args()
    with RedisServer("redis") as server, server.client() as client:
        costs = asyncio.run(measure(server, given.runs))
        version = client.info("server")["redis_version"]
    told = tell(
        costs,
        f"Measured on {now():%Y-%m-%d}: {machine.about()}; Redis {version} on loopback; {given.runs:,} runs "
        f"in each state but {SLOTS} that run; pages of {PAGE}.",
    )
    if given.report:
        put(given.report, BEGIN, END, told)
    else:
        sys.stdout.write(told)


if __name__ == "__main__":
    main()
