"""The way of notices to one channel: a bounded queue, a few tries, and nobody else waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiohttp import ClientSession

from fluid.workers import QueueConsumer
from telemetry import names
from telemetry.alerts.channels.channel import Channel, DeliveryError
from telemetry.alerts.notices import Notice
from telemetry.series import Block

MOST_WAITING = 100
"""Notices that wait for one channel; the oldest gives way."""

TRIES = 3

FIRST_PAUSE = 1.0
"""Seconds before the second try; twice as many before the third."""

DELIVERY_SECONDS = 20.0
"""What all tries of one notice may take together."""

logger = logging.getLogger("telemetry")

OnTaken = Callable[[Notice], None]


class AlertSeries(Block):
    """What is counted of alerts."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = self.counts(names.ALERTS_SENT)
        self.failed = self.counts(names.ALERTS_FAILED)
        self.suppressed = self.counts(names.ALERTS_SUPPRESSED)


class Outbox(QueueConsumer[Notice]):
    """Delivers notices to one channel, one after the other; tells `on_taken` of each that was taken."""

    def __init__(self, channel: Channel, number: int, series: AlertSeries, on_taken: OnTaken) -> None:
        super().__init__(
            name=f"alerts-{number}-{channel.type}",
            critical=False,
            max_size=MOST_WAITING,
            stage=-30,
            stopping_grace_period=DELIVERY_SECONDS,
        )
        self._channel = channel
        self._series = series
        self._on_taken = on_taken
        self._idle = asyncio.Event()
        self._idle.set()

    def send(self, message: Notice) -> None:
        """Have a notice delivered; returns at once."""
        self._idle.clear()
        super().send(message)

    async def wait_until_idle(self) -> None:
        """Until nothing waits and nothing is under way."""
        await self._idle.wait()

    async def run(self) -> None:
        """Deliver until asked to stop and nothing is left."""
        async with ClientSession() as http:
            while (notice := await self.get_message()) is not None:
                await self._deliver(notice, http)
                if not self.queue_size():
                    self._idle.set()

    def on_dropped(self, message: Notice) -> None:
        """Count what had no room to wait."""
        self._failed(f"too many wait, so it was dropped: {message.summary}")

    async def _deliver(self, notice: Notice, http: ClientSession) -> None:
        limit = asyncio.timeout(DELIVERY_SECONDS)
        try:
            async with limit:
                await self._try(notice, http)
        except DeliveryError as error:
            self._failed(str(error))
        except Exception as error:  # noqa: BLE001 - its kind is logged, and it is counted
            if limit.expired():
                self._failed(f"not delivered within {DELIVERY_SECONDS:g} s")
            else:
                # its text may hold what no log may show
                self._failed(f"it raised {type(error).__name__}")
        else:
            self._series.sent.add(self._channel.type)
            self._on_taken(notice)

    async def _try(self, notice: Notice, http: ClientSession) -> None:
        for attempt in range(1, TRIES + 1):
            try:
                await self._channel.deliver(notice, http)
            except DeliveryError as error:
                if not error.again or attempt == TRIES or self.is_stopping():
                    raise
                await self.wait_for_stop(FIRST_PAUSE * 2 ** (attempt - 1))
            else:
                return

    def _failed(self, why: str) -> None:
        self._series.failed.add(self._channel.type)
        logger.error("the %s at %s did not take a notice: %s", self._channel.type, self._channel.place, why)
