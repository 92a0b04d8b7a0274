"""The thread that renews leases and says that this consumer is alive.

A thread, because a body that blocks the event loop must not lose its run, nor its neighbours'. What
holds the interpreter lock for longer than a lease still does: that belongs in a CPU-bound task.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any

from fluid.clock import elapsed
from fluid.errors import BrokerUnavailableError, WorkerError
from fluid.scheduler.broker import ConsumerInfo, TaskBroker
from fluid.scheduler.moves import Renewal
from fluid.scheduler.slots import Attempt
from fluid.workers import Worker

logger = logging.getLogger("fluid")

MAX_RETRY_PAUSE = 1.0

LAST_SECONDS = 1.0
"""How long a stop waits for the thread; what that does after its last renewal matters to nobody."""


class Keeper(Worker):
    """Keeps the leases of this consumer's attempts until their outcomes are settled."""

    def __init__(
        self,
        *,
        broker: TaskBroker,
        lease: float,
        consumer: Callable[[], str],
        about: Callable[[], ConsumerInfo],
        limit_of: Callable[[Attempt], float | None],
        on_recovered: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(name="keeper", stage=-5)
        self._broker = broker
        self._lease = lease
        self._consumer = consumer
        self._about = about
        self._limit_of = limit_of
        self._on_recovered = on_recovered
        self._kept: set[Attempt] = set()
        self._wake = threading.Event()
        self._over = False

    @property
    def kept(self) -> int:
        """Attempts whose leases are renewed."""
        return len(self._kept)

    def keep(self, attempt: Attempt) -> None:
        """Renew its lease from now on, for as long as its task may take and a grace period on top."""
        self._kept.add(attempt)

    def let_go(self, attempt: Attempt) -> None:
        """Its outcome is settled."""
        self._kept.discard(attempt)

    def cancel(self, run_id: str) -> None:
        """Cancel the body of this run, if it is here."""
        for attempt in list(self._kept):
            if attempt.run.id == run_id:
                attempt.cancel("cancelled")

    async def run(self) -> None:
        self._over = False
        self._wake.clear()
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        stop: asyncio.Future[bool] = loop.create_task(self.wait_for_stop(), name="keeper-stop")
        either: set[asyncio.Future[Any]] = {ended, stop}
        threading.Thread(target=self._in_thread, args=(loop, ended), name="fluid-keeper", daemon=True).start()
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._over = True
            self._wake.set()
            stop.cancel()
            # it ends by itself when the call that is under way has been answered or given up
            await asyncio.wait({ended}, timeout=LAST_SECONDS)
        if ended.done() and (error := ended.exception()):
            raise WorkerError(f"the thread that renews leases has ended: {error!r}") from error

    # -- in the thread ---------------------------------------------------------------------

    def _in_thread(self, loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None]) -> None:
        failure: Exception | None = None
        try:
            self._renew_on(loop)
        except Exception as error:  # noqa: BLE001 - the worker raises it
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody is left to be told
            loop.call_soon_threadsafe(_end, ended, failure)

    def _renew_on(self, loop: asyncio.AbstractEventLoop) -> None:
        renewer = self._broker.renewer()
        failing = False
        try:
            while not self._over:
                try:
                    self._renew_leases(renewer.renew, loop)
                    failing = False
                except BrokerUnavailableError as error:
                    if not failing:
                        logger.warning("%s", error)
                    failing = True
                self._wake.wait(min(MAX_RETRY_PAUSE, self._lease / 10) if failing else self._lease / 3)
        finally:
            renewer.close()

    def _renew_leases(self, renew: Callable[..., list[Renewal]], loop: asyncio.AbstractEventLoop) -> None:
        # one call that the interpreter does not interrupt: the loop's thread changes the set meanwhile
        attempts = [one for one in list(self._kept) if one.ended or not self._is_overdue(one)]
        runs = [(one.claimed.token, one.run.id) for one in attempts]
        renewals = renew(self._consumer(), self._lease, self._about(), runs)
        for attempt, renewal in zip(attempts, renewals, strict=True):
            if renewal is Renewal.gone:
                loop.call_soon_threadsafe(self._gone, attempt)
            elif renewal is Renewal.cancelled:
                loop.call_soon_threadsafe(attempt.cancel, "cancelled")

    def _is_overdue(self, attempt: Attempt) -> bool:
        seconds = self._limit_of(attempt)
        return seconds is not None and elapsed() >= attempt.claimed_at + seconds

    # -- in the loop -----------------------------------------------------------------------

    def _gone(self, attempt: Attempt) -> None:
        """The lease has gone. If the body still runs, its outcome can only be refused: stop it."""
        if attempt in self._kept:
            attempt.cancel("stale")


def _end(ended: asyncio.Future[None], failure: Exception | None) -> None:
    if ended.done():
        return
    if failure is None:
        ended.set_result(None)
    else:
        ended.set_exception(failure)
        ended.exception()  # when the worker has gone meanwhile, nobody asks
