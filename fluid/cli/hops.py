"""What `fluid doctor` looks at on the road of a run, and what it makes of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from fluid.cli.showing import span
from fluid.plugins import Finding, Mark
from fluid.scheduler import Snapshot
from fluid.scheduler.broker import ConsumerInfo
from fluid.scheduler.claiming import LONGEST_WAIT
from fluid.scheduler.moves import BrokerReport, Durability
from fluid.scheduler.upkeep.inspector import EXPLAINED, dangers_in

ROAD = ("broker", "consumer", "scrape", "books", "clock", "persistence", "exporter")
"""The hops in the order of the walk; those that we do not know ourselves are looked at by plugins."""

UNCLAIMED_AFTER = 2 * LONGEST_WAIT
"""Seconds after which a ready run, where slots are free, waits in vain."""

MEGABYTE = 1024 * 1024

_HOP_OF = {"clock_offset": "clock", "not_durable": "persistence"}
"""Every other danger is one of the broker as such."""

_KEEPS = {
    Durability.none: "nothing outlives the server",
    Durability.rdb: "a copy is kept now and then",
    Durability.aof_no: "an append-only file, flushed when the system likes",
    Durability.aof_everysec: "an append-only file, flushed every second",
    Durability.aof_always: "an append-only file, flushed before it answers",
}


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue and who consumes it, as the broker tells."""

    snapshot: Snapshot
    consumers: Sequence[ConsumerInfo]
    lease: float
    """Seconds after which a consumer that shows no sign of life is taken for gone."""

    @property
    def alive(self) -> list[ConsumerInfo]:
        """The consumers that show signs of life."""
        return [one for one in self.consumers if one.seen <= self.lease]


def look_at_server(report: BrokerReport, url: str, *, durable: bool) -> Iterator[Finding]:
    """The broker as such, its clock, and what it keeps; `durable` if it is meant to keep runs."""
    limit = f"of {report.memory_limit / MEGABYTE:.0f} MB" if report.memory_limit else "MB, without a limit,"
    fine = {
        "broker": f"{report.server} answers at {url}: {report.memory_used / MEGABYTE:.1f} {limit} are used",
        "clock": f"the server's clock and ours agree within {span(abs(report.clock_offset))}",
        "persistence": _KEEPS[report.durability],
    }
    dangers = dangers_in(report, frozenset()) - (frozenset() if durable else {"not_durable"})
    for danger in sorted(dangers):
        told, _, advice = EXPLAINED[danger].partition(": ")
        hop = _HOP_OF.get(danger, "broker")
        if danger == "clock_offset":
            told = f"{told} ({report.clock_offset:+.1f} s)"
        if danger == "not_durable":
            # It is how `embedded://` is meant to be.
            yield Finding(hop, Mark.warning, f"{_KEEPS[report.durability]}: {told}", _durable(url, advice))
        else:
            yield Finding(hop, Mark.broken, told, advice)
        fine.pop(hop, None)
    for hop, told in fine.items():
        yield Finding(hop, Mark.fine, told)


def _durable(url: str, advice: str) -> str:
    return "name a directory, embedded:///some/dir" if url.startswith("embedded://") else advice


def look_at_consumers(queue: Queue, tasks: Collection[str]) -> Iterator[Finding]:
    """Who consumes, and whether anything is claimed; `tasks` should be known by somebody."""
    faults = list(_faults_of_consumers(queue, tasks))
    yield from faults
    if not any(fault.mark is Mark.broken for fault in faults):
        alive = queue.alive
        slots, busy = sum(one.slots for one in alive), sum(one.busy for one in alive)
        yield Finding("consumer", Mark.fine, f"{len(alive)} alive, {busy} of {slots} slots are busy")


def _faults_of_consumers(queue: Queue, tasks: Collection[str]) -> Iterator[Finding]:
    snapshot, alive = queue.snapshot, queue.alive
    waits = max(snapshot.oldest_ready_age.values(), default=0.0)
    free = sum(max(0, one.slots - one.busy) for one in alive)
    unknown = sorted(set(tasks) - {task for one in alive for task in one.tasks})
    if not alive:
        silent = ", ".join(f"{one.name} since {span(one.seen)}" for one in queue.consumers)
        told = "no consumer shows signs of life" + (f"; silent: {silent}" if silent else "")
        yield Finding("consumer", Mark.broken, told, "start one: fluid run MODULE:CONSUMER")
    elif snapshot.paused:
        yield Finding("consumer", Mark.broken, "the queue is paused, nothing is claimed", "fluid resume")
    elif waits > UNCLAIMED_AFTER and free:
        told = f"nothing is claimed: a run is ready since {span(waits)}, and {free} slots are free"
        advice = "look at /readyz and the logs of the consumers, then start them again"
        yield Finding("consumer", Mark.broken, told, advice)
    elif waits > UNCLAIMED_AFTER:
        told = f"every slot is busy, and a run is ready since {span(waits)}"
        advice = "more consumers or slots (FLUID_MAX_CONCURRENT_TASKS), or look at what fills them"
        yield Finding("consumer", Mark.warning, told, advice)
    if alive and unknown:
        told = f"no consumer knows {', '.join(unknown)}: its runs are held"
        yield Finding("consumer", Mark.broken, told, "start consumers of this release")
    if snapshot.paused_tasks:
        told = f"paused, so that their runs are held: {', '.join(snapshot.paused_tasks)}"
        yield Finding("consumer", Mark.warning, told, "fluid resume TASK")


def look_at_books(snapshot: Snapshot) -> Iterator[Finding]:
    """Whether every run can be accounted for, and what waits for a person."""
    books = snapshot.books
    if books.unaccounted:
        told = f"{books.unaccounted:,} of {books.accepted:,} accepted runs are neither ended nor open"
        advice = "find out who deletes keys of this queue or restored an old copy; else it is a fault of ours"
        yield Finding("books", Mark.broken, told, advice)
    else:
        told = f"all of {books.accepted:,} accepted runs are accounted for, {snapshot.held:,} are held"
        yield Finding("books", Mark.fine, told)
    if snapshot.dead:
        advice = "fluid runs ls --state dead; then fluid runs replay, or discard"
        yield Finding("books", Mark.warning, f"{snapshot.dead:,} dead runs wait for a person", advice)
