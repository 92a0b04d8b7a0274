"""Concurrent `queue()` calls become one flush: while one is under way, the next one gathers.

A call waits until there is a connection over which it leaves at once. Whoever gives up before that is told
for certain that nothing was sent, and nothing will be; whoever gives up later, that nobody knows.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
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
from fluid.scheduler.batches import MAX_BYTES, MAX_RUNS, parts_of
from fluid.scheduler.broker import TaskBroker
from fluid.scheduler.brokers.link import pause_before
from fluid.scheduler.moves import Acceptance, Submission
from fluid.scheduler.run import TaskRun
from fluid.scheduler.states import TaskState

GRACE_SECONDS = 0.5
"""What a caller waits past its deadline for the reason why, which a flush knows better."""


class ForsakenError(BrokerUnavailableError):
    """Nothing was sent, and nobody waits for it any more. Never raised, only told."""


@dataclass(slots=True, eq=False)
class Call:
    """Runs that are queued together, and what became of them."""

    runs: Sequence[Submission]
    deadline: float
    answer: asyncio.Future[Acceptance]
    """Done also when its caller has gone."""
    leaving: bool = False
    """In a flush that has a connection to leave over."""
    forsaken: bool = False
    """Nobody waits for its answer any more, but it is told."""

    @property
    def size(self) -> int:
        """Message bytes."""
        return sum(len(run.message) for run in self.runs)

    def forsake(self, told: Callable[[Acceptance | BaseException], None]) -> None:
        """Its caller was cancelled: have `told` called, in this context, with the answer once it is known.

        One that has not left by now never will.
        """
        if self.answer.cancelled():
            self.answer = self.answer.get_loop().create_future()
            self.forsaken = True
            if not self.leaving:
                self.fail(ForsakenError("its caller was cancelled before it was sent"))
        self.answer.add_done_callback(lambda known: told(self._read(known)))

    def _read(self, known: asyncio.Future[Acceptance]) -> Acceptance | BaseException:
        if known.cancelled():
            return self.uncertain("its flush was cancelled")
        return known.exception() or known.result()

    def fail(self, error: Exception) -> None:
        """Answer with an error, if it has no answer yet."""
        if not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()  # its caller may have gone

    def uncertain(self, why: str) -> QueueUncertainError:
        """The answer that nobody knows."""
        return QueueUncertainError([run.id for run in self.runs], why)


class Producer:
    """Merges submissions. Every caller gets an answer, or a clear error, by its own deadline."""

    def __init__(self, broker: TaskBroker) -> None:
        self._broker = broker
        self._waiting: list[Call] = []
        self._sent: list[Call] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._next = math.inf
        self._closed = False

    @property
    def waiting(self) -> int:
        """Calls that no flush has taken up yet."""
        return len(self._waiting)

    def send(self, runs: Sequence[Submission], *, timeout: float) -> Call:
        """Queue these together, with the next flush that has room, within `timeout` seconds.

        The call's answer tells of each run, in order. It raises `BrokerUnavailableError` when nothing was
        sent in time, and `QueueUncertainError` when the runs may be in the queue. When who waits for it is
        cancelled before they are sent, they never are.
        """
        if self._closed:
            raise FluidError("this manager is closed: nothing can be queued through it any more")
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._flushing, self._timer, self._next = loop, None, None, math.inf
        call = Call(runs, elapsed() + timeout, loop.create_future())
        self._waiting.append(call)
        self._limit(call, loop)
        if self._flushing is None or self._flushing.done():
            # a context of its own, for it also works for others than the run that happens to start it
            self._flushing = loop.create_task(self._flush(), name="fluid-producer", context=Context())
        return call

    def _limit(self, call: Call, loop: asyncio.AbstractEventLoop) -> None:
        """One timer stands for all calls, since nearly every one is answered long before its deadline."""
        if call.deadline < self._next:
            if self._timer is not None:
                self._timer.cancel()
            self._next = call.deadline
            seconds = max(0.0, call.deadline + GRACE_SECONDS - elapsed())
            self._timer = loop.call_later(seconds, self._give_up, loop)

    def _give_up(self, loop: asyncio.AbstractEventLoop) -> None:
        """Answer those whose time is over, by what can be known of them."""
        self._timer, self._next = None, math.inf
        over = elapsed() - GRACE_SECONDS
        for call in [*self._sent, *self._waiting]:
            if call.answer.done() or call.forsaken:
                continue
            if call.deadline > over:
                self._limit(call, loop)
            elif call.leaving:
                call.fail(call.uncertain("the broker has not answered in time"))
            else:
                call.fail(
                    BrokerUnavailableError(
                        f"the broker at {self._broker.url} did not take the run in time; it was not sent"
                    )
                )

    async def _flush(self) -> None:
        tries = 0
        while self._waiting:
            calls: list[Call] = []
            self._sent = []
            try:
                await self._broker.reach()
                calls = self._sent = self._gather()
                await self._send(calls)
                tries = 0
            except BrokerUnavailableError as error:
                if getattr(error, "sent", False):
                    for call in calls:
                        call.fail(call.uncertain(str(error)))
                else:
                    tries += 1
                    self._take_back(calls, error)
                    await self._pause(pause_before(tries), error)
            except Exception as error:  # noqa: BLE001 - every caller is told
                for call in calls or self._gather():
                    call.fail(error)
            except asyncio.CancelledError:
                for call in (*calls, *self._waiting):
                    call.answer.cancel()
                raise

    def _take_back(self, calls: Sequence[Call], error: Exception) -> None:
        """These were not sent: they wait again, those excepted whose callers have gone."""
        for call in calls:
            call.leaving = False
            if call.forsaken:
                call.fail(ForsakenError(f"nothing was queued: {error}"))
        self._waiting[:0] = calls

    def _gather(self) -> list[Call]:
        """As many calls as fit into one flush, at least one of those whose callers still wait."""
        calls: list[Call] = []
        seen = runs = size = 0
        for call in self._waiting:
            if not call.answer.done():
                runs += len(call.runs)
                size += call.size
                if calls and (runs > MAX_RUNS or size > MAX_BYTES):
                    break
                call.leaving = True
                calls.append(call)
            seen += 1
        del self._waiting[:seen]
        return calls

    async def _send(self, calls: Sequence[Call]) -> None:
        if not calls:
            return
        accepted = await self._broker.enqueue(
            [run for call in calls for run in call.runs],
            deadline=max(call.deadline for call in calls),
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

    async def close(self, deadline: float) -> None:
        """Take no more, and send what waits, by then."""
        self._closed = True
        flushing, self._flushing = self._flushing, None
        if flushing is not None and flushing.get_loop() is asyncio.get_running_loop():
            await asyncio.wait({flushing}, timeout=max(0.0, deadline - elapsed()))


_REFUSALS = {
    QueueUncertainError: "uncertain",
    ForsakenError: "cancelled",
    BrokerUnavailableError: "unavailable",
}


def parts(runs: Sequence[Submission]) -> Iterator[tuple[int, int]]:
    """Where each flush of these begins and ends."""
    return parts_of([len(run.message) for run in runs])


def refusal_of(error: BaseException) -> str:
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
