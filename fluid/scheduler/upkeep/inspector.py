"""Is the broker fit to keep runs?"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from fluid.scheduler.announcing import Announcer
from fluid.scheduler.broker import TaskBroker
from fluid.scheduler.moves import BrokerReport, Durability
from fluid.scheduler.upkeep.agent import Upkeep

logger = logging.getLogger("fluid")

INSPECT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Band:
    """Too much is above `most`, and all right again only at `fine` or below: no to and fro between."""

    most: float
    fine: float

    def exceeded(self, measure: float, before: bool) -> bool:
        """Whether it is too much, given whether it was `before`."""
        return measure > (self.fine if before else self.most)


MEMORY = Band(most=0.9, fine=0.8)
"""Of the memory that the server may use. When it is full it takes no runs any more."""

CLOCK = Band(most=1.0, fine=0.5)
"""Seconds between the server's clock and ours."""

EXPLAINED = {
    "eviction": "it may evict keys when memory is full, and with them runs: set maxmemory-policy noeviction",
    "not_durable": "without an append-only file a restart takes runs back: set appendonly yes, or "
    "FLUID_BROKER_DURABLE=false where that is meant",
    "memory": "its memory is nearly full, and then it takes no runs: raise maxmemory, or find what fills it",
    "replica": "it is a replica, which takes no runs: name the primary in the broker URL",
    "clock_offset": "its clock and ours differ, so runs for an instant or with `expires` come early or late: "
    "synchronise both",
}
"""What each danger means: what may come of it, a colon, and what to do."""


class Inspector(Upkeep):
    """Looks when it starts, and then twice a minute. A danger is told when it appears and when it passes.

    That nothing is kept is none where it is meant: without `durable`, and of an embedded server without a
    directory, which has said so where it was started.
    """

    def __init__(self, *, broker: TaskBroker, announcer: Announcer, durable: bool = True) -> None:
        super().__init__(name="inspector", interval=INSPECT_SECONDS)
        self._broker = broker
        keeps = durable and not broker.url.startswith("embedded://")
        self._meant = frozenset() if keeps else frozenset({"not_durable"})
        self._announcer = announcer
        self.report: BrokerReport | None = None
        """What the last look told; None before the first."""
        self.dangers: frozenset[str] = frozenset()
        """How runs can be lost or refused, by the last look."""

    async def run(self) -> None:
        await self.pass_over()
        await super().run()

    async def once(self) -> None:
        self.report = await self._broker.inspect()
        before, self.dangers = self.dangers, dangers_in(self.report, self.dangers) - self._meant
        for danger in sorted(self.dangers - before):
            logger.warning(
                "the broker at %s is unsafe: %s",
                self._broker.url,
                EXPLAINED[danger],
                extra={"event": "broker_unsafe"},
            )
            self._announcer.announce("broker_unsafe", reason=danger)
        for danger in sorted(before - self.dangers):
            logger.warning(
                "the broker at %s is no longer unsafe: %s has passed",
                self._broker.url,
                danger,
                extra={"event": "broker_safe"},
            )
            self._announcer.announce("broker_safe", reason=danger)
        await (
            self._broker.snapshot()
        )  # by its total, a consumer that is too busy to claim knows a broker gone back


def dangers_in(report: BrokerReport, before: frozenset[str]) -> frozenset[str]:
    """What is dangerous, given what was so `before`; reasons of `broker_unsafe`."""
    share = report.memory_used / report.memory_limit if report.memory_limit else 0.0
    found = {
        "eviction": report.evicts,
        "not_durable": report.durability in (Durability.none, Durability.rdb),
        "memory": MEMORY.exceeded(share, "memory" in before),
        "replica": report.replica,
        "clock_offset": CLOCK.exceeded(abs(report.clock_offset), "clock_offset" in before),
    }
    return frozenset(danger for danger, there in found.items() if there)
