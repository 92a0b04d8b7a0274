"""How processes end that nobody needs any more: all at once, in order, and within a limit."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Container
from multiprocessing.connection import wait
from types import FrameType

from fluid.clock import elapsed

LEAVE_SECONDS = 4.0
"""What a process may take for what it does at its exit, as to send the last of its spans."""


def leave_when_asked() -> None:
    """In a process: a SIGTERM has it exit as any other does, rather than at once."""
    signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    # a code that is not 0, for one that ends in the middle of something shall not seem to be done with it
    sys.exit(number)


def have_leave(pids: Container[int], seconds: float) -> None:
    """Ask those of our child processes to exit, wait for all of them together, and kill the rest."""
    asked = [child for child in multiprocessing.active_children() if child.pid in pids]
    for child in asked:
        child.terminate()
    deadline = elapsed() + seconds
    left = {child.sentinel for child in asked}
    while left and (patience := deadline - elapsed()) > 0:
        left.difference_update(wait(list(left), patience))
    for child in asked:
        if child.sentinel in left:
            child.kill()
