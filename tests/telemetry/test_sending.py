"""A bounded queue to an exporter."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from telemetry.sending import Sender
from telemetry.trouble import DeliveryError

Trouble = Callable[[str], None]

PATIENCE = 30.0
NEVER = 3600.0


class Exporter:
    """Keeps what it is given, unless it is told to fail; how often it was told to start afresh."""

    def __init__(self, outcome: Callable[[Trouble], None] = lambda _: None) -> None:
        self.batches: list[list[int]] = []
        self.outcome = outcome
        self.came = threading.Event()
        self.afresh = 0

    def export(self, batch: Sequence[int], trouble: Trouble, /) -> None:
        self.batches.append(list(batch))
        self.came.set()
        self.outcome(trouble)

    def shutdown(self) -> None:
        self.came.set()

    def start_afresh(self) -> None:
        self.afresh += 1


@contextmanager
def sending(exporter: Exporter, *, delay: float = NEVER) -> Iterator[Sender[int]]:
    sender = Sender[int](exporter, name="numbers", queue_size=6, batch=3, delay=delay)
    yield sender
    sender.close(0.0)


def test_a_full_batch_goes_at_once_and_the_rest_with_a_flush() -> None:
    exporter = Exporter()
    with sending(exporter) as sender:
        for number in range(3):
            sender.offer(number)
        assert exporter.came.wait(PATIENCE)
        sender.offer(3)
        assert sender.flush(PATIENCE)
        assert [number for batch in exporter.batches for number in batch] == [0, 1, 2, 3]
    assert sum(sender.dropped.values()) == 0


def test_what_waits_goes_after_the_delay() -> None:
    exporter = Exporter()
    with sending(exporter, delay=0.01) as sender:
        sender.offer(1)
        assert exporter.came.wait(PATIENCE)
        assert exporter.batches == [[1]]


def fail(_: Trouble) -> None:
    raise DeliveryError("refused")


def blow_up(_: Trouble) -> None:
    raise ValueError("no")


def lose_one(_: Trouble) -> None:
    raise DeliveryError("1 of 3 were refused", 1)


def succeed(_: Trouble) -> None:
    """All arrives."""


@pytest.mark.parametrize("outcome", [fail, blow_up])
def test_a_batch_that_cannot_be_sent_is_counted_and_a_flush_says_so(
    outcome: Callable[[Trouble], None],
) -> None:
    exporter = Exporter(outcome)
    with sending(exporter) as sender:
        sender.offer(1)
        assert not sender.flush(PATIENCE)
        assert sender.dropped == {"queue_full": 0, "export_failed": 1, "stopped": 0}
        exporter.outcome = succeed
        sender.offer(2)
        assert sender.flush(PATIENCE)


def test_an_exporter_in_trouble_is_told_of_when_it_begins_and_when_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def complain(trouble: Trouble) -> None:
        for _ in range(5):
            trouble("no answer")
        raise DeliveryError("given up")

    exporter = Exporter(complain)
    with sending(exporter) as sender:
        for number in range(3):
            sender.offer(number)
            assert not sender.flush(PATIENCE)
        exporter.outcome = succeed
        for number in range(2):
            sender.offer(number)
            assert sender.flush(PATIENCE)
    begun, over = caplog.records
    assert begun.getMessage().startswith("numbers cannot be sent: no answer;")
    assert begun.exc_info is None
    assert over.getMessage().startswith("numbers are sent again, after ")
    assert over.getMessage().endswith("; 3 were given up")


def test_of_a_batch_that_arrived_in_part_the_rest_is_counted_and_it_is_no_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with sending(Exporter(lose_one)) as sender:
        for number in range(3):
            sender.offer(number)
        assert sender.flush(PATIENCE)
        assert sender.dropped == {"queue_full": 0, "export_failed": 1, "stopped": 0}
    [told] = [record.getMessage() for record in caplog.records]
    assert told.startswith("numbers cannot be sent: 1 of 3 were refused;")


def test_what_an_exporter_raises_is_told_once_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with sending(Exporter(blow_up)) as sender:
        for number in range(2):
            sender.offer(number)
            assert not sender.flush(PATIENCE)
    [told] = caplog.records
    assert told.getMessage().startswith("numbers cannot be sent: ValueError('no');")
    assert told.exc_info is not None


def test_an_exporter_that_never_answers_holds_up_neither_flush_nor_close_and_what_it_has_is_counted() -> None:
    over = threading.Event()

    def stand_still(_: Trouble) -> None:
        over.wait()
        raise DeliveryError("too late")

    exporter = Exporter(stand_still)
    with sending(exporter) as sender:
        for number in range(3):
            sender.offer(number)
        assert exporter.came.wait(PATIENCE)
        for number in range(10):
            sender.offer(number)
        assert sender.dropped["queue_full"] == 4
        assert not sender.flush(0.01)
        sender.close()
        assert sender.dropped == {"queue_full": 4, "export_failed": 0, "stopped": 9}
        over.set()
    sender.offer(1)
    assert sender.dropped["stopped"] == 10


def test_a_child_that_was_forked_starts_afresh() -> None:
    exporter = Exporter()
    with sending(exporter) as sender:
        sender.offer(1)
        sender.start_afresh()
        sender.offer(2)
        assert sender.flush(PATIENCE)
        assert [2] in exporter.batches
        assert exporter.afresh == 1
