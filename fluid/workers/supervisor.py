"""Watches over one worker of a group, and starts it again, or has the group bail out, when it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from fluid.breaker import Backoff
from fluid.clock import Clock
from fluid.workers.waiting import set_within
from fluid.workers.worker import Worker

logger = logging.getLogger("fluid")

BailOut = Callable[[str, Exception | None], None]


class Supervisor:
    """One worker, life after life, until it is stopped, may end, or was critical.

    `backoff`: the pauses before it is started again; a life of `steady_after` seconds makes them short again.
    `bail_out`: told why, and what it raised, when a critical worker ended.
    """

    def __init__(
        self, worker: Worker, *, backoff: Backoff, steady_after: float, clock: Clock, bail_out: BailOut
    ) -> None:
        self.worker = worker
        self.restarts = 0
        self.started = asyncio.Event()
        """Set once the first start has succeeded or failed."""
        self.start_error: Exception | None = None
        """Why the first start failed."""
        self._backoff = backoff
        self._steady_after = steady_after
        self._clock = clock
        self._bail_out = bail_out
        self._leaving = asyncio.Event()
        self.task = asyncio.create_task(self._watch(), name=worker.worker_name)
        """Ends when the worker has ended for good; cancelling it stops the worker at once."""

    def ask_to_stop(self) -> None:
        """Have the worker stop, and not start again."""
        self._leaving.set()
        self.worker.gracefully_stop()

    async def stop(self, grace: float) -> None:
        """Stop the worker within its own grace period and no more than `grace` seconds; then force it."""
        self._leaving.set()
        await self.worker.shutdown(grace=min(grace, self.worker.stopping_grace_period))
        await asyncio.wait({self.task})

    async def _watch(self) -> None:
        try:
            await self._live_on()
        except asyncio.CancelledError:
            await self.worker.shutdown(grace=0.0)
            if self.worker.critical:
                self._lost("was cancelled")
            raise
        finally:
            self.started.set()

    async def _live_on(self) -> None:
        failures = 0
        while not self._leaving.is_set():
            began = self._clock.elapsed()
            error = await self._one_life()
            if error is None:
                if not self.worker.may_end:
                    self._returned()
                return
            if self.worker.critical or (self.start_error and self.worker.must_start):
                self._lost(f"raised {error!r}", error)
                return
            if self._leaving.is_set():
                return
            steady = self._clock.elapsed() - began >= self._steady_after
            failures = 1 if steady else failures + 1
            pause = self._backoff.seconds(failures)
            self.restarts += 1
            logger.warning(
                "worker %s starts again in %g s (restart %d): %r",
                self.worker.worker_name,
                pause,
                self.restarts,
                error,
            )
            await set_within(self._leaving, pause)

    async def _one_life(self) -> Exception | None:
        """What ended it."""
        try:
            await self.worker.start_running()
        except Exception as error:  # noqa: BLE001 - it is the answer
            if not self.started.is_set():
                self.start_error = error
            return error
        finally:
            self.started.set()
        await self.worker.wait_for_exit()
        return self.worker.error

    def _returned(self) -> None:
        if self.worker.critical:
            self._lost("ended although its group does not stop")
        elif not self._leaving.is_set():
            logger.warning(
                "worker %s ended although its group does not stop: the group goes on without it",
                self.worker.worker_name,
            )

    def _lost(self, how: str, error: Exception | None = None) -> None:
        if not self._leaving.is_set():
            self._bail_out(f"worker {self.worker.worker_name!r} {how}", error)
