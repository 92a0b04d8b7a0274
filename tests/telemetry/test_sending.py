"""A bounded queue to an exporter."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult

from telemetry.sending import Sender

PATIENCE = 30.0
NEVER = 3600.0


class Exporter:
    """Keeps what it is given, unless it is told to fail."""

    def __init__(self, outcome: Callable[[], SpanExportResult] = lambda: SpanExportResult.SUCCESS) -> None:
        self.batches: list[list[int]] = []
        self.outcome = outcome
        self.came = threading.Event()

    def export(self, batch: Sequence[int], /) -> SpanExportResult:
        self.batches.append(list(batch))
        self.came.set()
        return self.outcome()

    def shutdown(self) -> None:
        self.came.set()


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


def fail() -> SpanExportResult:
    return SpanExportResult.FAILURE


def blow_up() -> SpanExportResult:
    raise ValueError("no")


@pytest.mark.parametrize("outcome", [fail, blow_up])
def test_a_batch_that_cannot_be_sent_is_counted_and_a_flush_says_so(
    outcome: Callable[[], SpanExportResult],
) -> None:
    exporter = Exporter(outcome)
    with sending(exporter) as sender:
        sender.offer(1)
        assert not sender.flush(PATIENCE)
        assert sender.dropped == {"queue_full": 0, "export_failed": 1, "stopped": 0}
        exporter.outcome = lambda: SpanExportResult.SUCCESS
        sender.offer(2)
        assert sender.flush(PATIENCE)


def test_an_exporter_in_trouble_is_told_of_when_it_begins_and_when_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    exporters = logging.getLogger(__name__)

    def complain() -> SpanExportResult:
        for _ in range(5):
            exporters.warning("trying again")
        return SpanExportResult.FAILURE

    exporter = Exporter(complain)
    with sending(exporter) as sender:
        for number in range(3):
            sender.offer(number)
            assert not sender.flush(PATIENCE)
        exporters.warning("of somebody else")
        exporter.outcome = lambda: SpanExportResult.SUCCESS
        for number in range(2):
            sender.offer(number)
            assert sender.flush(PATIENCE)
    begun, other, over = [record.getMessage() for record in caplog.records]
    assert begun.startswith("numbers cannot be sent: trying again;")
    assert other == "of somebody else"
    assert over.startswith("numbers are sent again, after ")
    assert over.endswith("; 3 were given up, 15 lines of the exporter were held back")


def test_what_an_exporter_raises_is_told_once_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with sending(Exporter(blow_up)) as sender:
        for number in range(2):
            sender.offer(number)
            assert not sender.flush(PATIENCE)
    [told] = caplog.records
    assert told.getMessage().startswith("numbers cannot be sent: ValueError('no');")
    assert told.exc_info is not None


class ExporterElsewhere(Exporter):
    """One whose lines are nobody else's."""

    __module__ = f"{__name__}.elsewhere"


def test_nothing_is_held_back_after_the_end() -> None:
    exporters = logging.getLogger(ExporterElsewhere.__module__)
    before = set(threading.enumerate())
    with sending(ExporterElsewhere()) as sender:
        sender.offer(1)
        assert sender.flush(PATIENCE)
        [thread] = [one for one in set(threading.enumerate()) - before if one.name == "numbers"]
        assert len(exporters.filters) == 1
    thread.join(PATIENCE)
    assert exporters.filters == []


def test_an_exporter_that_never_answers_holds_up_neither_flush_nor_close_and_what_it_has_is_counted() -> None:
    over = threading.Event()

    def stand_still() -> SpanExportResult:
        over.wait()
        return SpanExportResult.FAILURE

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
