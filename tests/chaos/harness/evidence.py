"""All that is known when the world has come to rest: every book, and what was done to it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from typing import Any

import msgspec

from fluid.scheduler import Snapshot, TaskState
from tests.chaos.harness.actors import Life
from tests.chaos.harness.orders import Ledgers
from tests.chaos.harness.plan import Fault
from tests.chaos.harness.rewinds import Rewind
from tests.chaos.harness.tasks import TICK
from tests.support.ledger import Entry

RUNS, OUTCOMES = {"runs"}, {"outcomes"}

FLUSHED = {
    "accepted": RUNS,
    "end": OUTCOMES,
    "retry": OUTCOMES,
    "stale": OUTCOMES,
    "broker_rewound": RUNS | OUTCOMES,
}
"""The flushes that were answered, or count for nothing any more, by what was written down."""


class Record(msgspec.Struct, frozen=True):
    """What the broker keeps of a run, of `get_evidence`."""

    id: str
    task: str
    state: TaskState
    attempt: int
    reason: str
    lost_by: tuple[str, ...] = ()
    result: Any = None


@dataclass(frozen=True)
class Plan:
    """What was asked for."""

    seed: int
    runs: int
    seconds: float
    lease: float
    pause: float = 1.5
    """Seconds between faults, about."""
    rewinds: bool = False
    """Whether the broker is made to forget, too."""


@dataclass(frozen=True)
class Evidence:
    """Read once; everything else is worked out of it."""

    asked: Plan
    broker: str
    """The server and its version."""
    seconds: float
    """From the first queued run until everything had ended."""
    faults: Counter[Fault]
    lives: Sequence[Life]
    bodies: Sequence[Entry]
    producers: Sequence[Entry]
    events: Sequence[Entry]
    records: Mapping[str, Record]
    """By id, of every run that anybody has heard of."""
    snapshot: Snapshot
    first_tick: float
    """The instant (milliseconds) after which ticks count."""
    last_tick: float
    leaks: Sequence[str]
    rewinds: Sequence[Rewind] = ()

    @cached_property
    def attempts(self) -> Mapping[str, Sequence[Attempt]]:
        """What each run did, in the order it began."""
        by_run: dict[str, list[Attempt]] = defaultdict(list)
        for entry in self.bodies:
            if entry.what == "begin":
                by_run[entry.run_id].append(Attempt(entry))
            else:
                for attempt in by_run[entry.run_id]:
                    if (attempt.begin.pid, attempt.begin.attempt) == (entry.pid, entry.attempt):
                        attempt.said[entry.what] = entry
        return by_run

    @cached_property
    def accepted(self) -> frozenset[str]:
        """The runs that a producer was told are in the queue."""
        return self.ids(self.producers, "accepted")

    @cached_property
    def ticks(self) -> frozenset[str]:
        """The runs of every tick that the schedule has had."""
        return tick_ids(self.first_tick, self.last_tick)

    @cached_property
    def taken_back(self) -> frozenset[str]:
        """The runs that the broker was made to forget."""
        return frozenset[str]().union(*(rewind.taken_back for rewind in self.rewinds))

    @cached_property
    def went_back(self) -> frozenset[str]:
        """The runs of which the broker forgot what they had done."""
        return self.taken_back.union(*(rewind.set_back for rewind in self.rewinds))

    @cached_property
    def denied(self) -> Sequence[frozenset[str]]:
        """The runs that somebody was told to be accepted or ended before the broker went back, each time.

        Whoever was told finds it with the next answer of that sort. When the broker went back again before
        that, the next time counts for both, and what that gave back was never denied.
        """
        answers = [entry for entry in [*self.producers, *self.events] if entry.what in FLUSHED]

        def flushes(of: Iterable[Entry]) -> set[tuple[int, str]]:
            return {(entry.pid, sort) for entry in of for sort in FLUSHED[entry.what]}

        found: list[frozenset[str]] = []
        unseen = frozenset[str]()
        witnesses: set[tuple[int, str]] = set()
        since = -inf
        for rewind, until in zip(self.rewinds, [*(one.at for one in self.rewinds), inf][1:], strict=True):
            gone = {"accepted": rewind.taken_back, "end": rewind.taken_back | rewind.set_back}
            told = [
                entry
                for entry in answers
                if since < entry.elapsed < rewind.at and entry.run_id in gone.get(entry.what, ())
            ]
            witnesses |= flushes(told)
            asked = flushes(entry for entry in answers if rewind.at < entry.elapsed < until)
            runs = frozenset(entry.run_id for entry in told) | unseen - rewind.given_back
            seen = until == inf or not witnesses.isdisjoint(asked)
            found.append(runs if seen else frozenset())
            unseen, witnesses = (frozenset(), set()) if seen else (runs, witnesses)
            since = rewind.at
        return found

    def ids(self, book: Sequence[Entry], what: str) -> frozenset[str]:
        """The runs of which a book says this."""
        return frozenset(entry.run_id for entry in book if entry.what == what)

    def settled(self, record: Record) -> Attempt | None:
        """The attempt whose success the broker took: it held its lease from its begin until it was done."""
        for attempt in reversed(self.attempts.get(record.id, [])):
            if attempt.number == record.result and attempt.done:
                return attempt
        return None

    def settled_by_subject(self, *tasks: str) -> Mapping[str, Sequence[Attempt]]:
        """The settled attempts of these tasks, by task and key."""
        by_subject: dict[str, list[Attempt]] = defaultdict(list)
        for record in self.in_state(TaskState.success):
            if record.task in tasks and (attempt := self.settled(record)):
                by_subject[attempt.begin.task].append(attempt)
        return by_subject

    def in_state(self, *states: TaskState) -> list[Record]:
        """The records in these states."""
        return [record for record in self.records.values() if record.state in states]


@dataclass
class Attempt:
    """One time that a body was called."""

    begin: Entry
    said: dict[str, Entry] = field(default_factory=dict)

    @property
    def number(self) -> int:
        return self.begin.attempt

    @property
    def done(self) -> Entry | None:
        return self.said.get("done")


def tick_ids(after: float, until: float) -> frozenset[str]:
    """The runs of the ticks in this span of instants (milliseconds), the first instant left out."""
    interval = round(TICK.total_seconds() * 1000)
    first = (int(after) // interval + 1) * interval
    return frozenset(f"tick@{instant}" for instant in range(first, int(until) + 1, interval))


def tick_of(run_id: str) -> float:
    """The instant of a run of a tick; endless for any other run."""
    task, _, instant = run_id.partition("@")
    return float(instant) if task == "tick" else inf


def everyone(ledgers: Ledgers) -> set[str]:
    """Every run that any book has heard of."""
    return {
        entry.run_id
        for ledger in (ledgers.bodies, ledgers.producers, ledgers.events)
        for entry in ledger.entries()
        if entry.run_id
    }
