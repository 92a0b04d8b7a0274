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
    pipe.post(b"late")
    assert pipe.dropped == 2


# -- lines that are rendered when they are written -----------------------------------------


def in_words(lines: list[int | bytes]) -> bytes:
    """Numbers are posted, bytes are written."""
    return b"".join(line if isinstance(line, bytes) else b"%d\n" % line for line in lines)


def test_posted_lines_are_rendered_in_the_thread_and_keep_their_order_among_others(gate: Gate) -> None:
    threads: set[str] = set()

    def render(lines: list[int | bytes]) -> bytes:
        threads.add(threading.current_thread().name)
        return in_words(lines)

    gate.opened.set()
    pipe = LinePipe(gate, render)
    for n in range(1000):
        pipe.write(b"%d\n" % n) if n % 3 else pipe.post(n)
    assert pipe.close(PATIENCE)
    assert gate.written == b"".join(b"%d\n" % n for n in range(1000))
    assert (pipe.dropped, threads) == (0, {"log-writer"})


def test_posted_lines_that_are_too_many_are_dropped_and_counted_with_those_that_are_being_written(
    gate: Gate,
) -> None:
    pipe = LinePipe(gate, in_words, most_lines=3)
    pipe.post(1)
    assert gate.reached.wait(PATIENCE)
    for n in (2, 3, 4, 5):
        pipe.post(n)
    assert pipe.dropped == 2
    gate.opened.set()
    assert pipe.flush(PATIENCE)
    pipe.post(6)
    assert pipe.close(PATIENCE)
    assert gate.written == b"1\n2\n3\n6\n"
    assert pipe.dropped == 2


def test_lines_that_cannot_be_rendered_cost_no_more_than_themselves(gate: Gate) -> None:
    gate.opened.set()
    pipe = LinePipe(gate, in_words)
    pipe.post("no number")
    assert pipe.flush(PATIENCE)
    pipe.post(7)
    assert pipe.close(PATIENCE)
    assert (gate.written, pipe.dropped) == (b"7\n", 1)


def test_nothing_is_lost_or_turned_round_when_many_threads_post_and_flush(gate: Gate) -> None:
    threads, lines = 8, 500
    gate.opened.set()
    pipe = LinePipe(gate, in_words)
    missing: list[int] = []

    def post(first: int) -> None:
        for n in range(first, first + lines):
            pipe.post(n)
            if n % 50 == 0 and not (pipe.flush(PATIENCE) and b"\n%d\n" % n in b"\n" + gate.written):
                missing.append(n)

    posters = [threading.Thread(target=post, args=(k * lines,)) for k in range(threads)]
    for poster in posters:
        poster.start()
    for poster in posters:
        poster.join()
    assert pipe.close(PATIENCE)
    assert missing == [], "it had been flushed"
    written = [int(line) for line in gate.written.split()]
    assert sorted(written) == list(range(threads * lines))
    for k in range(threads):
        mine = [n for n in written if n // lines == k]
        assert mine == sorted(mine)


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
