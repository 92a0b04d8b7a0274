"""States and priorities of a run, and the legal moves between states."""

from __future__ import annotations

import enum

from fluid.errors import IllegalMoveError


class TaskPriority(enum.StrEnum):
    """How urgent a run is: a run of a lower priority is claimed only when none of a higher one is ready."""

    __hash__ = str.__hash__  # an enum's own is written in Python, and each run is looked up by it many times

    high = "high"
    medium = "medium"
    low = "low"


class TaskState(enum.StrEnum):
    """Where a run stands."""

    __hash__ = str.__hash__

    init = "init"
    """Made here, not yet known to the broker."""
    scheduled = "scheduled"
    """Not due yet: a delay was asked for, or the next attempt waits."""
    held = "held"
    """Ready but not claimable."""
    queued = "queued"
    """Ready to be claimed."""
    running = "running"
    """Claimed by a consumer, under a lease."""
    dead = "dead"
    """No verdict was possible; waits for a person."""
    success = "success"
    """The body returned."""
    failure = "failure"
    """The last allowed attempt failed."""
    aborted = "aborted"
    """Ended on purpose, by a body, a person or an expiry."""

    @property
    def is_done(self) -> bool:
        """A final state: the run will not move again."""
        return self in _FINAL

    @property
    def is_failure(self) -> bool:
        """Not what the caller hoped for: `failure`, `aborted` or `dead`."""
        return self in _UNHAPPY


_S = TaskState
_FINAL = frozenset({_S.success, _S.failure, _S.aborted})
_UNHAPPY = frozenset({_S.failure, _S.aborted, _S.dead})

MOVES: dict[TaskState, frozenset[TaskState]] = {
    _S.init: frozenset({_S.scheduled, _S.queued, _S.running}),
    _S.scheduled: frozenset({_S.queued, _S.running, _S.held, _S.dead, _S.aborted}),
    _S.held: frozenset({_S.queued, _S.running, _S.dead, _S.aborted}),
    _S.queued: frozenset({_S.running, _S.held, _S.dead, _S.aborted}),
    _S.running: frozenset({_S.scheduled, _S.held, _S.queued, _S.dead, _S.success, _S.failure, _S.aborted}),
    _S.dead: frozenset({_S.queued, _S.aborted}),
    _S.success: frozenset(),
    _S.failure: frozenset(),
    _S.aborted: frozenset(),
}


def illegal_move(run_id: str, old: TaskState, new: TaskState) -> IllegalMoveError:
    """The error of a run that was to go from `old` to `new`, which is not among `MOVES`."""
    allowed = ", ".join(sorted(MOVES[old])) or "none: it is final"
    return IllegalMoveError(f"run {run_id} cannot go from {old} to {new} (legal: {allowed})")
