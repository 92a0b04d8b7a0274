"""What CPU-bound bodies tell from their processes: words over one pipe that all of them write to.

A word goes in frames, each no longer than what the system writes to a pipe as a whole. So the
processes need no lock between them, and one that is killed takes nobody's words with it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import selectors
import struct
import threading
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe

import msgspec

logger = logging.getLogger("fluid")

HEAD = struct.Struct("!QBH")
"""The call, whether this frame is the last of its word, and how many bytes follow."""

FRAME_BYTES = select.PIPE_BUF - HEAD.size

PIPE_BYTES = 1 << 16
"""The most that is under way in the pipe."""

HEAR_SECONDS = 1.0
"""How long an outcome waits for the words before it: log handlers may be slow, but hold up no run."""

Plain = str | int | float | bool | None


class Begun(msgspec.Struct, tag="begun", frozen=True):
    """A process has taken up the body."""

    pid: int


class LogLine(msgspec.Struct, tag="log", frozen=True):
    """A log record, its message and traceback already text."""

    fields: dict[str, Plain]


class Progress(msgspec.Struct, tag="progress", frozen=True):
    """How far the run has come."""

    done: float
    total: float | None
    message: str


class Trouble(msgspec.Struct, tag="trouble", frozen=True):
    """What was to surround the body in its process has raised."""

    place: str
    error: str


Word = Begun | LogLine | Progress | Trouble

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Word] = msgspec.json.Decoder(Word)


class Mouth:
    """Where a process tells words; it waits while the consumer does not listen."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._one_at_a_time = threading.Lock()

    def tell(self, call: int, word: Word) -> None:
        """Tell a word of this call."""
        data = _encoder.encode(word)
        with self._one_at_a_time:
            for start in range(0, len(data), FRAME_BYTES):
                part = data[start : start + FRAME_BYTES]
                last = start + FRAME_BYTES >= len(data)
                os.write(self._pipe.fileno(), HEAD.pack(call, last, len(part)) + part)


class Ear:
    """Hears words in a thread of its own, and tells each to whoever listens to its call."""

    def __init__(self) -> None:
        self._pipe, self.mouthpiece = Pipe(duplex=False)
        """`mouthpiece` is what processes are given to make a `Mouth` of."""
        os.set_blocking(self._pipe.fileno(), False)
        self._bell, self._ring = os.pipe()
        self._listeners: dict[int, Callable[[Word], None]] = {}
        self._parts: dict[int, bytes] = {}
        self._marks: deque[Callable[[], object]] = deque()
        self._closed = False
        self._thread = threading.Thread(target=self._hear_on, name="fluid-ear", daemon=True)
        self._thread.start()

    def listen(self, call: int, listener: Callable[[Word], None]) -> None:
        """Have `listener` told the words of this call, in the ear's thread."""
        self._listeners[call] = listener

    def forget(self, call: int) -> None:
        """Listen to this call no more."""
        self._listeners.pop(call, None)
        self._parts.pop(call, None)

    async def heard_out(self) -> bool:
        """Wait until all that was told by now has been heard; False if that takes too long."""
        loop, heard = asyncio.get_running_loop(), asyncio.Event()
        self._marks.append(lambda: loop.call_soon_threadsafe(heard.set))
        os.write(self._ring, b".")
        try:
            async with asyncio.timeout(HEAR_SECONDS):
                await heard.wait()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """End the thread, and close the pipe. Blocks while a listener does, but not for long."""
        self._closed = True
        os.write(self._ring, b".")
        self._thread.join(HEAR_SECONDS)

    # -- in the thread ---------------------------------------------------------------------

    def _hear_on(self) -> None:
        pipe = self._pipe.fileno()
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(pipe, selectors.EVENT_READ)
                selector.register(self._bell, selectors.EVENT_READ)
                heard = bytearray()
                while not self._closed:
                    for key, _ in selector.select():
                        if key.fd == self._bell:
                            os.read(self._bell, PIPE_BYTES)
                    marks = [self._marks.popleft() for _ in range(len(self._marks))]
                    self._empty(pipe, heard)
                    for mark in marks:
                        self._tell(mark)
        finally:
            self._pipe.close()
            self.mouthpiece.close()
            os.close(self._bell)
            os.close(self._ring)

    def _empty(self, pipe: int, heard: bytearray) -> None:
        """Take out of the pipe all that was in it when this began."""
        left = PIPE_BYTES
        while left > 0:
            try:
                data = os.read(pipe, PIPE_BYTES)
            except BlockingIOError:
                return
            left -= len(data)
            heard += data
            self._take_frames(heard)

    def _take_frames(self, heard: bytearray) -> None:
        start = 0
        while len(heard) - start >= HEAD.size:
            call, last, length = HEAD.unpack_from(heard, start)
            end = start + HEAD.size + length
            if len(heard) < end:
                break
            part = bytes(heard[start + HEAD.size : end])
            start = end
            listener = self._listeners.get(call)
            if listener is None:
                continue  # its run has ended; nobody waits for what its process says still
            word = self._parts.pop(call, b"") + part
            if last:
                self._tell(lambda word=word, listener=listener: listener(_decoder.decode(word)))  # type: ignore[misc]
            else:
                self._parts[call] = word
        del heard[:start]

    def _tell(self, tell: Callable[[], object]) -> None:
        try:
            tell()
        except Exception:
            logger.exception("what a CPU-bound body told could not be passed on")
