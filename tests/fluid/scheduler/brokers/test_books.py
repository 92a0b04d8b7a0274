"""The books balance after whatever moves in whatever order, and say what a plain ledger says."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fluid.scheduler.brokers.redis import RedisBroker
from fluid.scheduler.moves import Claimed, Fate, Kind, Limit, Refusal, Tick
from fluid.scheduler.snapshot import Depths, Snapshot
from fluid.scheduler.states import TaskPriority
from tests.fluid.scheduler.brokers.desk import LONG, Desk, submission
from tests.support.queues import OwnQueue, queue_of_its_own
from tests.support.servers import RedisServer

NAMES = [f"run-{n}" for n in range(12)]
TASKS = ["greet", "limited"]
CONSUMERS = ["ann", "bob"]
PLACES = 2
MAX_DELIVERIES = 3
FINAL = ("success", "failure", "aborted")
AFTER = {
    Kind.success: "success",
    Kind.failure: "failure",
    Kind.aborted: "aborted",
    Kind.interrupted: "ready",
    Kind.held: "held",
    Kind.dead: "dead",
}


@dataclass
class Entry:
    """What the ledger says of one run."""

    task: str
    priority: TaskPriority
    unique: str
    where: str
    due: bool = True
    failures: int = 0
    losses: int = 0
    claimed: Claimed | None = None
    asked_to_end: bool = False


class Bookkeeping(RuleBasedStateMachine):
    """Moves a queue about, and keeps a ledger of its own beside it."""

    server: RedisServer

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.queue = queue_of_its_own(self.server)
        own: OwnQueue = self.queue.__enter__()
        self.desk = Desk(RedisBroker(own.url), own)
        self.entries: dict[str, Entry] = {}
        self.old: list[Claimed] = []
        self.accepted = self.replayed = 0
        self.tick = 1000

    def do(self, move: Awaitable[Any]) -> Any:
        async def wait() -> Any:
            return await move

        return self.runner.run(wait())

    def teardown(self) -> None:
        self.do(self.desk.broker.close())
        self.queue.__exit__(None, None, None)
        self.runner.close()

    # -- what the ledger says --------------------------------------------------------------

    def at(self, *where: str) -> list[str]:
        return [name for name, entry in self.entries.items() if entry.where in where]

    def owner_of(self, unique: str) -> str | None:
        """The open run that has this key."""
        open_ = self.at("ready", "running", "scheduled", "held", "limited")
        return next((name for name in open_ if unique and self.entries[name].unique == unique), None)

    def moved(self, name: str, where: str) -> None:
        entry = self.entries[name]
        entry.where, entry.claimed = where, None
        # a wish to cancel stands until its run has ended
        entry.asked_to_end &= where not in (*FINAL, "dead")

    # -- moves -----------------------------------------------------------------------------

    @initialize()
    def open(self) -> None:
        self.do(self.desk.broker.open())
        self.do(self.desk.broker.set_limits([Limit("limited", places=PLACES)]))
        with self.desk.own.server.client() as client:
            for task in TASKS:
                client.hset(self.desk.keys["schedules"], task, f"hourly {self.tick} someone")

    @rule(
        names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True),
        task=st.sampled_from(TASKS),
        priority=st.sampled_from(TaskPriority),
        unique=st.sampled_from(["", "", "key"]),
        delay=st.sampled_from([0.0, 0.0, LONG]),
    )
    def queue_runs(
        self, names: list[str], task: str, priority: TaskPriority, unique: str, delay: float
    ) -> None:
        runs = [submission(name, priority, task=task, unique=unique, delay=delay) for name in names]
        told = self.do(self.desk.submit(*runs)).verdicts
        for name, verdict in zip(names, told, strict=True):
            owner = self.owner_of(unique)
            if name in self.entries:
                assert verdict == Refusal("already_queued", name)
            elif owner is not None:
                assert verdict == Refusal("unique", owner)
            else:
                assert verdict is None
                where = "scheduled" if delay else "ready"
                self.entries[name] = Entry(task, priority, unique, where, due=not delay)
                self.accepted += 1

    @rule(
        consumer=st.sampled_from(CONSUMERS),
        slots=st.integers(1, 4),
        suspects=st.integers(0, 1),
        held=st.sampled_from([(), ("greet",), ("greet", "limited")]),
    )
    def claim(self, consumer: str, slots: int, suspects: int, held: tuple[str, ...]) -> None:
        promoted = [name for name in self.at("scheduled") if self.entries[name].due]
        told = self.do(self.desk.claim(slots, consumer, suspects=suspects, held=held))
        assert len(told.runs) <= slots
        for name in promoted:
            self.entries[name].where = "ready"
        for why, record in told.aside:
            assert why == "limit"
            assert self.entries[record.id].where in ("ready", "held")
            self.entries[record.id].where = "limited"
        for run in told.runs:
            entry = self.entries[run.id]
            assert entry.where == "ready" or (entry.where == "held" and entry.task in held)
            assert (run.failures, run.losses) == (entry.failures, entry.losses)
            entry.where, entry.claimed = "running", run
        # a suspect is let go even when another one has to end first
        self.ask([name for name in self.at("held") if self.entries[name].losses >= 2])
        assert sum(run.suspect for run in told.runs) <= suspects
        running = [name for name in self.at("running") if self.entries[name].task == "limited"]
        assert len(running) <= PLACES
        if not told.filled:
            left = [name for name in self.at("ready") if self.entries[name].losses < 2]
            assert left == []

    @precondition(lambda self: self.at("running"))
    @rule(data=st.data(), kind=st.sampled_from(Kind), later=st.booleans())
    def settle(self, data: st.DataObject, kind: Kind, later: bool) -> None:
        name = data.draw(st.sampled_from(self.at("running")))
        entry = self.entries[name]
        claimed = entry.claimed
        assert claimed is not None
        delay = LONG if later else 0.0
        assert self.do(self.desk.settle(claimed, kind, reason="unknown_task", delay=delay, ttl=LONG))
        self.old.append(claimed)
        if kind is Kind.retry:
            self.moved(name, "scheduled")
            entry.failures += 1
            entry.due = not later
        else:
            self.moved(name, AFTER[kind])
        self.let_go()

    @precondition(lambda self: self.old)
    @rule(data=st.data(), kind=st.sampled_from(Kind))
    def settle_late(self, data: st.DataObject, kind: Kind) -> None:
        self.do(self.desk.settle(data.draw(st.sampled_from(self.old)), kind, reason="unknown_task"))

    @precondition(lambda self: self.at("running"))
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        some = st.lists(st.sampled_from(self.at("running")), min_size=1, unique=True)
        claimed = [run for name in data.draw(some) if (run := self.entries[name].claimed)]
        told = self.do(self.desk.lose(*claimed, max_deliveries=MAX_DELIVERIES))
        assert {one.record.id for one in told} == {run.id for run in claimed}
        self.old += claimed
        for one in told:
            entry = self.entries[one.record.id]
            entry.losses += 1
            fate = Fate.dead if entry.losses >= MAX_DELIVERIES else Fate.returned
            assert one.fate is (Fate.aborted if entry.asked_to_end else fate)
            self.moved(one.record.id, {"returned": "ready"}.get(one.fate, one.fate))
        self.let_go()

    @precondition(lambda self: self.entries)
    @rule(data=st.data(), only=st.sampled_from(["", "dead", "waiting"]))
    def cancel(self, data: st.DataObject, only: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.entries)))
        entry = self.entries[name]
        told = self.do(self.desk.broker.cancel(name, only=only))
        if entry.where in FINAL:
            assert told == "over"
        elif (only == "dead" and entry.where != "dead") or (
            only == "waiting" and entry.where in ("dead", "running")
        ):
            assert told == "elsewhere"
        elif entry.where == "running":
            assert told == "asked"
            entry.asked_to_end = True
        else:
            assert told == "ended"
            self.moved(name, "aborted")
            self.let_go()

    @precondition(lambda self: self.at("dead"))
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.at("dead")))
        entry = self.entries[name]
        told = self.do(self.desk.broker.replay(name))
        owner = self.owner_of(entry.unique)
        if owner is not None:
            assert told == Refusal("unique", owner)
            return
        assert told == "replayed"
        entry.where, entry.failures, entry.losses = "ready", 0, 0
        self.replayed += 1

    @rule(
        task=st.sampled_from(TASKS),
        priority=st.sampled_from(TaskPriority),
        unique=st.sampled_from(["", "key"]),
        again=st.booleans(),
    )
    def fire(self, task: str, priority: TaskPriority, unique: str, again: bool) -> None:
        """The next tick of a schedule, which may arrive twice."""
        self.tick += 1
        run = submission(f"tick-{self.tick}", priority, task=task, unique=unique)
        owner = self.owner_of(unique)
        refusal = None if owner is None else Refusal("unique", owner)
        for _ in range(1 + again):
            told = self.do(self.desk.broker.fire(task, "hourly", self.tick, nonce=f"n{self.tick}", run=run))
            assert (told.tick, told.refusal) == (Tick.fired, refusal)
        if refusal is None:
            self.entries[run.id] = Entry(task, priority, unique, "ready")
            self.accepted += 1

    @rule(consumer=st.sampled_from(CONSUMERS))
    def leave(self, consumer: str) -> None:
        self.do(self.desk.broker.leave(consumer))

    def let_go(self) -> None:
        """Those that the limit holds may have become ready: where they are is asked, how many is not."""
        self.ask(self.at("limited"))

    def ask(self, names: list[str]) -> None:
        """Which of these have become ready."""
        for name in names:
            record = self.do(self.desk.broker.get_run(name))
            if record.state == "queued":
                self.entries[name].where = "ready"

    # -- what must hold --------------------------------------------------------------------

    @invariant()
    def the_books_say_what_the_ledger_says(self) -> None:
        snapshot = self.do(self.desk.broker.snapshot())
        ledger = Counter(entry.where for entry in self.entries.values())
        assert snapshot.books.unaccounted == 0
        assert (snapshot.books.accepted, snapshot.books.replayed) == (self.accepted, self.replayed)
        for name in FINAL:
            assert getattr(snapshot.books, name) == ledger[name]
        for priority in TaskPriority:
            here = Counter(one.where for one in self.entries.values() if one.priority is priority)
            assert snapshot.by_priority[priority] == Depths(
                ready=here["ready"],
                running=here["running"],
                scheduled=here["scheduled"],
                held=here["held"] + here["limited"],
                dead=here["dead"],
            )


def test_the_books_balance_after_any_moves(broker_queue: OwnQueue) -> None:
    looked: list[Snapshot] = []

    class Here(Bookkeeping):
        server = broker_queue.server

        def teardown(self) -> None:
            looked.append(self.do(self.desk.balanced()))
            super().teardown()

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=20, stateful_step_count=30, deadline=None, database=None, derandomize=True
        ),
    )
    assert len(looked) >= 20
    assert any(one.books.accepted for one in looked)
