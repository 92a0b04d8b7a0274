"""Where a worker is in its life."""

from __future__ import annotations

from enum import StrEnum, auto


class WorkerState(StrEnum):
    """`init` until it runs, `stopping` from the moment it is asked to stop, `stopped` when it has ended."""

    INIT = auto()
    RUNNING = auto()
    STOPPING = auto()
    STOPPED = auto()

    @property
    def is_init(self) -> bool:
        """It has not run yet."""
        return self is WorkerState.INIT

    @property
    def is_running(self) -> bool:
        """It runs, and nobody has asked it to stop."""
        return self is WorkerState.RUNNING

    @property
    def is_stopping(self) -> bool:
        """It has been asked to stop and still runs."""
        return self is WorkerState.STOPPING

    @property
    def is_stopped(self) -> bool:
        """It has ended."""
        return self is WorkerState.STOPPED
