"""Is the broker fit to keep runs, and has it gone back in time?"""

from __future__ import annotations

import logging

from fluid.scheduler.announcing import Announcer
from fluid.scheduler.broker import TaskBroker
from fluid.scheduler.upkeep.agent import Upkeep

logger = logging.getLogger("fluid")

INSPECT_SECONDS = 30.0

_EXPLAINED = {
    "eviction": "it may evict keys when memory is full, and with them runs: set maxmemory-policy noeviction",
    "not_durable": "without an append-only file a restart takes runs back: set appendonly yes",
}


class Inspector(Upkeep):
    """Looks when it starts, and then twice a minute. Each danger is announced when it appears."""

    def __init__(self, *, broker: TaskBroker, announcer: Announcer) -> None:
        super().__init__(name="inspector", interval=INSPECT_SECONDS)
        self._broker = broker
        self._announcer = announcer
        self._known: frozenset[str] = frozenset()
        self._most_accepted = 0

    async def run(self) -> None:
        await self.pass_over()
        await super().run()

    async def once(self) -> None:
        dangers = frozenset(await self._broker.dangers())
        for danger in sorted(dangers - self._known):
            logger.warning(
                "the broker at %s is unsafe: %s",
                self._broker.url,
                _EXPLAINED[danger],
                extra={"event": "broker_unsafe"},
            )
            self._announcer.announce("broker_unsafe", reason=danger)
        self._known = dangers
        self.see_accepted((await self._broker.snapshot()).books.accepted)

    def see_accepted(self, accepted: int) -> None:
        """The books' total, as an answer told it: it falls only when the broker went back in time."""
        if accepted < self._most_accepted:
            facts = {"before": self._most_accepted, "after": accepted}
            logger.error(
                "the broker went back in time: it had accepted %(before)d runs, now %(after)d",
                facts,
                extra={"event": "broker_rewound"},
            )
            self._announcer.announce("broker_rewound", facts=facts)
        self._most_accepted = accepted
