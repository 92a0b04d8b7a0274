"""Concurrent `queue()` calls become one flush: while one is under way, the next one gathers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from fluid.clock import elapsed
from fluid.errors import BrokerError, BrokerUnavailableError, FluidError, QueueUncertainError
from fluid.scheduler.broker import TaskBroker
from fluid.scheduler.moves import Acceptance, Submission

MAX_RUNS = 500
"""Runs in one flush; a longer script would keep other callers of the broker waiting."""

MAX_BYTES = 4 * 1024 * 1024
"""Message bytes in one flush."""


@dataclass(slots=True, eq=False)
class _Call:
    runs: Sequence[Submission]
    deadline: float
    replayed: bool
    answer: asyncio.Future[Acceptance]

    @property
    def size(self) -> int:
        return sum(len(run.message) for run in self.runs)


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
        `QueueUncertainError` when the runs may be in the queue.
        """
        if self._closed:
            raise FluidError("this manager is closed: nothing can be queued through it any more")
        loop = asyncio.get_running_loop()
        call = _Call(runs, elapsed() + timeout, replayed, loop.create_future())
        self._waiting.append(call)
        if self._flushing is None or self._flushing.done():
            self._flushing = loop.create_task(self._flush(), name="fluid-producer")
        try:
            async with asyncio.timeout(timeout + 0.5):
                return await call.answer
        except TimeoutError:
            raise self._too_late(call) from None

    def _too_late(self, call: _Call) -> BrokerError:
        if call in self._waiting:
            self._waiting.remove(call)
            return BrokerUnavailableError(
                f"the broker at {self._broker.url} did not take the run in time; it was not sent"
            )
        return QueueUncertainError(call.runs[0].id, "the broker has not answered in time")

    async def _flush(self) -> None:
        while self._waiting:
            calls = self._gather()
            try:
                await self._send(calls)
            except asyncio.CancelledError:
                for call in calls:
                    call.answer.cancel()
                raise

    def _gather(self) -> list[_Call]:
        """As many calls as fit into one flush, at least one."""
        count = runs = size = 0
        replayed = self._waiting[0].replayed
        for call in self._waiting:
            runs += len(call.runs)
            size += call.size
            if count and (runs > MAX_RUNS or size > MAX_BYTES or call.replayed is not replayed):
                break
            count += 1
        calls, self._waiting = self._waiting[:count], self._waiting[count:]
        return calls

    async def _send(self, calls: Sequence[_Call]) -> None:
        runs = [run for call in calls for run in call.runs]
        try:
            accepted = await self._broker.enqueue(
                runs, deadline=max(call.deadline for call in calls), replayed=calls[0].replayed
            )
        except Exception as error:  # noqa: BLE001 - every caller is told
            for call in calls:
                if not call.answer.done():
                    call.answer.set_exception(_explain(call, error))
                    call.answer.exception()  # its caller may have gone
            return
        start = 0
        for call in calls:
            end = start + len(call.runs)
            if not call.answer.done():
                answer = Acceptance(accepted.now, accepted.verdicts[start:end], accepted.scheduled[start:end])
                call.answer.set_result(answer)
            start = end

    def open(self) -> None:
        """Take calls again."""
        self._closed = False

    async def close(self) -> None:
        """Send what waits, then take no more."""
        self._closed = True
        if self._flushing is not None:
            await asyncio.gather(self._flushing, return_exceptions=True)


def _explain(call: _Call, error: Exception) -> Exception:
    if getattr(error, "sent", False):
        return QueueUncertainError(call.runs[0].id, str(error))
    if isinstance(error, BrokerUnavailableError):
        return BrokerUnavailableError(f"nothing was queued: {error}")
    return error


_REFUSALS = {QueueUncertainError: "uncertain", BrokerUnavailableError: "unavailable"}


def refusal_of(error: Exception) -> str:
    """The reason of `refused` that stands for this error."""
    return next((reason for kind, reason in _REFUSALS.items() if isinstance(error, kind)), "error")
