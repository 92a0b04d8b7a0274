"""What a broker promises: where runs are kept, claimed under a lease, and settled.

Every move is atomic and may arrive twice. Instants are milliseconds since the epoch by the
broker's own clock; durations are seconds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from fluid.scheduler.meanwhile import Work, nothing
from fluid.scheduler.moves import (
    Acceptance,
    BrokerReport,
    Claim,
    ClaimRequest,
    Fired,
    Limit,
    Page,
    Refusal,
    Renewal,
    Rescued,
    Rewound,
    RunRecord,
    Settled,
    Settlement,
    Submission,
    Swept,
    Tidied,
)
from fluid.scheduler.notes import Notes
from fluid.scheduler.snapshot import Snapshot
from fluid.scheduler.states import TaskState

CommandWatcher = Callable[[str, float, str], None]
"""Told of every call: the move, the seconds it took, and the kind of error or an empty word."""

AroundCall = Callable[[str, Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""Stands between a call and the server: given the move, and what makes one try of it."""


@dataclass(frozen=True, slots=True)
class ConsumerInfo:
    """A consumer that shows signs of life."""

    name: str
    slots: int
    busy: int
    version: str
    tasks: tuple[str, ...] = ()
    seen: float = 0.0
    """Seconds since its last sign of life."""
    models: Mapping[str, str] = field(default_factory=dict)
    """The fingerprint of the parameters model of each of its tasks."""


class Renewer(Protocol):
    """Renews leases from a thread, over a connection of its own."""

    def renew(
        self, consumer: str, lease: float, about: ConsumerInfo, runs: Sequence[tuple[str, str]]
    ) -> list[Renewal]:
        """One round trip for all (token, run id). Raises `BrokerUnavailableError`."""

    def close(self) -> None:
        """Close the connection."""


@dataclass(slots=True)
class BrokerListeners:
    """Who is told what happens to the broker itself."""

    lost: list[Callable[[str], None]] = field(default_factory=list)
    recovered: list[Callable[[float], None]] = field(default_factory=list)
    rewound: list[Callable[[Rewound], None]] = field(default_factory=list)
    command: list[CommandWatcher] = field(default_factory=list)
    cancel: list[Callable[[str], None]] = field(default_factory=list)
    around: list[AroundCall] = field(default_factory=list)
    """Empty but in tests, where a broker faints on command."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the fleet's stream of events holds at one place."""

    id: str
    """The place; what comes after it is read with `after=id`."""
    event: bytes
    missed: int
    """How many were told between the one read before and this one, and are not kept any more."""


class FleetStream(ABC):
    """The queue's stream of events, which keeps the newest: every process tells, and anybody may read."""

    keep: int = 1
    """How many events the stream keeps, or some more."""
    told: int = 0
    """Events of this process that are in the stream, or were."""
    dropped: int = 0
    """Events of this process that never came into it: too many waited."""

    @property
    @abstractmethod
    def waiting(self) -> int:
        """Events on their way."""

    @abstractmethod
    def put(self, event: bytes) -> None:
        """Send an event on its way: it goes along with the next call that queues or settles, or by `tell`.

        Only so many wait; then the oldest is dropped.
        """

    @abstractmethod
    async def tell(self, deadline: float) -> None:
        """Into the stream with all that waits, now; retried until `deadline` (elapsed seconds).

        Raises `BrokerUnavailableError`; what could not be told goes on waiting.
        """

    @abstractmethod
    def read(self, after: str | datetime | None, *, follow: bool) -> AsyncGenerator[Told]:
        """What comes after a place or an instant, the oldest first, over a connection of its own.

        With `follow` it waits for more and never ends, and a lost connection is made again; None is now.
        Without, it ends with the newest, and raises `BrokerUnavailableError`; None is all that is kept.
        """


class TaskBroker(ABC):
    """Where runs are kept."""

    listeners: BrokerListeners
    fleet: FleetStream
    """The events of the fleet."""
    notes: Notes
    """What its processes agree on beside runs."""

    @property
    @abstractmethod
    def queue(self) -> str:
        """The name of the queue."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where the broker is, secrets masked."""

    @property
    @abstractmethod
    def up(self) -> bool:
        """The last call reached the broker."""

    @property
    @abstractmethod
    def connected_for(self) -> float:
        """Seconds since a connection was made or restored; 0 while there is none."""

    @abstractmethod
    async def open(self, deadline: float | None = None) -> None:
        """Connect, and make what the queue stands on; retried until `deadline` (elapsed seconds)."""

    @abstractmethod
    async def close(self) -> None:
        """Close every connection."""

    @abstractmethod
    async def sever(self) -> None:
        """Break every connection, as a network would: calls under way meet it, the next ones connect anew."""

    @abstractmethod
    async def reach(self) -> None:
        """Be connected, so that what is queued next leaves at once. Tried once; nothing is sent."""

    @abstractmethod
    async def enqueue(self, runs: Sequence[Submission], *, deadline: float) -> Acceptance:
        """Into the queue, all in one move.

        `BrokerUnavailableError` has `sent` false when they did not leave, which is said at once; true when
        they may be in, which is tried to learn until `deadline`.
        """

    @abstractmethod
    async def claim(self, asked: ClaimRequest, *, meanwhile: Work = nothing) -> Claim:
        """Wait at the bell, if that is asked for, then claim."""

    @abstractmethod
    async def set_limits(self, limits: Sequence[Limit]) -> None:
        """From now on these hold for the whole fleet; runs they let go are ready again."""

    @abstractmethod
    async def stop_claiming(self, consumer: str) -> None:
        """From now on this consumer's claims answer nothing, and its wait at the bell ends."""

    @abstractmethod
    async def settle(self, outcomes: Sequence[Settlement], *, meanwhile: Work = nothing) -> Settled:
        """Tell outcomes, all in one move; retried until the broker has answered."""

    @abstractmethod
    def renewer(self) -> Renewer:
        """A renewer for a keeper's thread."""

    @abstractmethod
    async def rescue(
        self, *, nonce: str, interval: float, max_deliveries: int, silence: float = 0.0
    ) -> list[Rescued]:
        """Deliver again what was lost, unless that was done anywhere within `interval` seconds.

        When nobody has passed for more than `silence` seconds (0: never mind), the pass is only noted,
        so that keepers renew first. Tried once. When its answer was lost, the same nonce is told what
        had been done.
        """

    @abstractmethod
    async def tidy(self, *, interval: float, silence: float) -> Tidied:
        """Forget consumers that were silent for `silence` seconds, and other leftovers.

        Held runs whose parameters fit no model of a consumer alive are dead.
        """

    @abstractmethod
    async def sweep(self, *, interval: float, looks: int = 100) -> Swept:
        """Find what half a move left, unless that was done anywhere within `interval` seconds.

        A pass takes so many `looks` at each place where that can be; the next one goes on behind it.
        """

    @abstractmethod
    async def leave(self, consumer: str) -> bool:
        """Forget this consumer; False when something is still pending for it."""

    @abstractmethod
    async def snapshot(self) -> Snapshot:
        """The queue as it is now."""

    @abstractmethod
    async def inspect(self) -> BrokerReport:
        """What the server tells of itself now."""

    @abstractmethod
    async def pause(self, task: str = "") -> None:
        """From now on nothing is claimed from this queue, by anyone; its runs stay ready.

        With a task, its runs are held, each when it would be claimed; those that run go on.
        """

    @abstractmethod
    async def resume(self, task: str = "") -> None:
        """Let the queue be claimed from again; or the runs of this task, in their order."""

    @abstractmethod
    async def consumers(self) -> list[ConsumerInfo]:
        """Who shows signs of life."""

    @abstractmethod
    async def get_run(self, run_id: str) -> RunRecord | None:
        """What is kept of a run."""

    @abstractmethod
    async def list_runs(
        self,
        *states: TaskState,
        task: str = "",
        reason: str = "",
        since: float | None = None,
        until: float | None = None,
        limit: int = 50,
        after: str = "",
    ) -> Page[RunRecord]:
        """Runs in these states, one after the other; of this task, there for this reason, if one is named.
        `after` is what the page before said.

        Failed ones come newest first; others by priority, and then dead ones newest first, held ones by
        task and age, the rest in the order in which their turn comes. Runs that ended otherwise are not
        listed, and those that are queued or run are there for no reason. `since` and `until` bound when a run
        failed or died, when it is due, or else when it became ready.
        """

    @abstractmethod
    async def wait_end(self, run_id: str, deadline: float | None) -> RunRecord | None:
        """Wait, without polling, until a run is final or dead; None when it is not in time, or not known.

        `deadline` is on the monotonic clock.
        """

    @abstractmethod
    def hear_cancellations(self) -> None:
        """Be told at once, through `listeners.cancel`, of runs that shall be cancelled."""

    async def cancel(self, run_id: str, *, only: str = "", reason: str = "cancelled") -> str:
        """`cancel_many` for one."""
        return (await self.cancel_many([run_id], only=only, reason=reason))[0]

    @abstractmethod
    async def cancel_many(
        self, run_ids: Sequence[str], *, only: str = "", reason: str = "cancelled"
    ) -> list[str]:
        """End runs `aborted`; each is `ended`, `asked` (its consumer was told), `over`, `elsewhere` or
        `unknown`.

        Of many who ask, one is told `ended`. `only` is `dead`, or `waiting` (not claimed yet): a run that is
        not so is left alone.
        """

    async def replay(self, run_id: str) -> str | Refusal:
        """`replay_many` for one."""
        return (await self.replay_many([run_id]))[0]

    @abstractmethod
    async def replay_many(self, run_ids: Sequence[str]) -> list[str | Refusal]:
        """Make dead runs ready again; for each `replayed`, `elsewhere`, `unknown`, or why it was refused."""

    @abstractmethod
    async def hasten(self, run_ids: Sequence[str]) -> int:
        """Make scheduled runs due now, whatever they wait for; how many of these were scheduled."""

    @abstractmethod
    async def report_progress(self, run_id: str, report: bytes) -> None:
        """Keep how far a run has come."""

    @abstractmethod
    async def fire(
        self, task: str, fingerprint: str, tick: float, *, nonce: str, run: Submission | None
    ) -> Fired:
        """Fire one tick, once in the fleet; without a run, give up those up to it. Tick 0 only registers.

        A tick whose run's unique key is taken counts, and its run is refused.
        """

    @abstractmethod
    async def schedules(self) -> dict[str, float]:
        """The last tick of every schedule that was ever fired, by task."""
