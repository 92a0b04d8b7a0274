"""Has the broker gone back in time? What it answers is held against what it had told this process before.

Its total of accepted runs never falls, and a caller's flushes (of runs, or of outcomes) are counted where the
last answer to it is kept. A total that fell, or a flush that is not counted any more, was taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from fluid.scheduler.moves import Rewound

SHORTER = 30_000.0
"""Milliseconds before its time from which on a count may be forgotten: the clock of a replica in the server's
place may be behind, and each reads its own twice."""


class Flush(msgspec.Struct, frozen=True):
    """What the broker told with a flush."""

    of: str
    """What was flushed: `runs` or `outcomes`."""
    count: int = 0
    """How many of this caller it knew, with this one."""
    now: float = 0.0
    """The instant, in milliseconds, by its clock."""
    kept: float = 0.0
    """Milliseconds for which it knows the count, at the least."""

    def forgets(self, before: Flush) -> bool:
        """Whether the one before is not counted here, though it is too early to forget it."""
        return self.now < before.now + before.kept - SHORTER and self.count <= before.count


class Known(NamedTuple):
    """What the broker has told until now."""

    accepted: int = 0
    """The most runs that it had ever accepted."""
    flushes: Mapping[str, Flush] = {}
    """The last of each kind."""
    rewinds: int = 0
    """How often it went back; what it told before that is known no more, so that each time is found once."""

    def asked_again(self, first: Known) -> Known:
        """What is known when a question is asked once more.

        Its answer may be the kept one of an earlier time, which tells the total of that time. When the broker
        went back meanwhile, nothing that was known before is a bound for that.
        """
        accepted = first.accepted if self.rewinds == first.rewinds else 0
        return self if self.accepted <= accepted else self._replace(accepted=accepted)


class Hindsight:
    """Tells listeners when the broker goes back."""

    def __init__(self, listeners: Sequence[Callable[[Rewound], None]]) -> None:
        self._listeners = listeners
        self.known = Known()

    def hear(self, asked: Known, accepted: int, flush: Flush | None = None) -> None:
        """Take an answer to what was asked when only `asked` was `known`.

        Answers on two connections may overtake each other, so one is held only against what was known before
        its question. One that was under way when another was found to come from a broker that went back tells
        nothing new, but it was given after that: the next time takes it back as well.
        """
        most, flushes, rewinds = self.known
        forgot = ""
        if asked.rewinds == rewinds:
            if accepted < asked.accepted:
                forgot = "runs"
            elif flush is not None and flush.of in asked.flushes and flush.forgets(asked.flushes[flush.of]):
                forgot = flush.of
            if forgot:
                most, flushes, rewinds = Known(rewinds=rewinds + 1)
            most = max(most, accepted)
        if flush is not None:
            flushes = {**flushes, flush.of: flush}
        self.known = Known(most, flushes, rewinds)
        if forgot:
            for listener in self._listeners:
                listener(Rewound(forgot, asked.accepted, accepted))
