"""Outcomes, told to the broker in batches, and announced when it has agreed.

A flush starts as soon as there is an outcome and no other flush is under way, never by a timer:
alone, an outcome goes at once; under load, what came meanwhile goes together.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from fluid.scheduler.announcing import Announcer
from fluid.scheduler.broker import TaskBroker
from fluid.scheduler.codec import Outcome, encode_outcome
from fluid.scheduler.execution import Finished
from fluid.scheduler.moves import Kind, Settlement
from fluid.scheduler.slots import Attempt
from fluid.scheduler.states import TaskState
from fluid.workers import Worker

logger = logging.getLogger("fluid")

NOTHING_KEPT_SECONDS = 60.0
"""How long the record of a success without a result is kept."""

NO_RESULT = b"null"

_MOVES = {
    Kind.success: TaskState.success,
    Kind.failure: TaskState.failure,
    Kind.aborted: TaskState.aborted,
    Kind.retry: TaskState.scheduled,
    Kind.interrupted: TaskState.queued,
    Kind.held: TaskState.held,
    Kind.dead: TaskState.dead,
}
_FINAL = (Kind.success, Kind.failure, Kind.aborted)


class Settling(Worker):
    """Flushes outcomes; on stop, all of them."""

    def __init__(
        self,
        *,
        broker: TaskBroker,
        announcer: Announcer,
        consumer: Callable[[], str],
        result_ttl: float,
        failure_ttl: float,
        on_settled: Callable[[Attempt], None],
    ) -> None:
        super().__init__(name="settling", stage=0)
        self._broker = broker
        self._announcer = announcer
        self._consumer = consumer
        self._result_ttl = result_ttl
        self._failure_ttl = failure_ttl
        self._on_settled = on_settled
        self._waiting: list[tuple[Finished, Settlement]] = []
        self._untold: list[tuple[Finished, bool, float]] = []
        self._in_flight = 0
        # made anew by who waits, for one belongs to the event loop in which it is waited for
        self._came = asyncio.Event()
        self._went = asyncio.Event()

    @property
    def backlog(self) -> int:
        """Outcomes that the broker has not agreed to yet."""
        return len(self._waiting) + self._in_flight

    def offer(self, finished: Finished) -> None:
        """Take an outcome; it is told with the next flush."""
        # written down at once: most come while the broker answers, and nobody waits then
        self._waiting.append((finished, self._settlement(finished)))
        if len(self._waiting) == 1:
            self._came.set()

    def gracefully_stop(self) -> None:
        """Flush what there is, then end."""
        super().gracefully_stop()
        self._came.set()

    async def wait_for_room(self) -> None:
        """Until a flush has ended, or `wake` is called."""
        self._went = asyncio.Event()
        await self._went.wait()

    def wake(self) -> None:
        """Let whoever waits for room look again."""
        self._went.set()

    async def run(self) -> None:
        while self._waiting or not self.is_stopping():
            if not self._waiting:
                self._came = asyncio.Event()
                await self._came.wait()
                continue
            batch, self._waiting = self._waiting, []
            self._in_flight = len(batch)
            try:
                settled = await self._broker.settle([told for _, told in batch], meanwhile=self._tell)
            except BaseException:
                # forced to stop: they are told when this is started again
                self._waiting[:0] = batch
                self._tell()
                raise
            finally:
                self._in_flight = 0
            for (finished, _), accepted, dead in zip(batch, settled.accepted, settled.dead, strict=True):
                self._on_settled(finished.attempt)
                if dead:
                    finished.kind = Kind.dead
                self._untold.append((finished, accepted, settled.now))
            self._went.set()
            if not self._waiting:
                self._tell()

    def _tell(self) -> None:
        """Announce what was settled."""
        untold, self._untold = self._untold, []
        for finished, accepted, now in untold:
            try:
                self._announce(finished, accepted, now)
            except Exception:
                # one run that cannot be told must not keep the others from being settled
                logger.exception("run %s was settled, but could not be told", finished.attempt.run.id)

    def _settlement(self, finished: Finished) -> Settlement:
        claimed, run = finished.attempt.claimed, finished.attempt.run
        outcome = Outcome(
            started=finished.started,
            ended=finished.ended or finished.attempt.broker_now,
            error=finished.error,
            error_type=finished.error_type,
            traceback=finished.traceback,
            consumer=self._consumer(),
            task=run.name,
            priority=run.priority,
            queued=claimed.queued,
            failures=run.failures,
            losses=run.losses,
            from_run_id=run.from_run_id,
            root_run_id=run.root_run_id,
        )
        if finished.kind is not Kind.success:
            outcome.traceparent = run.headers.get("traceparent", "")
        if finished.result != NO_RESULT:
            outcome.result = msgspec.Raw(finished.result)
        return Settlement(
            code=claimed.code,
            entry=claimed.entry,
            id=run.id,
            kind=finished.kind,
            reason=finished.reason,
            model=finished.model,
            delay=finished.delay,
            ttl=self._ttl(finished),
            unique=claimed.unique,
            outcome=encode_outcome(outcome),
        )

    def _ttl(self, finished: Finished) -> float:
        if finished.kind is Kind.failure:
            return self._failure_ttl
        task = finished.attempt.task
        ttl = self._result_ttl if task is None or task.result_ttl is None else task.result_ttl
        nothing_kept = finished.kind is Kind.success and finished.result == NO_RESULT
        return min(ttl, NOTHING_KEPT_SECONDS) if nothing_kept else ttl

    def _announce(self, finished: Finished, accepted: bool, now: float) -> None:
        run, kind, announce = finished.attempt.run, finished.kind, self._announcer.announce
        if not accepted:
            announce("stale", run, reason=str(kind), ran=finished.ran)
            return
        if run.state is not _MOVES[kind]:  # one that is handed back before its start is queued still
            run.move(_MOVES[kind])
        run.reason, run.error = finished.reason, finished.error
        if kind in _FINAL:
            latency = max(0.0, (now - finished.attempt.claimed.queued) / 1000)
            self._announcer.ended(run, finished.ran, latency)
        elif kind is Kind.retry:
            announce("retry", run, reason=finished.reason, delay=finished.delay, ran=finished.ran)
        elif kind is Kind.interrupted:
            announce("interrupted", run, ran=finished.ran)
        else:
            announce(str(kind), run, reason=finished.reason)
