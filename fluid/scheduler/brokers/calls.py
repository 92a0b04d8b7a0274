"""How a move is made: its words, its tries, and how long one of them may take."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from fluid.clock import elapsed
from fluid.scheduler.brokers.channel import ANSWER_SECONDS, Channel, Word
from fluid.scheduler.brokers.hindsight import Flush, Hindsight
from fluid.scheduler.brokers.keys import Keys
from fluid.scheduler.brokers.link import Link
from fluid.scheduler.brokers.records import milliseconds
from fluid.scheduler.brokers.scripts import Script
from fluid.scheduler.meanwhile import Work, nothing
from fluid.scheduler.moves import Rewound

T = TypeVar("T")

ASK_SECONDS = 10.0
"""How long a question (a snapshot, a run, a cancel) is tried again while the broker is away."""

LOOK_SECONDS = 0.1
"""What one look at a run may take, though nobody has the patience to wait for its end."""

LONGEST_TRY = 60.0
"""More than any one try takes."""

LONGEST_KEPT = 86400.0
"""An outcome is told until it is answered, so the answer has to outlive every outage that a consumer sits
out, which the record of a success without a result does not. It is one a process: a day costs little."""

LEAST_KEPT = 600.0
"""Whoever flushes again within so long learns whether the broker still knows of the last time. Processes that
queue once and end leave an answer each, so it is no day."""


class Calls:
    """Makes the moves of one queue over its link."""

    def __init__(self, link: Link, keys: Keys, rewound: Sequence[Callable[[Rewound], None]]) -> None:
        self._link = link
        self._keys = keys
        self.hindsight = Hindsight(rewound)
        """What every answer is held against."""
        self._caller = new_nonce()
        self.asking = link.channel()
        """The channel of questions, which nobody waits behind for long."""

    async def move(
        self, channel: Channel, script: Script, arguments: Sequence[Word], *, deadline: float | None
    ) -> Any:
        """The answer of a script that may arrive twice as it is."""
        words = script.command(self._keys, arguments)

        async def attempt() -> Any:
            return await channel.script(script, words, timeout=_seconds_until(deadline))

        return await self._link.persist(script.name, attempt, deadline)

    async def flush(
        self,
        what: str,
        channel: Channel,
        script: Script,
        arguments: Sequence[Word],
        *,
        deadline: float | None = None,
        once_sent: bool = False,
        meanwhile: Work = nothing,
    ) -> tuple[float, list[Any]]:
        """When a script was carried out that keeps its last answer, and what it says of each item.

        It takes who calls, a nonce, `again`, `keep` and how many answers are known, and tells first when that
        was, how many there were, and the total of accepted runs.
        """
        nonce, again, keep = new_nonce(), 0, milliseconds(_kept_for(deadline))
        asked = first = self.hindsight.known

        async def attempt() -> Any:
            nonlocal again, asked
            asked = self.hindsight.known.asked_again(first)
            answers = asked.flushes[what].count if what in asked.flushes else 0
            words = script.command(self._keys, (self._caller, nonce, again, keep, answers, *arguments))
            again = 1  # another try must not take what this one has done for another's doing
            return await channel.script(script, words, meanwhile=meanwhile)

        now, count, accepted, *items = await self._link.persist(
            script.name, attempt, deadline, once_sent=once_sent, meanwhile=meanwhile
        )
        kept = LONGEST_KEPT if deadline is None else LEAST_KEPT
        self.hindsight.hear(asked, accepted, Flush(what, count, now, milliseconds(kept)))
        return now, items

    async def ask(self, script: Script, arguments: Sequence[Word], seconds: float = ASK_SECONDS) -> Any:
        """The answer to a question, within so many seconds."""
        return await self.move(self.asking, script, arguments, deadline=elapsed() + seconds)

    async def command(self, *words: Word, seconds: float = ASK_SECONDS) -> Any:
        """The answer to a plain command, within so many seconds."""
        deadline = elapsed() + seconds

        async def attempt() -> Any:
            return await self.asking.call(*words, timeout=_seconds_until(deadline))

        return await self._link.persist(str(words[0]).lower(), attempt, deadline)


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """So many at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))


def new_nonce() -> str:
    """A word by which a broker knows a call again."""
    return os.urandom(8).hex()


def _kept_for(deadline: float | None) -> float:
    """How long the broker keeps an answer: longer than it may be asked for again."""
    if deadline is None:
        return LONGEST_KEPT
    return min(LONGEST_KEPT, max(LEAST_KEPT, deadline - elapsed() + LONGEST_TRY))


def _seconds_until(deadline: float | None) -> float:
    """What one try may take, so that it ends with the caller's patience."""
    return (
        ANSWER_SECONDS if deadline is None else min(ANSWER_SECONDS, max(LOOK_SECONDS, deadline - elapsed()))
    )
