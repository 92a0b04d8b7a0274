"""A group of workers that start, run and stop together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TypeVar

from fluid.breaker import Backoff
from fluid.clock import SYSTEM_CLOCK, Clock
from fluid.errors import WorkerError
from fluid.workers.callbacks import Callback, Callbacks, LaterCall
from fluid.workers.supervisor import Supervisor
from fluid.workers.waiting import any_of
from fluid.workers.worker import Worker

T = TypeVar("T")

logger = logging.getLogger("fluid")

RESTART_BACKOFF = Backoff(first=0.1, longest=30.0)

LAST_MOMENT = 1.0
"""Seconds that a stage has at least to stop in, when those above it have used up the grace period."""


class Workers(Worker):
    """Runs workers together: lower stages start before higher ones, and stop after them.

    A critical worker that raises, or returns before it is asked to, stops the group: `exit_reason` says why,
    and `exit_code` is what the process should exit with. Any other worker that raises is started again;
    without one that returns the group goes on, and says so unless it `may_end`.
    """

    abandon_after = 3.0

    def __init__(
        self,
        *workers: Worker,
        name: str = "",
        critical: bool = True,
        stopping_grace_period: float = 10.0,
        stage: int = 0,
        restart_backoff: Backoff = RESTART_BACKOFF,
        steady_after: float = 60.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """
        `stopping_grace_period`: seconds for the whole group to stop in; no worker has more than its own.
        `restart_backoff`: the pauses before a worker is started again.
        `steady_after`: a worker that has run for so many seconds is restarted as quickly as at first.
        """
        self._workers: list[Worker] = []
        self._callbacks = Callbacks()
        self._contexts = AsyncExitStack()
        self._restart_backoff = restart_backoff
        self._steady_after = steady_after
        self._clock = clock
        super().__init__(
            name=name, critical=critical, stopping_grace_period=stopping_grace_period, stage=stage
        )
        self.add_workers(*workers)

    # -- what it says of itself ----------------------------------------------------------------

    @property
    def workers(self) -> tuple[Worker, ...]:
        """The workers of the group, in the order they were added."""
        return tuple(self._workers)

    @property
    def num_workers(self) -> int:
        """How many workers these are, counting those of groups within."""
        return sum(worker.num_workers for worker in self._workers)

    @property
    def restarts(self) -> int:
        """How often workers of the group were started again."""
        return sum(supervisor.restarts for supervisor in self._supervisors.values())

    @property
    def exit_reason(self) -> str:
        """Why the group bailed out; empty when it did not."""
        return self._exit_reason

    @property
    def exit_code(self) -> int:
        """What the process should exit with; 0 unless the group bailed out."""
        return self._exit_code

    async def status(self) -> dict[str, object]:
        """The status of every worker by its name, with how often it was started again."""
        return {
            worker.worker_name: {**await worker.status(), "restarts": self._restarts_of(worker)}
            for worker in self.workers
        }

    # -- who is in it --------------------------------------------------------------------------

    def add_workers(self, *workers: Worker) -> None:
        """Add workers; a running group starts them at once, a stopping one no more.

        Adding one twice does nothing. WorkerError if the group has another worker of that name.
        """
        for worker in workers:
            if worker in self._workers:
                continue
            if any(other.worker_name == worker.worker_name for other in self._workers):
                raise WorkerError(f"{self.worker_name!r} already has a worker named {worker.worker_name!r}")
            if self._started.is_set() and self.is_running():
                self.create_task(worker)
            else:
                self._workers.append(worker)

    def remove_workers(self, *workers: Worker) -> None:
        """Ask these to stop, and return at once; they are forced after their own grace period."""
        for worker in workers:
            if worker in self._workers:
                self._workers.remove(worker)
            if worker in self._supervisors:
                self._let_go(self._supervisors[worker])

    def create_task(self, worker: Worker) -> asyncio.Task[None]:
        """Start a worker and watch over it; the task ends when the worker has ended for good.

        WorkerError if the group already does, or still waits for it to stop.
        """
        if worker in self._supervisors:
            raise WorkerError(f"{self.worker_name!r} already watches over {worker.worker_name!r}")
        if worker not in self._workers:
            self._workers.append(worker)
        supervisor = Supervisor(
            worker,
            backoff=self._restart_backoff,
            steady_after=self._steady_after,
            clock=self._clock,
            bail_out=self._lose,
        )
        self._supervisors[worker] = supervisor
        return supervisor.task

    # -- what lives and happens beside the workers ---------------------------------------------

    def register_callback(
        self, callback: Callback, seconds: float, jitter: float = 0.0, periodic: bool = False
    ) -> None:
        """Call `callback`, sync or async, in `seconds` and up to `jitter` seconds more.

        Before the start it is kept, and the time counts from the start. `periodic` calls it again and again.
        The stop cancels it. One that raises is logged.
        """
        self._callbacks.add(LaterCall(callback, seconds, jitter, periodic))

    async def enter_async_context(self, context: AbstractAsyncContextManager[T]) -> T:
        """Enter a context that is left in `on_shutdown`, the last one first."""
        return await self._contexts.enter_async_context(context)

    async def on_shutdown(self) -> None:
        """Leave the contexts that were entered."""
        await self._contexts.aclose()

    # -- starting, running, stopping -----------------------------------------------------------

    async def start_running(self) -> None:
        """Start the group; returns when its workers run.

        When a critical worker can't start, those that were started are stopped and the reason is raised.
        """
        await super().start_running()
        await self._reach(self._started)

    async def run(self) -> None:
        """Start the workers, wait until asked to stop, and stop them: a whole life, when it has not begun.

        WorkerError if the group bailed out with a code other than 0.
        """
        if asyncio.current_task() is not self._task:
            await self.safe_run()
            if self.error is not None:
                raise self.error
            return
        try:
            await self._start_all()
            self._started.set()
            self._callbacks.start()
            await self.wait_for_stop()
        except asyncio.CancelledError:
            await self._force_all()
            raise
        finally:
            self.gracefully_stop()
            self._callbacks.cancel()
            await self._stop_all()
        if self._exit_code:
            raise WorkerError(self._exit_reason)

    def bail_out(self, reason: str, code: int = 1) -> None:
        """Stop the group because of `reason`; the first reason stands, and a stopping group is let be."""
        if self._stop.is_set():
            logger.warning("%s is stopping already: %s", self.worker_name, reason)
            return
        logger.error("%s bails out with code %d: %s", self.worker_name, code, reason)
        self._leave(reason, code)

    def _lose(self, reason: str, error: Exception | None) -> None:
        """Bail out because of a worker."""
        if self._is_told(error):
            self._leave(reason, 1)
        else:
            self.bail_out(reason)

    def _leave(self, reason: str, code: int) -> None:
        self._exit_reason = reason
        self._exit_code = code
        self.gracefully_stop()

    async def shutdown(self, *, grace: float | None = None) -> None:
        """Ask the group to stop and wait for it; see `Worker.shutdown`."""
        if grace is None:
            # run() itself keeps the grace period; on top comes what it takes to cancel stragglers.
            stages = {worker.stage for worker in self._supervisors}
            grace = self.stopping_grace_period + self.abandon_after * (len(stages) + 1)
        await super().shutdown(grace=grace)

    def _renew(self) -> None:
        super()._renew()
        self._exit_reason = ""
        self._exit_code = 0
        self._started = asyncio.Event()
        self._supervisors: dict[Worker, Supervisor] = {}
        self._departures: set[asyncio.Task[None]] = set()

    async def _open(self) -> None:
        try:
            await super()._open()
        except BaseException:
            await self._contexts.aclose()
            raise

    async def _start_all(self) -> None:
        while not self._stop.is_set():
            # Asked again after each stage: a worker that starts may add others.
            waiting = [worker for worker in self._workers if worker not in self._supervisors]
            if not waiting:
                return
            stage = min(worker.stage for worker in waiting)
            await self._start_each([worker for worker in waiting if worker.stage == stage])

    async def _start_each(self, workers: Iterable[Worker]) -> None:
        for worker in workers:
            self.create_task(worker)
        for supervisor in list(self._supervisors.values()):
            await any_of(supervisor.started, self._stop)
        for supervisor in self._supervisors.values():
            if supervisor.start_error is not None and supervisor.worker.must_start:
                raise supervisor.start_error

    async def _stop_all(self) -> None:
        grace = self.stopping_grace_period
        deadline = self._clock.elapsed() + grace
        try:
            for stage in sorted({worker.stage for worker in self._supervisors}, reverse=True):
                leaving = [one for one in self._supervisors.values() if one.worker.stage == stage]
                await self._stop_each(leaving, grace)
                grace = max(LAST_MOMENT, deadline - self._clock.elapsed())
        except asyncio.CancelledError:
            await self._force_all()
            raise

    async def _force_all(self) -> None:
        await self._stop_each(self._supervisors.values(), 0.0)

    async def _stop_each(self, supervisors: Iterable[Supervisor], grace: float) -> None:
        await asyncio.gather(*(supervisor.stop(grace) for supervisor in supervisors))

    def _let_go(self, supervisor: Supervisor) -> None:
        supervisor.ask_to_stop()
        supervisor.task.add_done_callback(lambda _: self._supervisors.pop(supervisor.worker, None))
        departure = asyncio.create_task(supervisor.stop(supervisor.worker.stopping_grace_period))
        self._departures.add(departure)
        departure.add_done_callback(self._departures.discard)

    def _restarts_of(self, worker: Worker) -> int:
        supervisor = self._supervisors.get(worker)
        return 0 if supervisor is None else supervisor.restarts
