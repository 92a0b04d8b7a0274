"""What goes to a broker and comes back, as plain values.

Instants are milliseconds since the epoch by the broker's own clock; durations are seconds. What there is
one of for each run holds nothing but words and numbers, so the garbage collector need not look at it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from fluid.scheduler.states import TaskPriority, TaskState

T = TypeVar("T")


class Page(list[T]):
    """Some of many."""

    def __init__(self, items: Iterable[T] = (), after: str = "") -> None:
        super().__init__(items)
        self.after = after
        """What the next page is asked for with; empty when there are no more."""


class Submission(msgspec.Struct, frozen=True, gc=False):
    """A run on its way into the queue."""

    id: str
    task: str
    priority: TaskPriority
    message: bytes
    version: int
    delay: float = 0.0
    """Seconds until it is due."""
    at: float | None = None
    """The instant it is due; wins over `delay`."""
    deliveries: int | None = None
    """The task's own `max_deliveries`."""
    unique: str = ""
    group: str = ""
    """Its concurrency key."""
    replays: str = ""
    """The failed run whose replay it is."""
    once: bool = False
    """It is not accepted when that has been replayed before."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What the whole fleet may do with runs of one task; 0 is no limit."""

    task: str
    places: int = 0
    """How many may run at once."""
    starts: int = 0
    """How many may start in any `period`."""
    period: float = 0.0
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a run was not accepted: `already_queued` (its id, or a replay before it), `unique` (its key)."""

    reason: str
    run_id: str


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What became of submissions, in their order: None is accepted."""

    now: float
    verdicts: list[Refusal | None]
    scheduled: list[bool]
    """Which were accepted, but are not due yet."""


class Claimed(msgspec.Struct, gc=False):
    """A run in this consumer's hands. Code and entry together are its token."""

    code: str
    entry: str
    id: str
    task: str
    message: bytes
    queued: float
    ready: float
    waited: float = 0.0
    """Seconds from ready to claimed, never below zero."""
    priority: TaskPriority = TaskPriority.medium
    version: int = 1
    failures: int = 0
    losses: int = 0
    unique: str = ""
    delivery: int = 1
    cancelled: bool = False
    """Somebody wished that it is cancelled, before it was handed back."""

    @property
    def token(self) -> str:
        """What proves that this delivery is ours."""
        return f"{self.code}/{self.entry}"

    @property
    def suspect(self) -> bool:
        """Lost twice or more: it may be what kills its consumers."""
        return self.losses >= 2


class ClaimRequest(msgspec.Struct, frozen=True):
    """What a consumer asks for."""

    consumer: str
    slots: int
    """How many runs it has room for."""
    lease: float
    wait: float = 0.0
    """Seconds to wait at the bell for the first; 0 is not at all."""
    suspects: int = 1
    """How many of them may be suspects."""
    held: Sequence[str] = ()
    """Tasks that are known to it, and have held runs as it was told before."""
    cursor: str = ""
    """The last held task that it was told."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to a claim."""

    now: float
    accepted: int
    """The books' total: how many runs were ever accepted."""
    runs: list[Claimed]
    next_due: float | None
    """Seconds until the next scheduled run is due."""
    filled: bool
    """Every free slot was filled; there may be more."""
    held_tasks: tuple[str, ...]
    """Some tasks that have held runs, known here or not."""
    aside: list[tuple[str, RunRecord]]
    """Runs that were moved aside on the way: `limit`, `rate` or `paused`, and what they are."""


class Kind(enum.StrEnum):
    """What an outcome does to its run."""

    __hash__ = str.__hash__

    success = "success"
    failure = "failure"
    aborted = "aborted"
    retry = "retry"
    interrupted = "interrupted"
    held = "held"
    dead = "dead"


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """The outcome of one claimed run, as the broker is told it."""

    code: str
    entry: str
    id: str
    kind: Kind
    reason: str = ""
    model: str = ""
    """Of a run that is held for it: the model that its parameters did not fit."""
    delay: float = 0.0
    ttl: float = 60.0
    unique: str = ""
    outcome: bytes = b""


@dataclass(frozen=True, slots=True)
class Settled:
    """Which outcomes were accepted, in their order."""

    now: float
    accepted: list[bool]
    dead: list[bool]
    """Which runs are dead though they were to be held, for no consumer alive could take them."""


class Fate(enum.StrEnum):
    """What became of a run whose lease ran out."""

    returned = "returned"
    dead = "dead"
    aborted = "aborted"


@dataclass(frozen=True, slots=True)
class Rescued:
    """A run whose lease ran out."""

    fate: Fate
    owner: str
    record: RunRecord
    stranded: bool = False
    """It had been delivered, and had no lease at all."""


class Durability(enum.StrEnum):
    """What the server has on disk; of what it does not tell, the least that can be."""

    none = "none"
    rdb = "rdb"
    """A copy, now and then."""
    aof_no = "aof_no"
    """An append-only file, flushed when the system likes."""
    aof_everysec = "aof_everysec"
    """An append-only file, flushed every second."""
    aof_always = "aof_always"
    """An append-only file, flushed before it answers."""


@dataclass(frozen=True, slots=True)
class BrokerReport:
    """What the server tells of itself."""

    durability: Durability
    evicts: bool
    """It may remove keys when its memory is full."""
    replica: bool
    memory_used: int
    """Bytes."""
    memory_limit: int
    """Bytes; 0 is no limit."""
    clock_offset: float
    """Seconds that its clock is ahead of ours, beyond what the question itself may have taken."""
    server: str = ""
    """Product and version, such as `valkey 9.1.2`."""


@dataclass(frozen=True, slots=True)
class Rewound:
    """The server has gone back in time, to before what it had told this process."""

    forgot: str
    """What was found to be gone: `runs` that it had accepted, or else `outcomes`."""
    before: int
    """How many runs it had ever accepted, as it was last known here."""
    after: int
    """How many it says now, with those that it has accepted since."""


@dataclass(frozen=True, slots=True)
class Tidied:
    """What a tidying did."""

    gone: int
    """Silent consumers that are forgotten; -1 when another tidying was not long ago."""
    dead: list[RunRecord]
    """Runs that no consumer alive can take any more."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found of moves that were carried out by half."""

    stranded: int
    """Deliveries without a lease; they will be rescued."""
    doubled: int
    """Runs that were where they are not, by their records; they are there no more."""


@dataclass(slots=True)
class RunRecord:
    """Everything the broker keeps of one run."""

    id: str
    task: str
    state: TaskState
    priority: TaskPriority
    version: int = 1
    message: bytes = b""
    queued: float = 0.0
    ready: float = 0.0
    failures: int = 0
    losses: int = 0
    deliveries: int | None = None
    unique: str = ""
    group: str = ""
    delivery: int = 1
    reason: str = ""
    outcome: bytes = b""
    owners: tuple[str, ...] = ()
    """The consumers that lost it, oldest first."""
    owner: str = ""
    """The consumer that runs it."""
    lease_until: float | None = None
    progress: bytes = b""
    replayed_as: str = ""
    """Of a failed one: the run that was its last replay."""


class Tick(enum.StrEnum):
    """What became of a schedule's tick."""

    fired = "fired"
    passed = "passed"
    """Given up as missed, as asked."""
    new = "new"
    """The schedule was not known, or another one: it starts from now."""
    early = "early"
    """Ahead of the broker's clock."""
    done = "done"
    """Another scheduler has done it."""


@dataclass(frozen=True, slots=True)
class Fired:
    """The answer to a tick."""

    now: float
    tick: Tick
    last: float
    """The last tick that counts."""
    refusal: Refusal | None = None
    """Why the run of a tick that was fired was not accepted."""


class Renewal(enum.IntEnum):
    """What became of a lease."""

    gone = 0
    renewed = 1
    cancelled = 2
    """Renewed, and the run shall be cancelled."""
