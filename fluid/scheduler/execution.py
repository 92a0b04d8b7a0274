"""One claimed run: read it, start it, invoke its body, classify what came out, hand the outcome on."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fluid.clock import from_milliseconds
from fluid.errors import Abort, FluidError, InvalidParamsError, UnreadableMessageError
from fluid.masking import hide, secrets_of
from fluid.scheduler.announcing import Announcer
from fluid.scheduler.being_queued import BeingQueued
from fluid.scheduler.codec import (
    MESSAGE_VERSION,
    Message,
    decode_message,
    decode_params,
    encode_result,
)
from fluid.scheduler.history import add_message
from fluid.scheduler.invoking import Invoker
from fluid.scheduler.moves import Kind
from fluid.scheduler.registry import TaskRegistry
from fluid.scheduler.retry import Decision
from fluid.scheduler.run import TaskRun
from fluid.scheduler.slots import Attempt
from fluid.scheduler.states import TaskState
from fluid.scheduler.task import Task

TRACEBACK_CHARACTERS = 8000


@dataclass(slots=True)
class Finished:
    """What came out of an attempt, before the broker has agreed."""

    attempt: Attempt
    kind: Kind
    reason: str = ""
    result: bytes = b"null"
    error: str = ""
    error_type: str = ""
    traceback: str = ""
    delay: float = 0.0
    ran: float = 0.0
    """Seconds the body took; 0 when it was never called."""


class Execution:
    """Runs attempts. Whatever happens to one, its slot becomes free and its outcome is handed on."""

    def __init__(
        self,
        *,
        registry: TaskRegistry,
        announcer: Announcer,
        invoker: Invoker,
        being_queued: BeingQueued,
        hand_on: Callable[[Finished], None],
    ) -> None:
        self._registry = registry
        self._announcer = announcer
        self._invoker = invoker
        self._being_queued = being_queued
        self._hand_on = hand_on

    def begin(self, attempt: Attempt) -> None:
        """Let the attempt run in a task of its own, so that nothing of it leaks into the next."""
        body = asyncio.get_running_loop().create_task(self._run(attempt), name=attempt.name)
        attempt.body = body
        body.add_done_callback(lambda done: self._hand_on(self._outcome_of(attempt, done)))

    # -- the column ------------------------------------------------------------------------

    async def _run(self, attempt: Attempt) -> Finished:
        unreadable = self._read(attempt)
        if unreadable is not None:
            return unreadable
        task = self._registry[attempt.run.name]
        await self._being_queued.wait_for(attempt.run.id)
        self._start(attempt)
        begin = self._invoker.clock()
        try:
            with self._invoker.around(attempt.run):
                value = await self._invoker.invoke(task, attempt.run)
                result = encode_result(task.name, value)
        except BaseException as error:  # noqa: BLE001 - what is no fault of the body is raised again
            finished = self._classify(attempt, task, error)
        else:
            finished = Finished(attempt, Kind.success, result=result)
        finished.ran = self._invoker.clock() - begin
        attempt.run.end = from_milliseconds(
            attempt.broker_now + 1000 * (self._invoker.clock() - attempt.claimed_at)
        )
        return finished

    def _read(self, attempt: Attempt) -> Finished | None:
        """Read message and parameters; an outcome when they, or the run itself, allow no attempt."""
        claimed, run = attempt.claimed, attempt.run
        if claimed.version > MESSAGE_VERSION:
            return Finished(attempt, Kind.held, "newer_message")
        if run.name not in self._registry:
            return Finished(attempt, Kind.held, "unknown_task")
        try:
            message = decode_message(claimed.message)
            add_message(run, message)
            run.params = decode_params(self._registry[run.name], message.params)
        except (UnreadableMessageError, InvalidParamsError) as error:
            return Finished(
                attempt, Kind.dead, error.reason, error=str(error), error_type=type(error).__name__
            )
        return self._expired(attempt, message)

    def _expired(self, attempt: Attempt, message: Message) -> Finished | None:
        if message.expires is None or message.expires > attempt.broker_now:
            return None
        return Finished(attempt, Kind.aborted, "expired", error="its time had passed before it was started")

    def _start(self, attempt: Attempt) -> None:
        dispatched = self._invoker.clock() - attempt.claimed_at
        attempt.run.move(TaskState.running)
        attempt.run.start = from_milliseconds(attempt.broker_now + 1000 * dispatched)
        self._announcer.announce("start", attempt.run, waited=attempt.claimed.waited, dispatched=dispatched)

    # -- what came out ---------------------------------------------------------------------

    def _classify(self, attempt: Attempt, task: Task, error: BaseException) -> Finished:
        if isinstance(error, asyncio.CancelledError) and attempt.cancelled_because:
            return self._cancelled(attempt)
        if isinstance(error, (KeyboardInterrupt, GeneratorExit)):
            raise error
        verdict = task.retry.decide(error, attempt.run.failures + 1)
        kinds = {Decision.RETRY: Kind.retry, Decision.FAIL: Kind.failure, Decision.ABORT: Kind.aborted}
        return Finished(
            attempt,
            kinds[verdict.decision],
            reason_of(error),
            error=words_of(error, attempt.run),
            error_type=type(error).__name__,
            traceback="" if isinstance(error, Abort) else _traceback(error, attempt.run),
            delay=verdict.delay,
        )

    @staticmethod
    def _cancelled(attempt: Attempt) -> Finished:
        if attempt.cancelled_because == "cancelled":
            return Finished(attempt, Kind.aborted, "cancelled", error="cancelled while it ran")
        return Finished(attempt, Kind.interrupted, attempt.cancelled_because)

    def _outcome_of(self, attempt: Attempt, done: asyncio.Task[Finished]) -> Finished:
        if not done.cancelled():
            error = done.exception()
            if error is None:
                return done.result()
            return Finished(
                attempt,
                Kind.failure,
                "error",
                error=words_of(error, attempt.run),
                error_type=type(error).__name__,
                traceback=_traceback(error, attempt.run),
            )
        if attempt.cancelled_because:
            return self._cancelled(attempt)
        return Finished(attempt, Kind.interrupted, "stopping")


def reason_of(error: BaseException) -> str:
    """The reason word of an error, of the closed set that `EVENTS` publishes."""
    if isinstance(error, FluidError) and error.reason in _REASONS:
        return error.reason
    return "cancelled_inside" if isinstance(error, asyncio.CancelledError) else "error"


_REASONS = frozenset({"timeout", "retry_asked", "abort_asked", "result", "process_died"})


def words_of(error: BaseException, run: TaskRun[Any]) -> str:
    """The error in words, without what is secret among the run's parameters."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - an error that cannot say what it is has a name at least
        text = "(it cannot be shown)"
    return hide(_printable(f"{name}: {text}" if text else name), secrets_of(run.params))


def _printable(text: str) -> str:
    """The text as UTF-8 can hold it: a lone surrogate, as in a strange file name, is spelt out."""
    return text.encode("utf-8", "backslashreplace").decode()


def _traceback(error: BaseException, run: TaskRun[Any]) -> str:
    text = hide(_printable("".join(traceback.format_exception(error))), secrets_of(run.params))
    return text if len(text) <= TRACEBACK_CHARACTERS else "...\n" + text[-TRACEBACK_CHARACTERS:]
