"""Who blocks the event loop: a thread looks when the loop does not turn, and names the run.

The loop beats; the thread sees when a beat is late, and takes the stack while it lasts. When the loop turns
again, it announces `loop_blocked`, once, with the whole length.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
import time
import traceback
from contextvars import Context
from dataclasses import dataclass
from types import FrameType
from typing import Any

from fluid.clock import elapsed
from fluid.scheduler import TaskManager
from fluid.workers import Worker
from telemetry.current import CurrentRun, current_run

BEATS = 5
"""How often the loop beats in the time after which it is called blocked: so exactly is a stall measured."""

SHORTEST_BEAT = 0.005
"""Seconds: watching more closely than that would cost more than it tells."""

DEEPEST_STACK = 40
"""Frames of a stack that are told, the innermost ones."""

logger = logging.getLogger("fluid")


@dataclass(frozen=True, slots=True)
class Stall:
    """What the thread saw while the loop was blocked."""

    run: CurrentRun | None
    """The run whose code held the loop; None when it was nobody's body."""
    stack: str

    @property
    def task(self) -> str:
        """The task to blame, empty for none."""
        return "" if self.run is None else self.run.run.name

    @property
    def run_id(self) -> str:
        """The run to blame, empty for none."""
        return "" if self.run is None else self.run.run.id


class Watchdog(Worker):
    """Watches the loop of one host, and announces each time that it is blocked for longer than allowed.

    When the whole process stood still, as on a laptop that slept, nobody is to blame: then the thread was
    late as well, and the process used no processor.
    """

    def __init__(self, host: TaskManager) -> None:
        super().__init__(name="watchdog", critical=False, stage=-20)
        self._host = host
        self._allowed = host.config.loop_blocked_after
        self._interval = max(SHORTEST_BEAT, self._allowed / BEATS)
        self._over = threading.Event()
        # the thread and the loop's beats take turns, so that a stall is not announced while it is looked at
        self._turn = threading.Lock()
        self._due = 0.0
        self._stood_still = 0.0
        self._stall: Stall | None = None
        self._next_beat: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Watch, until asked to stop."""
        loop = asyncio.get_running_loop()
        self._over.clear()
        self._due, self._stall = elapsed(), None
        self._beat(loop)
        thread = threading.Thread(
            target=self._watch, args=(loop, threading.get_ident()), name="loop-watchdog", daemon=True
        )
        thread.start()
        try:
            await self.wait_for_stop()
        finally:
            self._over.set()
            if self._next_beat is not None:
                self._next_beat.cancel()
            await asyncio.to_thread(thread.join)

    # -- in the loop -----------------------------------------------------------------------

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._turn:
            now = elapsed()
            stall, self._stall = self._stall, None
            seconds = now - self._due - self._stood_still
            self._due, self._stood_still = now + self._interval, 0.0
        self._next_beat = loop.call_later(self._interval, self._beat, loop)
        if stall is not None:
            facts = {
                "seconds": round(seconds, 3),
                "task": stall.task,
                "run_id": stall.run_id,
                "stack": stall.stack,
            }
            self._host.announce("loop_blocked", facts=facts)

    # -- in the thread ---------------------------------------------------------------------

    def _watch(self, loop: asyncio.AbstractEventLoop, loop_thread: int) -> None:
        woken, worked = elapsed(), time.process_time()
        while not self._over.wait(self._interval):
            before, worked_before = woken, worked
            woken, worked = elapsed(), time.process_time()
            unexplained = (woken - before) - self._interval - (worked - worked_before)
            with self._turn:
                self._stood_still += max(0.0, unexplained)
                blocked = woken - self._due - self._stood_still
                if blocked <= self._allowed or self._stall is not None:
                    continue
                stall = self._stall = _look(loop, loop_thread)
            _tell(stall, blocked)


def _look(loop: asyncio.AbstractEventLoop, loop_thread: int) -> Stall:
    task = asyncio.current_task(loop)
    context = context_of(task) if task is not None else None
    run = current_run(context) if context is not None else None
    return Stall(run, _stack(sys._current_frames().get(loop_thread)))  # noqa: SLF001 - it is documented


def context_of(task: asyncio.Task[Any]) -> Context | None:
    """The context that a task runs in, also when it runs in another thread.

    A body may have created the task: it has inherited the body's context, and so the run.
    """
    if sys.version_info >= (3, 12):
        return task.get_context()
    return next((held for held in gc.get_referents(task) if isinstance(held, Context)), None)


_LOOPS = (asyncio.Handle._run.__code__, asyncio.Runner.run.__code__)  # noqa: SLF001
"""What calls the callbacks of the loop; of one not written in Python, like uvloop, what called the loop."""


def _stack(frame: FrameType | None) -> str:
    """The innermost calls, the last one at the end; without the loop that called them."""
    calls: list[tuple[FrameType, int]] = []
    for inner, line in traceback.walk_stack(frame):
        if inner.f_code in _LOOPS or len(calls) == DEEPEST_STACK:
            break
        calls.append((inner, line))
    return "".join(traceback.StackSummary.extract(reversed(calls)).format()).rstrip()


def _tell(stall: Stall, seconds: float) -> None:
    """While it lasts, for it may never end."""
    culprit = f"a run of {stall.task}" if stall.run is not None else "none of the runs"
    ids = stall.run.ids if stall.run is not None else {}
    record = logger.makeRecord(
        logger.name,
        logging.WARNING,
        __file__,
        0,
        "the event loop is blocked for %.3f s by now, by %s",
        (seconds, culprit),
        None,
        extra={**ids, "seconds": round(seconds, 3)},
        sinfo=stall.stack,
    )
    logger.handle(record)
    if stall.run is not None and stall.run.span.is_recording():
        stall.run.span.add_event("loop_blocked", {"seconds": seconds, "code.stacktrace": stall.stack})
