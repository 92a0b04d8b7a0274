"""The queue at one instant: how many runs are where, and whether the books balance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fluid.scheduler.states import TaskPriority


@dataclass(frozen=True, slots=True)
class Depths:
    """How many runs are where."""

    ready: int = 0
    running: int = 0
    scheduled: int = 0
    held: int = 0
    dead: int = 0


@dataclass(frozen=True, slots=True)
class Books:
    """Totals since the queue was made, and what they do not explain.

    accepted = success + failure + aborted + dead + scheduled + held + ready + running, at every
    instant; the difference is `unaccounted`.
    """

    accepted: int
    success: int
    failure: int
    aborted: int
    replayed: int
    unaccounted: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The queue at one instant."""

    now: float
    ready: int
    running: int
    scheduled: int
    held: int
    dead: int
    by_priority: Mapping[TaskPriority, Depths]
    oldest_ready_age: Mapping[TaskPriority, float]
    """Seconds the oldest ready run has been ready, overdue scheduled ones included; 0 when none."""
    paused: bool
    books: Books
    paused_tasks: tuple[str, ...] = ()
    """Tasks whose runs are held, by name."""
