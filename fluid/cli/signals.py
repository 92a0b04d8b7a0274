"""SIGTERM and SIGINT: the first one asks to stop, a second one ends the process at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from fluid.clock import elapsed

STOPPING = (signal.SIGTERM, signal.SIGINT)

ECHO_SECONDS = 0.1
"""The same signal so soon after the first is its echo: `timeout` sends it to the process, and once more to
the group that the process is in. Nobody who means it twice is as fast."""


@contextmanager
def stopping_on_signals(ask: Callable[[str], None]) -> Iterator[None]:
    """While this is open, the first signal calls `ask` with its name, on the running loop.

    A second one ends the process, unless it is an echo of the first, and also when a body blocks the loop:
    runs come back when their leases end.
    """
    loop = asyncio.get_running_loop()
    heard: tuple[int, float] | None = None

    def hear(number: int, _: FrameType | None) -> None:
        nonlocal heard
        if heard is not None:
            first, at = heard
            if number == first and elapsed() - at < ECHO_SECONDS:
                return
            os._exit(128 + number)
        heard = number, elapsed()
        loop.call_soon_threadsafe(ask, signal.Signals(number).name)

    before = {number: signal.signal(number, hear) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
