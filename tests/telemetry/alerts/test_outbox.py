"""A channel in trouble is tried a few times, counted, and holds up nobody else."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest

from telemetry.alerts import Webhook, outbox
from telemetry.alerts.channels import http as over_http
from telemetry.alerts.notices import Notice
from telemetry.alerts.outbox import TRIES, AlertSeries, Outbox
from tests.telemetry.alerts.conftest import notice
from tests.telemetry.alerts.receiving import Receiver


class Delivering:
    """An outbox that runs, and what became of its notices."""

    def __init__(self, url: str) -> None:
        self.series = AlertSeries()
        self.taken: list[Notice] = []
        self.outbox = Outbox(Webhook(url=f"{url}/hidden"), 1, self.series, self.taken.append)

    def counts(self) -> tuple[float, float]:
        """Sent and failed."""
        return self.series.sent["webhook"], self.series.failed["webhook"]

    async def send(self, *notices: Notice) -> None:
        """Send these, and wait until nothing is under way."""
        for one in notices:
            self.outbox.send(one)
        await self.outbox.wait_until_idle()


@pytest.fixture
async def delivering(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Delivering]:
    """To a receiver, with little patience."""
    monkeypatch.setattr(outbox, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(over_http, "TRY_SECONDS", 0.3)
    delivering = Delivering(receiver.url)
    async with delivering.outbox:
        yield delivering


async def test_what_was_taken_is_counted_and_told(receiver: Receiver, delivering: Delivering) -> None:
    one, other = notice(), notice(labels={"task": "ship"})
    await delivering.send(one, other)
    assert [told["labels"]["task"] for told in receiver.received] == ["charge", "ship"]
    assert delivering.counts() == (2, 0)
    assert delivering.taken == [one, other]


async def test_a_failing_webhook_is_tried_a_few_times_then_given_up(
    receiver: Receiver, delivering: Delivering, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.manner = "fail"
    await delivering.send(notice())
    assert len(receiver.received) == TRIES
    assert delivering.counts() == (0, 1)
    assert delivering.taken == []
    (line,) = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert line == f"the webhook at {receiver.url} did not take a notice: 500 Internal Server Error broken"
    receiver.manner = "take"
    await delivering.send(notice())
    assert delivering.counts() == (1, 1)


async def test_a_refusal_is_not_tried_again(receiver: Receiver, delivering: Delivering) -> None:
    receiver.manner = "refuse"
    await delivering.send(notice())
    assert len(receiver.received) == 1
    assert delivering.counts() == (0, 1)


async def test_a_hanging_webhook_is_given_up(
    receiver: Receiver, delivering: Delivering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "DELIVERY_SECONDS", 0.4)
    receiver.manner = "hang"
    await delivering.send(notice())
    assert delivering.counts() == (0, 1)


async def test_notices_that_wait_are_bounded_and_the_oldest_gives_way(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MOST_WAITING", 2)
    delivering = Delivering(receiver.url)
    for task in ("one", "two", "three"):
        delivering.outbox.send(notice(labels={"task": task}))
    assert delivering.counts() == (0, 1)
    async with delivering.outbox:
        await delivering.outbox.wait_until_idle()
    assert [told["labels"]["task"] for told in receiver.received] == ["two", "three"]


async def test_a_stop_still_delivers_what_waits(receiver: Receiver) -> None:
    delivering = Delivering(receiver.url)
    for _ in range(3):
        delivering.outbox.send(notice())
    async with delivering.outbox:
        pass
    assert len(receiver.received) == 3


async def test_a_channel_that_raises_anything_is_counted_and_its_words_are_not_logged(
    delivering: Delivering, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def raise_it(*_: object) -> str:
        raise RuntimeError("T0P-SECRET")

    monkeypatch.setattr(Webhook, "deliver", raise_it)
    await delivering.send(notice())
    assert delivering.counts() == (0, 1)
    assert "it raised RuntimeError" in caplog.text
    assert "T0P-SECRET" not in caplog.text
