"""Lines on their way out: whoever writes one never waits for whoever reads it.

A thread writes; between it and the writers is a queue bounded in bytes and in lines. When the reader has
stopped and the queue is full, further lines are dropped and counted. Lines that every run has are rendered in
that thread too, in one go for all that have gathered.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TextIO

MOST_BYTES = 8 * 1024 * 1024
"""Lines of so many bytes may wait."""

MOST_LINES = 20_000
"""Posted lines are taken while fewer than so many lines wait: about as many bytes."""

LINGER = 0.02
"""Seconds that the thread lets lines gather: waking it for each would cost the writers more than the line."""


class LinePipe:
    """Writes lines with `out`, in a thread that ends with the process. Any thread may write to it.

    `render` makes bytes of the lines that it is given, in that thread: of bytes and of what was posted.
    """

    def __init__(
        self,
        out: Callable[[bytes], None],
        render: Callable[[list[Any]], bytes] = b"".join,
        *,
        most_bytes: int = MOST_BYTES,
        most_lines: int = MOST_LINES,
    ) -> None:
        self._out = out
        self._render = render
        self._most_bytes = most_bytes
        self._most_lines = most_lines
        self.dropped = 0
        """Lines that were never written: too much waited, or `out` failed."""
        self._closed = False
        self._begin()

    def _begin(self) -> None:
        # A signal handler or a finalizer may write while its own thread is writing: hence a lock that lets
        # its owner in again, and a queue whose `put` may be interrupted by itself.
        self._lock = threading.RLock()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._hurry = threading.Event()
        self._empty = threading.Event()
        # The lock does not guard the lines: they are appended to, copied and cut, each in one step.
        self._lines: list[Any] = []
        self._bytes = 0  # of these, and of those that are being written
        self._being_written = 0
        self._asleep = True
        self._thread: threading.Thread | None = None

    def write(self, line: bytes) -> None:
        """Have a line written, soon."""
        size = len(line)
        with self._lock:
            if self._closed or self._bytes + size > self._most_bytes:
                self.dropped += 1
                return
            self._lines.append(line)
            # nothing is called meanwhile, so that whoever interrupts us with a line of its own cannot be lost
            self._bytes += size
        if self._asleep:
            self._rouse()

    def post(self, line: object) -> None:
        """Have a line written that is rendered then: one of a few hundred bytes, that nobody changes."""
        if self._closed or len(self._lines) + self._being_written >= self._most_lines:
            with self._lock:
                self.dropped += 1
            return
        self._lines.append(line)
        if self._asleep:
            self._rouse()

    def _rouse(self) -> None:
        with self._lock:
            if not self._asleep:
                return
            self._asleep = False
            if self._thread is None:
                self._start_thread()
            else:
                self._wake.put(None)

    def _start_thread(self) -> None:
        self._thread = threading.Thread(target=self._write_on, name="log-writer", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter ends, and starts no thread any more
            self._thread = None
            self._write_out(self._take())
            self._asleep = True

    def flush(self, timeout: float) -> bool:
        """Wait until all is written; False when that takes longer than so many seconds."""
        with self._lock:
            if self._asleep and not self._lines:
                return True
            self._empty.clear()
        self._hurry.set()
        try:
            return self._empty.wait(timeout)
        finally:
            self._hurry.clear()

    def close(self, timeout: float) -> bool:
        """Flush, and drop from now on what is written still."""
        flushed = self.flush(timeout)
        self._closed = True
        self._wake.put(None)
        return flushed

    def start_again(self) -> None:
        """In a process that was forked off: its parent writes what waits, and has the thread."""
        self._begin()

    def _write_on(self) -> None:
        while True:
            self._hurry.wait(LINGER)
            if lines := self._take():
                self._write_out(lines)
                continue
            with self._lock:
                # first it says that it sleeps, then it looks again: who appends does it the other way round
                self._asleep = True
                if self._lines:
                    self._asleep = False
                    continue
                self._empty.set()
            if self._closed:
                return
            self._wake.get()
            self._asleep = False

    def _take(self) -> list[Any]:
        lines = self._lines.copy()
        del self._lines[: len(lines)]  # what was appended meanwhile stays
        self._being_written = len(lines)
        return lines

    def _write_out(self, lines: list[Any]) -> None:
        dropped = 0
        try:
            self._out(self._render(lines))
        except Exception:  # noqa: BLE001 - its reader has gone, or it was closed: there is nowhere to say so
            dropped = len(lines)
        with self._lock:
            if self._bytes:
                self._bytes -= sum(len(line) for line in lines if isinstance(line, bytes))
            self._being_written = 0
            self.dropped += dropped


def writing_to(stream: TextIO) -> Callable[[bytes], None]:
    """How bytes get into a text stream, without the lock that its other users need at their exit."""
    try:
        stream.fileno()
    except (OSError, ValueError, AttributeError):
        return lambda data: _write_text(stream, data)
    return lambda data: _write_all(stream.fileno(), data)


def _write_text(stream: TextIO, data: bytes) -> None:
    stream.write(data.decode(errors="replace"))
    stream.flush()


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:  # somebody who shares the pipe has made it non-blocking
            select.select([], [descriptor], [])
