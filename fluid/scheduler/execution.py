"""One claimed run: read it, start it, invoke its body, classify what came out, hand the outcome on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import msgspec

from fluid.errors import InvalidParamsError, UnreadableMessageError
from fluid.scheduler.announcing import Announcer
from fluid.scheduler.being_queued import BeingQueued
from fluid.scheduler.codec import (
    MESSAGE_VERSION,
    Message,
    decode_message,
    decode_params,
    encode_result,
    fingerprint,
)
from fluid.scheduler.failing import failure_of
from fluid.scheduler.history import add_message
from fluid.scheduler.invoking import Invoker
from fluid.scheduler.moves import Kind
from fluid.scheduler.registry import TaskRegistry
from fluid.scheduler.retry import Decision, RetryPolicy
from fluid.scheduler.slots import Attempt
from fluid.scheduler.states import TaskState
from fluid.scheduler.task import Task

_KINDS = {Decision.RETRY: Kind.retry, Decision.FAIL: Kind.failure, Decision.ABORT: Kind.aborted}


class Finished(msgspec.Struct):
    """What came out of an attempt, before the broker has agreed."""

    attempt: Attempt
    kind: Kind
    reason: str = ""
    model: str = ""
    """The fingerprint of the model that its parameters do not fit, when another one may."""
    result: bytes = b"null"
    error: str = ""
    error_type: str = ""
    traceback: str = ""
    delay: float = 0.0
    ran: float = 0.0
    """Seconds the body took; 0 when it was never called."""
    started: float = 0.0
    """When it was called, and when it had ended, by the broker's clock in milliseconds since the epoch."""
    ended: float = 0.0


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
        body.add_done_callback(partial(self._body_ended, attempt))

    # -- the column ------------------------------------------------------------------------

    async def _run(self, attempt: Attempt) -> Finished:
        task = attempt.task = self._registry.find(attempt.run.name)
        newer = attempt.claimed.version > MESSAGE_VERSION
        if newer or task is None:
            return Finished(attempt, Kind.held, "newer_message" if newer else "unknown_task")
        message = self._read(attempt, task)
        if isinstance(message, Finished):
            return message
        if attempt.run.id in self._being_queued:
            await self._being_queued.wait_for(attempt.run.id)
        if task.cpu_bound:
            async with self._invoker.place_for(task):
                return self._expired(attempt, message) or await self._attempt(attempt, task)
        return self._expired(attempt, message) or await self._attempt(attempt, task)

    async def _attempt(self, attempt: Attempt, task: Task) -> Finished:
        begin = self._invoker.clock()
        self._start(attempt, begin)
        try:
            with self._invoker.around(attempt.run):
                value = await self._invoker.invoke(task, attempt.run)
                result = encode_result(task.name, value)
        except BaseException as error:  # noqa: BLE001 - what is no fault of the body is raised again
            finished = self._classify(attempt, task.retry, error)
        else:
            finished = Finished(attempt, Kind.success, result=result)
        end = self._invoker.clock()
        finished.ran = end - begin
        finished.started = attempt.run.started_at or 0.0
        finished.ended = attempt.run.ended_at = attempt.by_broker(end)
        return finished

    def _read(self, attempt: Attempt, task: Task) -> Message | Finished:
        """Read message and parameters; an outcome when they allow no attempt."""
        run = attempt.run
        try:
            message = decode_message(attempt.claimed.message)
            add_message(run, message)
            run.params = decode_params(task, message.params)
        except UnreadableMessageError as error:
            return self._misfit(attempt, Kind.dead, error)
        except InvalidParamsError as error:
            # another release's model may fit; if no consumer alive has one that is untried, it is dead
            model = fingerprint(task)
            return self._misfit(attempt, Kind.held, error, model=model)
        return message

    @staticmethod
    def _misfit(
        attempt: Attempt, kind: Kind, error: UnreadableMessageError | InvalidParamsError, model: str = ""
    ) -> Finished:
        return Finished(
            attempt, kind, error.reason, model=model, error=str(error), error_type=type(error).__name__
        )

    def _expired(self, attempt: Attempt, message: Message) -> Finished | None:
        if message.expires is None or message.expires > attempt.by_broker(self._invoker.clock()):
            return None
        return Finished(attempt, Kind.aborted, "expired", error="its time had passed before it was started")

    def _start(self, attempt: Attempt, at: float) -> None:
        attempt.run.move(TaskState.running)
        attempt.run.started_at = attempt.by_broker(at)
        waited, dispatched = attempt.claimed.waited, at - attempt.claimed_at
        self._announcer.started(attempt.run, waited, dispatched)

    # -- what came out ---------------------------------------------------------------------

    def _classify(self, attempt: Attempt, policy: RetryPolicy, error: BaseException) -> Finished:
        if isinstance(error, asyncio.CancelledError) and attempt.cancelled_because:
            return self._cancelled(attempt)
        if isinstance(error, (KeyboardInterrupt, GeneratorExit)):
            raise error
        failure = failure_of(error, policy, attempt.run.failures + 1, attempt.run.params)
        return Finished(
            attempt,
            _KINDS[failure.decision],
            failure.reason,
            error=failure.error,
            error_type=failure.error_type,
            traceback=failure.traceback,
            delay=failure.delay,
        )

    @staticmethod
    def _cancelled(attempt: Attempt) -> Finished:
        if attempt.cancelled_because == "cancelled":
            return Finished(attempt, Kind.aborted, "cancelled", error="cancelled while it ran")
        return Finished(attempt, Kind.interrupted, attempt.cancelled_because or "stopping")

    def _body_ended(self, attempt: Attempt, body: asyncio.Task[Finished]) -> None:
        try:
            finished = body.result()
        except asyncio.CancelledError:
            finished = self._cancelled(attempt)
        except BaseException as error:  # noqa: BLE001 - no fault of the body, so its policy is not asked
            failure = failure_of(error, RetryPolicy(), 1, attempt.run.params)
            finished = Finished(
                attempt,
                Kind.failure,
                "error",
                error=failure.error,
                error_type=failure.error_type,
                traceback=failure.traceback,
            )
            del body  # its error knows this frame: no circle is left to the garbage collector
        self._hand_on(finished)
