"""CPU-bound bodies, each in a process of a pool, so that they never hold up the event loop.

Processes are started afresh (`spawn`), which is safe beside threads. A process that dies fails
only its own run; a body that is timed out or cancelled is killed with its process.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractAsyncContextManager, suppress
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

import msgspec

from fluid.errors import ConfigurationError, DeclarationError, FluidError, RunError, TaskTimeoutError
from fluid.scheduler.body_process import (
    Order,
    Outcome,
    Raised,
    decode_outcome,
    encode_order,
    place_of,
    run_body,
    set_up,
)
from fluid.scheduler.codec import encode_params
from fluid.scheduler.failing import failed
from fluid.scheduler.leaving import LEAVE_SECONDS, have_leave
from fluid.scheduler.run import TaskRun
from fluid.scheduler.task import Task
from fluid.scheduler.wire import Begun, Ear, LogLine, Progress, Trouble, Word

if TYPE_CHECKING:
    from pebble import ProcessPool as PebblePool

logger = logging.getLogger("fluid")

PROCESSES = multiprocessing.get_context("spawn")

LOOK_SECONDS = 1.0
"""How often it is looked whether a process is still there: one that exits with 0 is told of by nobody."""

FORGET_SECONDS = 10.0
"""How long a call that was given up before it had begun is listened to, to kill it when it begins."""

TRIES = 3
"""How often a body is given to a pool that breaks before the body has begun."""

OnTrouble = Callable[[str, str], None]
"""Told what was to surround a body in its process, and what it raised."""


class ProcessDiedError(RunError):
    """The process of a CPU-bound body ended before the body did."""

    reason = "process_died"
    verb = "lost its process"


class _LostError(Exception):
    """The process of a call has gone."""


class Call:
    """One body in a process: what it tells is passed on, and it can be killed."""

    def __init__(self, number: int, run: TaskRun[Any], on_trouble: OnTrouble) -> None:
        self.number = number
        self.pid = 0
        self.begun = asyncio.Event()
        self._run = run
        self._on_trouble = on_trouble
        self._loop = asyncio.get_running_loop()
        self._context: Context = copy_context()
        self._unwanted = False
        self._newest: Progress | None = None
        self._reporting: asyncio.Task[None] | None = None

    def kill(self) -> None:
        """End the body, or have it ended as soon as it begins."""
        self._unwanted = True
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    async def finish(self) -> None:
        """Let the last report of progress get through, if it is quick."""
        if self._reporting is not None:
            await asyncio.wait({self._reporting}, timeout=LOOK_SECONDS)
            self._reporting.cancel()

    # -- in the ear's thread

    def hear(self, word: Word) -> None:
        """Pass on what the body tells."""
        match word:
            case LogLine():
                # in the context of the run, so that filters and formatters know whose line it is
                self._context.run(_emit, word)
            case Progress():
                self._loop.call_soon_threadsafe(self._report, word)
            case Trouble():
                self._loop.call_soon_threadsafe(self._on_trouble, word.place, word.error)
            case Begun():
                self.pid = word.pid
                if self._unwanted:
                    self.kill()
                self._loop.call_soon_threadsafe(self.begun.set)

    # -- in the loop

    def _report(self, word: Progress) -> None:
        self._newest = word
        if self._reporting is None or self._reporting.done():
            self._reporting = self._loop.create_task(self._report_on(), name="fluid-progress")

    async def _report_on(self) -> None:
        """Report until nothing newer has come meanwhile."""
        while (word := self._newest) is not None:
            self._newest = None
            try:
                await self._run.progress(word.done, word.total, word.message)
            except FluidError as error:
                logger.warning("the progress of run %s could not be reported: %s", self._run.id, error)


class ProcessPool:
    """As many processes as there are processors, started when the first CPU-bound body comes."""

    def __init__(self, *, on_trouble: OnTrouble, size: int = 0) -> None:
        self._size = size or os.cpu_count() or 1
        self._on_trouble = on_trouble
        self._places = asyncio.Semaphore(self._size)
        self._numbers = itertools.count(1)
        self._calls: dict[asyncio.Future[bytes], Call] = {}
        self._pids: set[int] = set()
        """Processes that have had a body: what that has left behind may have to be sent still."""
        self._pool: PebblePool | None = None
        self._ear: Ear | None = None

    @property
    def place(self) -> AbstractAsyncContextManager[None]:
        """A process, to be had before `call`; it is waited for while all are taken."""
        return self._places

    async def call(
        self, task: Task, run: TaskRun[Any], seconds: float | None, surroundings: Sequence[str] = ()
    ) -> Any:
        """What the body returns; `BodyFailedError` for what it raises, `TaskTimeoutError` after `seconds`.

        `surroundings` are the places of functions that make, from the run's headers, a context for the body.
        """
        body, why = _where(task), ""
        for _ in range(TRIES):
            call = Call(next(self._numbers), run, self._on_trouble)
            try:
                pool, ear = await self._started()
                return await self._called(
                    call, pool, ear, _order(call.number, body, run, surroundings), seconds
                )
            except (BrokenProcessPool, _LostError) as error:
                why = str(error) or "the pool of processes broke"
                if call.begun.is_set():
                    break
        raise ProcessDiedError(run.id, run.name, why)

    async def _called(
        self, call: Call, pool: PebblePool, ear: Ear, order: bytes, seconds: float | None
    ) -> Any:
        ear.listen(call.number, call.hear)
        answer = asyncio.wrap_future(_schedule(pool, order))
        self._calls[answer] = call
        try:
            outcome = await _outcome(call, answer, seconds)
        finally:
            self._calls.pop(answer)
            self._pids.add(call.pid)
            if not answer.done():
                answer.cancel()
                call.kill()
            # what the body has told comes before its outcome
            await ear.heard_out()
            await call.finish()
            if call.begun.is_set():
                ear.forget(call.number)
            else:
                asyncio.get_running_loop().call_later(FORGET_SECONDS, ear.forget, call.number)
        if isinstance(outcome, Raised):
            raise failed(outcome.failure)
        return msgspec.json.decode(outcome.result)

    async def _started(self) -> tuple[PebblePool, Ear]:
        """The pool and its ear; a new pool when it broke, as it does when a process without a body dies."""
        if self._ear is None:
            self._ear = Ear()
        if self._pool is None:
            self._pool = self._new_pool(self._ear)
        pool, ear = self._pool, self._ear
        # to start one process after the other takes a while
        if not await asyncio.to_thread(getattr, pool, "active"):
            if self._pool is pool:
                self._pool = None
                await asyncio.to_thread(_stop, pool)
            raise BrokenProcessPool("a process died before it had a body")
        return pool, ear

    def _new_pool(self, ear: Ear) -> PebblePool:
        try:
            from pebble import ProcessPool as Pool
        except ImportError:
            raise ConfigurationError(
                "a CPU-bound task needs the library pebble: pip install 'fluid-tasks[cpu]'"
            ) from None
        return Pool(max_workers=self._size, initializer=set_up, initargs=(ear.mouthpiece,), context=PROCESSES)

    async def close(self) -> None:
        """Kill what still runs, and have the processes exit."""
        for answer, call in self._calls.items():
            answer.cancel()
            call.kill()
        pool, self._pool = self._pool, None
        ear, self._ear = self._ear, None
        if pool is not None:
            pool.stop()
            await asyncio.to_thread(have_leave, self._pids, LEAVE_SECONDS)
            await asyncio.to_thread(_stop, pool)
        if ear is not None:
            await asyncio.to_thread(ear.close)


async def _outcome(call: Call, answer: asyncio.Future[bytes], seconds: float | None) -> Outcome:
    begun: asyncio.Future[Any] = asyncio.ensure_future(call.begun.wait())
    try:
        # the time of a body counts from when a process has it
        either: set[asyncio.Future[Any]] = {answer, begun}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        async with asyncio.timeout(seconds):
            await _watch(call, answer)
    except TimeoutError:
        if not answer.done():
            raise TaskTimeoutError(
                f"the body took longer than {seconds or 0:g} s; its process was killed"
            ) from None
    finally:
        begun.cancel()
    return _read(answer)


async def _watch(call: Call, answer: asyncio.Future[bytes]) -> None:
    missed = False
    while not answer.done():
        await asyncio.wait({answer}, timeout=LOOK_SECONDS)
        there = answer.done() or call.pid in {process.pid for process in multiprocessing.active_children()}
        if missed and not there:
            raise _LostError("it exited with code 0")
        missed = not there


def _read(answer: asyncio.Future[bytes]) -> Outcome:
    from pebble import ProcessExpired

    if answer.cancelled():
        raise _LostError("its pool was closed")
    try:
        return decode_outcome(answer.result())
    except ProcessExpired as error:
        raise _LostError(f"exit code {error.exitcode}") from error


def _schedule(pool: PebblePool, order: bytes) -> Future[bytes]:
    try:
        return pool.schedule(run_body, args=(order,))
    except RuntimeError as error:
        raise BrokenProcessPool(str(error)) from error


def _stop(pool: PebblePool) -> None:
    pool.stop()
    pool.join()


def _where(task: Task) -> str:
    place = place_of(task.executor)
    if not place:
        raise DeclarationError(
            f"task {task.name!r} is CPU-bound, so its body must be importable: define it in a module"
        )
    return place


def _order(call: int, body: str, run: TaskRun[Any], surroundings: Sequence[str]) -> bytes:
    about = {
        "id": run.id,
        "name": run.name,
        "priority": str(run.priority),
        "failures": run.failures,
        "losses": run.losses,
        "delivery": run.delivery,
        "from_run_id": run.from_run_id,
        "root_run_id": run.root_run_id,
        "headers": run.headers,
        "local": run.local,
    }
    return encode_order(
        Order(
            call=call,
            body=body,
            params=msgspec.Raw(encode_params(run)),
            run=about,
            queued_at=run.queued_at,
            started_at=run.started_at,
            surroundings=list(surroundings),
            levels=_levels(),
        )
    )


def _levels() -> dict[str, int]:
    """The level of every logger that has its own, so that processes tell what is wanted and no more."""
    known = {
        name: one.level
        for name, one in list(logging.root.manager.loggerDict.items())
        if isinstance(one, logging.Logger) and one.level
    }
    return known | {"": logging.root.level}


def _emit(line: LogLine) -> None:
    record = logging.makeLogRecord(dict(line.fields))
    target = logging.getLogger(record.name)
    if target.isEnabledFor(record.levelno):
        target.handle(record)
