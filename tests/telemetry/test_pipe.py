"""Lines go out in order, and nobody who writes one waits for whoever reads it."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator

import pytest

from fluid.testing.waiting import PATIENCE
from telemetry.pipe import LinePipe, writing_to


class Gate:
    """A way out that is closed until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.reached = threading.Event()
        self.written = b""

    def __call__(self, data: bytes) -> None:
        self.reached.set()
        assert self.opened.wait(PATIENCE)
        self.written += data


@pytest.fixture
def gate() -> Iterator[Gate]:
    """It is open in the end, so that no thread stays behind."""
    gate = Gate()
    yield gate
    gate.opened.set()


def test_lines_are_written_in_order(gate: Gate) -> None:
    gate.opened.set()
    pipe = LinePipe(gate)
    for n in range(1000):
        pipe.write(b"%d\n" % n)
    assert pipe.close(PATIENCE)
    assert gate.written == b"".join(b"%d\n" % n for n in range(1000))
    assert pipe.dropped == 0


def test_lines_gather_before_they_are_written_unless_somebody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("telemetry.pipe.LINGER", PATIENCE)
    written: list[bytes] = []
    pipe = LinePipe(written.append)
    for one, other in ((b"a", b"b"), (b"c", b"d")):
        pipe.write(one)
        pipe.write(other)
        assert pipe.flush(PATIENCE / 2)
    assert written == [b"ab", b"cd"]
    assert pipe.close(PATIENCE / 2)


def test_what_is_too_much_for_a_reader_that_stopped_is_dropped_and_counted(gate: Gate) -> None:
    pipe = LinePipe(gate, most_bytes=100)
    pipe.write(b"x" * 60)
    assert gate.reached.wait(PATIENCE)
    pipe.write(b"y" * 40)
    pipe.write(b"z")
    assert pipe.dropped == 1
    assert not pipe.flush(0.0)
    gate.opened.set()
    assert pipe.flush(PATIENCE)
    pipe.write(b"again")
    assert pipe.close(PATIENCE)
    assert gate.written == b"x" * 60 + b"y" * 40 + b"again"
    assert pipe.dropped == 1


def test_a_closed_pipe_drops() -> None:
    pipe = LinePipe(io.BytesIO().write)  # type: ignore[arg-type]
    assert pipe.close(PATIENCE)
    pipe.write(b"late")
    assert pipe.dropped == 1


@pytest.mark.parametrize("error", [BrokenPipeError, ValueError, TypeError, UnicodeError, MemoryError])
def test_a_way_out_that_fails_costs_its_lines_and_no_more(error: type[Exception]) -> None:
    broken, written = [True], []

    def out(data: bytes) -> None:
        if broken:
            raise error
        written.append(data)

    pipe = LinePipe(out, most_bytes=1)
    pipe.write(b"a")
    assert pipe.flush(PATIENCE)
    broken.clear()
    pipe.write(b"b")
    assert pipe.close(PATIENCE)
    assert (pipe.dropped, written) == (1, [b"b"])


def test_a_line_may_be_written_by_who_interrupts_a_writer(gate: Gate) -> None:
    gate.opened.set()
    pipe = LinePipe(gate)
    with pipe._lock:
        pipe.write(b"from a signal handler")
    assert pipe.close(PATIENCE)
    assert gate.written == b"from a signal handler"


class Interrupted(bytes):
    """A line whose writer is interrupted by one who writes a line as well."""

    pipe: LinePipe | None = None

    def __len__(self) -> int:
        pipe, self.pipe = self.pipe, None
        if pipe is not None:
            pipe.write(b"%10d" % 1)
        return super().__len__()


def test_the_room_is_counted_exactly_when_a_writer_is_interrupted(gate: Gate) -> None:
    pipe = LinePipe(gate, most_bytes=100)
    line = Interrupted(b"%20d" % 2)
    line.pipe = pipe
    pipe.write(b"%40d" % 0)
    assert gate.reached.wait(PATIENCE)
    pipe.write(line)
    pipe.write(b"%30d" % 3)
    assert pipe.dropped == 0
    pipe.write(b"4")
    assert pipe.dropped == 1
    gate.opened.set()
    assert pipe.flush(PATIENCE)
    pipe.write(b"%100d" % 5)
    assert pipe.close(PATIENCE)
    assert pipe.dropped == 1
    assert [int(word) for word in gate.written.split()] == [0, 1, 2, 3, 5]


def test_a_pipe_that_does_not_block_is_filled_all_the_same() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    with os.fdopen(write, "w") as stream, os.fdopen(read, "rb") as reader:
        pipe = LinePipe(writing_to(stream))
        lines = b"x" * 1_000_000
        pipe.write(lines)
        assert reader.read(len(lines)) == lines
        assert pipe.close(PATIENCE)
    assert pipe.dropped == 0


def test_a_stream_without_a_descriptor_is_written_to() -> None:
    stream = io.StringIO()
    pipe = LinePipe(writing_to(stream))
    pipe.write("grün\n".encode())
    assert pipe.close(PATIENCE)
    assert stream.getvalue() == "grün\n"


def test_when_no_thread_can_be_started_any_more_a_line_is_written_at_once(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.opened.set()
    pipe = LinePipe(gate)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    pipe.write(b"last words")
    assert gate.written == b"last words"
    assert pipe.close(0.0)
