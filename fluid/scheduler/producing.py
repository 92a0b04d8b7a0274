"""Concurrent `queue()` calls become one flush: while one is under way, the next one gathers.

A call waits until there is a connection over which it leaves at once. Whoever gives up before that is told
for certain that nothing was sent, and nothing will be; whoever gives up later, that nobody knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from fluid.clock import elapsed
from fluid.errors import (
    BrokerError,
    BrokerUnavailableError,
    FluidError,
    PartlyQueuedError,
    QueueUncertainError,
)
from fluid.scheduler.broker import TaskBroker
from fluid.scheduler.brokers.link import pause_before
from fluid.scheduler.moves import Acceptance, Submission
from fluid.scheduler.run import TaskRun
from fluid.scheduler.states import TaskState

MAX_RUNS = 500
"""Runs in one flush; a longer script would keep other callers of the broker waiting."""

MAX_BYTES = 4 * 1024 * 1024
"""Message bytes in one flush."""

GRACE_SECONDS = 0.5
"""What a caller waits past its deadline for the reason why, which a flush knows better."""


@dataclass(slots=True, eq=False)
class _Call:
    runs: Sequence[Submission]
    deadline: float
    replayed: bool
    answer: asyncio.Future[Acceptance]
    """Done also when its caller has gone."""
    leaving: bool = False
    """In a flush that has a connection to leave over."""

    @property
    def size(self) -> int:
        return sum(len(run.message) for run in self.runs)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()  # its caller may have gone

    def uncertain(self, why: str) -> QueueUncertainError:
        return QueueUncertainError([run.id for run in self.runs], why)


class Producer:
    """Merges submissions. Every caller gets an answer, or a clear error, by its own deadline."""

    def __init__(self, broker: TaskBroker) -> None:
        self._broker = broker
        self._waiting: list[_Call] = []
        self._flushing: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def waiting(self) -> int:
        """Calls that no flush has taken up yet."""
        return len(self._waiting)

    async def submit(
        self, runs: Sequence[Submission], *, timeout: float, replayed: bool = False
    ) -> Acceptance:
        """Queue these together; the answer tells of each, in order.

        Raises `BrokerUnavailableError` when nothing was sent within `timeout` seconds, and
        `QueueUncertainError` when the runs may be in the queue. Cancelled before they are sent,
        they never are.
        """
        if self._closed:
            raise FluidError("this manager is closed: nothing can be queued through it any more")
        loop = asyncio.get_running_loop()
        call = _Call(runs, elapsed() + timeout, replayed, loop.create_future())
        self._waiting.append(call)
        if self._flushing is None or self._flushing.done() or self._flushing.get_loop() is not loop:
            # a context of its own, for it also works for others than the run that happens to start it
            self._flushing = loop.create_task(self._flush(), name="fluid-producer", context=Context())
        try:
            async with asyncio.timeout(timeout + GRACE_SECONDS):
                return await call.answer
        except TimeoutError:
            if call.leaving:
                raise call.uncertain("the broker has not answered in time") from None
            raise BrokerUnavailableError(
                f"the broker at {self._broker.url} did not take the run in time; it was not sent"
            ) from None

    async def _flush(self) -> None:
        tries = 0
        while self._waiting:
            calls: list[_Call] = []
            try:
                await self._broker.reach()
                calls = self._gather()
                await self._send(calls)
                tries = 0
            except BrokerUnavailableError as error:
                if getattr(error, "sent", False):
                    for call in calls:
                        call.fail(call.uncertain(str(error)))
                else:
                    tries += 1
                    for call in calls:
                        call.leaving = False
                    self._waiting[:0] = calls
                    await self._pause(pause_before(tries), error)
            except Exception as error:  # noqa: BLE001 - every caller is told
                for call in calls or self._gather():
                    call.fail(error)
            except asyncio.CancelledError:
                for call in (*calls, *self._waiting):
                    call.answer.cancel()
                raise

    def _gather(self) -> list[_Call]:
        """As many calls as fit into one flush, at least one of those whose callers still wait."""
        calls: list[_Call] = []
        seen = runs = size = 0
        for call in self._waiting:
            if not call.answer.done():
                runs += len(call.runs)
                size += call.size
                if calls and (runs > MAX_RUNS or size > MAX_BYTES or call.replayed is not calls[0].replayed):
                    break
                call.leaving = True
                calls.append(call)
            seen += 1
        del self._waiting[:seen]
        return calls

    async def _send(self, calls: Sequence[_Call]) -> None:
        if not calls:
            return
        accepted = await self._broker.enqueue(
            [run for call in calls for run in call.runs],
            deadline=max(call.deadline for call in calls),
            replayed=calls[0].replayed,
        )
        start = 0
        for call in calls:
            end = start + len(call.runs)
            if not call.answer.done():
                answer = Acceptance(accepted.now, accepted.verdicts[start:end], accepted.scheduled[start:end])
                call.answer.set_result(answer)
            start = end

    async def _pause(self, seconds: float, error: Exception) -> None:
        """Nothing was sent: those whose deadline comes first are told so, the others wait on."""
        until = elapsed() + seconds
        for call in self._waiting:
            if call.deadline <= until:
                call.fail(BrokerUnavailableError(f"nothing was queued: {error}"))
        self._waiting = [call for call in self._waiting if not call.answer.done()]
        if self._waiting:
            await asyncio.sleep(seconds)

    def open(self) -> None:
        """Take calls again."""
        self._closed = False

    async def close(self) -> None:
        """Send what waits, then take no more."""
        self._closed = True
        flushing, self._flushing = self._flushing, None
        if flushing is not None and flushing.get_loop() is asyncio.get_running_loop():
            await asyncio.wait({flushing})


_REFUSALS = {QueueUncertainError: "uncertain", BrokerUnavailableError: "unavailable"}


def refusal_of(error: Exception) -> str:
    """The reason of `refused` that stands for this error."""
    return next((reason for kind, reason in _REFUSALS.items() if isinstance(error, kind)), "error")


def stopped_at(error: Exception, runs: Sequence[TaskRun[Any]], start: int, end: int) -> BrokerError | None:
    """What to raise for a batch of which the runs from `start` to `end` met this error.

    None when no run is in and none may be: the error says it all.
    """
    # one whose unique key was taken is not in
    queued = [run.id for run in runs[:start] if run.state is not TaskState.init]
    if isinstance(error, QueueUncertainError):
        unsent = [run.id for run in runs[end:]]
        return QueueUncertainError(error.run_ids, error.why, queued=queued, unsent=unsent)
    unsent = [run.id for run in runs[start:]]
    return PartlyQueuedError(str(error), queued=queued, unsent=unsent) if queued else None
