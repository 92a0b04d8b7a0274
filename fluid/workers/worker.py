"""A worker: something that runs on the event loop from start to stop."""

from __future__ import annotations

import asyncio
import logging
import re
from abc import ABC, abstractmethod
from typing import Self

from fluid.errors import ConfigurationError, FluidError, WorkerError, WorkerStartError
from fluid.workers.states import WorkerState
from fluid.workers.waiting import any_of, being_cancelled, ended_within, set_within

logger = logging.getLogger("fluid")


class Worker(ABC):
    """Runs from start to stop: `on_startup`, `run`, `on_shutdown`.

    A subclass writes `run`, which pauses with `wait_for_stop` and returns soon after `is_stopping()`.
    A worker has one life at a time; one that has stopped can be started again.
    """

    may_end: bool = False
    """Whether it may return before it is asked to stop; without that, its group takes it for a failure."""

    abandon_after: float = 1.0
    """Seconds that a cancelled worker has to end; after that it is left behind."""

    _state: WorkerState
    _stop: asyncio.Event

    def __init__(
        self,
        *,
        name: str = "",
        critical: bool = True,
        stopping_grace_period: float = 10.0,
        stage: int = 0,
    ) -> None:
        """
        `name`: the class's name in snake case when empty.
        `critical`: when it fails, or returns before it is asked to, its group stops. One that is not
        critical is started again when it fails; when it returns it has ended for good, which is logged.
        `stopping_grace_period`: seconds that it has to stop in before it is cancelled.
        `stage`: in a group, lower stages start before and stop after higher ones.
        """
        self.critical = critical
        self.must_start = critical
        """Whether a group that cannot start it does not start; after that, `critical` decides."""
        self.stage = stage
        self.stopping_grace_period = stopping_grace_period
        self._worker_name = name or _snake_case(type(self).__name__)
        self._task: asyncio.Task[None] | None = None
        self._opened = False
        self._renew()

    # -- what it says of itself ----------------------------------------------------------------

    @property
    def worker_name(self) -> str:
        """The name in logs and in `status()`."""
        return self._worker_name

    @property
    def num_workers(self) -> int:
        """How many workers this one stands for."""
        return 1

    @property
    def state(self) -> WorkerState:
        """Where it is in its life."""
        return self._state

    @property
    def running(self) -> bool:
        """The same as `is_running()`."""
        return self.is_running()

    @property
    def error(self) -> Exception | None:
        """What ended its life, unless that was a return or a cancellation."""
        return self._error

    def is_running(self) -> bool:
        """Whether it runs, and nobody has asked it to stop."""
        return self._state.is_running

    def is_stopping(self) -> bool:
        """Whether it has been asked to stop and has not ended."""
        return self._stop.is_set() and not self._state.is_stopped

    async def status(self) -> dict[str, object]:
        """Its state in plain words and numbers."""
        return {
            "state": str(self._state),
            "critical": self.critical,
            "stage": self.stage,
            "error": None if self._error is None else repr(self._error),
        }

    # -- what a subclass writes ----------------------------------------------------------------

    async def on_startup(self) -> None:  # noqa: B027 - a hook, empty by intent
        """Called before `run`. When it raises, the start fails and `on_shutdown` is not called."""

    @abstractmethod
    async def run(self) -> None:
        """The work itself: return soon after `is_stopping()`."""

    async def on_shutdown(self) -> None:  # noqa: B027 - a hook, empty by intent
        """Called after `run`, however that ended."""

    async def wait_for_stop(self, timeout: float | None = None) -> bool:
        """Pause for up to `timeout` seconds (None: until the stop), and wake at once when asked to stop.

        Answers whether it has been asked to. Always lets the loop turn at least once.
        """
        return await set_within(self._stop, timeout)

    # -- starting ------------------------------------------------------------------------------

    async def startup(self) -> None:
        """Make ready to run. `start_running` and `safe_run` do it when it has not been done.

        WorkerStartError if it has already been started.
        """
        self._begin()
        if self._opened:
            raise WorkerStartError(f"worker {self._worker_name!r} has already been started")
        await self._open()

    async def start_running(self) -> None:
        """Start up and run in a task of its own; returns when it runs.

        What stops it from starting is raised: a FluidError as it is, all else within a WorkerStartError.
        """
        self._spawn()
        await self._reach(self._ready)

    async def safe_run(self) -> None:
        """Start up, run and shut down; returns when it has ended.

        What it raises on the way is logged and kept in `error`; only a cancellation of the caller gets out.
        """
        task = self._spawn()
        try:
            await task
        except asyncio.CancelledError:
            if being_cancelled():
                raise

    # -- stopping ------------------------------------------------------------------------------

    def gracefully_stop(self) -> None:
        """Ask it to stop, and return at once. Asked before the start, it stops as soon as it runs."""
        if self._state.is_running:
            self._state = WorkerState.STOPPING
        self._stop.set()

    async def wait_for_exit(self) -> None:
        """Wait until it has ended, `on_shutdown` included; `error` tells how.

        WorkerError if it has never been started.
        """
        if self._task is None:
            raise WorkerError(f"worker {self._worker_name!r} has not been started, so it will not end")
        await self._exited.wait()

    async def shutdown(self, *, grace: float | None = None) -> None:
        """Ask it to stop and wait for it.

        After `grace` seconds (its `stopping_grace_period` when None) it is cancelled, and left behind if it
        ignores that for `abandon_after` seconds. If it does not run there is nothing to do.
        """
        task = self._task
        if task is None or self._exited.is_set():
            await self._close()
            return
        self.gracefully_stop()
        seconds = self.stopping_grace_period if grace is None else grace
        if not await ended_within(task, seconds):
            logger.warning("worker %s did not stop within %g s: it is cancelled", self._worker_name, seconds)
            await self._force(task)

    async def __aenter__(self) -> Self:
        await self.start_running()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.shutdown()

    # -- one life ------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._task is not None and not self._task.done():
            raise WorkerStartError(f"worker {self._worker_name!r} has already been started")
        if self._state.is_stopped:
            self._renew()

    def _renew(self) -> None:
        self._state = WorkerState.INIT
        self._error: Exception | None = None
        self._ready = asyncio.Event()
        self._stop = asyncio.Event()
        self._exited = asyncio.Event()
        self._start_awaited = False

    def _spawn(self) -> asyncio.Task[None]:
        self._begin()
        self._task = asyncio.create_task(self._live(), name=self._worker_name)
        return self._task

    async def _live(self) -> None:
        try:
            await self._open_and_run()
        except asyncio.CancelledError as cancelled:
            if being_cancelled():
                raise
            error = WorkerError(f"what worker {self._worker_name!r} waited for was cancelled")
            error.__cause__ = cancelled
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - it is logged and kept
            self._fail(error)
        finally:
            try:
                await self._close()
            finally:
                self._end()

    async def _open_and_run(self) -> None:
        if not self._opened:
            await self._open()
        self._state = WorkerState.STOPPING if self._stop.is_set() else WorkerState.RUNNING
        self._ready.set()
        await self.run()

    async def _open(self) -> None:
        self._opened = True
        try:
            await self.on_startup()
        except BaseException:
            self._opened = False
            raise

    async def _close(self) -> None:
        if not self._opened:
            return
        self._opened = False
        try:
            await self.on_shutdown()
        except Exception as error:  # noqa: BLE001 - it is logged and kept
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if not self._is_told(error):
            # These say all there is to say, and what caused a WorkerError was logged where it arose.
            traceback = None if isinstance(error, (WorkerError, ConfigurationError)) else error
            logger.error("worker %s raised %r", self._worker_name, error, exc_info=traceback)
        if self._error is None:
            self._error = error

    def _is_told(self, error: Exception | None) -> bool:
        """Whether this is raised where the start is waited for, and says all there is to say."""
        return self._start_awaited and isinstance(error, ConfigurationError)

    def _end(self) -> None:
        self._state = WorkerState.STOPPED
        self._stop.set()
        self._exited.set()

    async def _reach(self, milestone: asyncio.Event) -> None:
        """Wait for a milestone of the start, or raise why there will be none."""
        self._start_awaited = True
        try:
            await any_of(milestone, self._exited)
        except asyncio.CancelledError:
            # Nobody waits for this start any more, so nobody would stop what it leaves running.
            if self._task is not None:
                await self._force(self._task)
            raise
        finally:
            self._start_awaited = False
        if milestone.is_set():
            return
        if isinstance(self._error, FluidError):
            raise self._error
        why = "it was cancelled" if self._error is None else repr(self._error)
        raise WorkerStartError(f"worker {self._worker_name!r} could not start: {why}") from self._error

    async def _force(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        if not await ended_within(task, self.abandon_after):
            logger.error("worker %s ignores that it was cancelled: it is left behind", self._worker_name)
            self._end()


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
