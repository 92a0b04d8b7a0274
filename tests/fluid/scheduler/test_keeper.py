"""The thread that keeps leases: when it ends before its time, the consumer knows."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fluid.errors import WorkerError
from fluid.scheduler import TaskConsumer
from fluid.scheduler.broker import ConsumerInfo
from fluid.scheduler.moves import Renewal


class BreaksLater:
    """A renewer that meets what nobody has thought of."""

    def __init__(self) -> None:
        self.closed = False

    def renew(
        self, consumer: str, lease: float, about: ConsumerInfo, runs: Sequence[tuple[str, str]]
    ) -> list[Renewal]:
        raise LookupError("an answer that nobody knows")

    def close(self) -> None:
        self.closed = True


async def test_a_thread_that_ends_unasked_stops_the_consumer_with_the_reason(
    broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewer = BreaksLater()
    consumer = TaskConsumer(broker_url=broker_url)
    monkeypatch.setattr(consumer.broker, "renewer", lambda: renewer)
    await consumer.safe_run()
    assert consumer.exit_code == 1
    assert "keeper" in consumer.exit_reason
    assert "an answer that nobody knows" in consumer.exit_reason
    assert isinstance(consumer.error, WorkerError)
    assert renewer.closed
