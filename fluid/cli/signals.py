"""SIGTERM and SIGINT: the first one asks to stop, a second one ends the process at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stopping_on_signals(ask: Callable[[str], None]) -> Iterator[None]:
    """While this is open, the first signal calls `ask` with its name, on the running loop.

    A second one ends the process, also when a body blocks the loop: runs come back when their leases end.
    """
    loop = asyncio.get_running_loop()
    heard = False

    def hear(number: int, _: FrameType | None) -> None:
        nonlocal heard
        if heard:
            os._exit(128 + number)
        heard = True
        loop.call_soon_threadsafe(ask, signal.Signals(number).name)

    before = {number: signal.signal(number, hear) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
