"""The alerts of one host: its handlers hear, this worker settles, outboxes deliver."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

from fluid.scheduler import Event, TaskManager
from fluid.workers import Worker
from telemetry.alerts.config import Alerts
from telemetry.alerts.grouping import Grouping
from telemetry.alerts.notices import Notice
from telemetry.alerts.outbox import AlertSeries, Outbox
from telemetry.series import Row, rows_of

HANDLER = "telemetry.alerts"
"""The name that our handlers are registered with."""

GATHER_SECONDS = 0.2
"""How long what was heard waits for more of its kind."""

LOOK_SECONDS = 5.0
"""How often the fleet's incidents are looked at when nothing is heard: one may be over, or due again."""

LAST_DELIVERIES = 5.0
"""Seconds that a stop waits for the notices that are under way."""

logger = logging.getLogger("telemetry")


class Notifier(Worker):
    """Tells people, once for the whole fleet. It hears through async handlers, like any handler of a user.

    Without `alerts` it only counts nothing, so that its series are there.
    """

    def __init__(self, host: TaskManager, alerts: Alerts | None) -> None:
        super().__init__(name="alerts", critical=False, stage=-20)
        self._host = host
        self._series = AlertSeries()
        self._alerts = alerts
        self._wake = asyncio.Event()
        self._registered: set[str] = set()
        self._outboxes: list[Outbox] = []
        self._grouping: Grouping | None = None
        if alerts is not None:
            self._grouping = Grouping(host, alerts, self._series, self._tell)
            self._outboxes = [
                Outbox(channel, number, self._series, self._taken)
                for number, channel in enumerate(alerts.channels, 1)
            ]

    @property
    def workers(self) -> list[Worker]:
        """What has to run; nothing without alerts."""
        return [self, *self._outboxes] if self._grouping else []

    def rows(self) -> Iterator[Row]:
        """What was counted."""
        yield from rows_of({(): self._series})

    # -- hearing ---------------------------------------------------------------------------

    def listen(self) -> None:
        """Hear what there are conditions on."""
        self._hear_only(self._events())

    def stop_listening(self) -> None:
        """Hear no more."""
        self._hear_only(set())

    def _events(self) -> set[str]:
        if self._alerts is None or self._grouping is None:
            return set()
        conditions = self._alerts.conditions
        lasting = {condition.ended_by for condition in conditions if condition.goes_on}
        return {condition.event for condition in conditions} | lasting | self._grouping.awaited()

    def _hear_only(self, events: set[str]) -> None:
        for event in events - self._registered:
            self._host.register_async_handler(f"{event}.{HANDLER}", self._heard)
        for event in self._registered - events:
            self._host.unregister_async_handler(f"{event}.{HANDLER}")
        self._registered = set(events)

    async def _heard(self, event: Event) -> None:
        if self._grouping is not None:
            self._grouping.hear(event)
            self._wake_if_in_hand()

    # -- telling ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Settle what was heard, until asked to stop; what is heard by then is told."""
        if self._grouping is None:
            return
        self._warn_of_strangers()
        while not self.is_stopping():
            await self._pause()
            if await self._grouping.settle():
                self._wake.set()
            if self._registered:
                self._hear_only(self._events())
        try:
            async with asyncio.timeout(LAST_DELIVERIES):
                for outbox in self._outboxes:
                    await outbox.wait_until_idle()
        except TimeoutError:
            logger.warning("the stop does not wait any longer for notices that are under way")
        if self._grouping.in_hand:
            await self._grouping.settle()

    def gracefully_stop(self) -> None:
        """Ask it to stop, after it has told what it has heard."""
        super().gracefully_stop()
        self._wake.set()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._wake.wait()
            await self.wait_for_stop(GATHER_SECONDS)
        except TimeoutError:
            return
        finally:
            self._wake.clear()

    def _tell(self, notice: Notice) -> None:
        for outbox in self._outboxes:
            outbox.send(notice)

    def _taken(self, notice: Notice) -> None:
        if self._grouping is not None:
            self._grouping.taken(notice)
            self._wake_if_in_hand()

    def _wake_if_in_hand(self) -> None:
        if self._grouping is not None and self._grouping.in_hand:
            self._wake.set()

    def _warn_of_strangers(self) -> None:
        named = (
            {task for condition in self._alerts.conditions for task in condition.tasks}
            if self._alerts
            else ()
        )
        if strangers := sorted(set(named) - set(self._host.registry)):
            logger.warning("alerts name tasks that are not registered here: %s", ", ".join(strangers))
