"""Which runs are in a state, page by page: the server looks at many at once, and answers the wanted ones."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import dropwhile
from typing import NamedTuple

from fluid.errors import CursorError
from fluid.scheduler.brokers import scripts
from fluid.scheduler.brokers.calls import Calls
from fluid.scheduler.brokers.keys import LETTERS, STREAM_CODES
from fluid.scheduler.brokers.records import read_listed
from fluid.scheduler.moves import Page, RunRecord
from fluid.scheduler.states import TaskState

ANSWERED_AT_ONCE = 100
"""The most runs that one call answers."""

LOOKS_AT_ONCE = 1_000
"""How many runs of a sorted set one call looks at: a millisecond or two, in which nobody else is served."""

ENTRIES_AT_ONCE = 250
"""The same in a stream, where a look takes five times as long."""

_STREAMS = tuple(f"stream_{code}" for code in STREAM_CODES)
_LISTS: Mapping[TaskState, Sequence[str]] = {
    TaskState.failure: ["failed"],
    TaskState.dead: [f"dead_{letter}" for letter in LETTERS],
    TaskState.held: [f"held_{letter}" for letter in LETTERS],
    TaskState.scheduled: [f"scheduled_{letter}" for letter in LETTERS],
    TaskState.queued: _STREAMS,
    TaskState.running: _STREAMS,
}
"""Where the runs in a state are, in the order in which they are listed; runs in other states are not."""

_NEWEST_FIRST = (TaskState.failure, TaskState.dead)
_IN_STREAMS = (TaskState.queued, TaskState.running)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Runs of this task, there for this reason, from and until these instants; empty is any."""

    task: str = ""
    reason: str = ""
    since: float | None = None
    until: float | None = None


class _Spot(NamedTuple):
    """In the list of this name, of runs in this state, behind this member; at its beginning without one."""

    state: TaskState
    name: str
    member: bytes = b""

    def written(self) -> str:
        """As text that nobody needs to understand."""
        words = b"\0".join((self.state.encode(), self.name.encode(), self.member))
        return base64.urlsafe_b64encode(words).decode().rstrip("=")


def _read_spot(text: str, states: Sequence[TaskState]) -> _Spot:
    try:
        words = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        state, name, member = words.split(b"\0", 2)
        spot = _Spot(TaskState(state.decode()), name.decode(), member)
    except (binascii.Error, ValueError):
        raise CursorError(text) from None
    is_entry = re.fullmatch(rb"\d{1,20}-\d{1,20}", spot.member) is not None
    known = spot.state in states and spot.name in _LISTS.get(spot.state, ())
    if not known or not spot.member or (spot.state in _IN_STREAMS and not is_entry):
        raise CursorError(text)
    return spot


class Listing:
    """Finds runs. A page begins behind a run, not behind so many, so what comes and goes moves nothing."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def page(
        self, states: Sequence[TaskState], wanted: Wanted, *, limit: int, after: str
    ) -> Page[RunRecord]:
        """At most `limit` wanted runs, one state after the other, behind the page that answered `after`."""
        if limit < 1:
            return Page((), after)
        spots = [_Spot(state, name) for state in states for name in _LISTS.get(state, ())]
        if after:
            begin = _read_spot(after, states)
            spots = [begin, *list(dropwhile(lambda spot: spot[:2] != begin[:2], spots))[1:]]
        found: Page[RunRecord] = Page()
        last = None
        for spot in spots:
            async for at, record in self._runs(spot, wanted, limit + 1 - len(found)):
                if last and len(found) == limit:
                    found.after = last.written()
                    return found
                found.append(record)
                last = spot._replace(member=at)
        return found

    async def _runs(self, spot: _Spot, wanted: Wanted, most: int) -> AsyncIterator[tuple[bytes, RunRecord]]:
        """Wanted runs of one list, with the member of each."""
        in_stream = spot.state in _IN_STREAMS
        if in_stream and wanted.reason:
            return  # they are there for none
        first, last = _range(spot, wanted)
        behind: bytes = spot.member
        while True:
            answers = min(most, ANSWERED_AT_ONCE)
            looks = ENTRIES_AT_ONCE if in_stream else LOOKS_AT_ONCE
            words = (
                *(spot.name, spot.state, b"(" + behind if behind else first, last),
                *(wanted.task, wanted.reason, _number(wanted.since), _number(wanted.until)),
                *(answers if wanted == Wanted() else looks, answers),
            )
            behind, found = read_listed(await self._calls.ask(scripts.LIST, words))
            for one in found:
                yield one
            most -= len(found)
            if not behind or most <= 0:
                return


def _range(spot: _Spot, wanted: Wanted) -> tuple[bytes, bytes]:
    """Where, in the order of a list, wanted runs can be: nothing else is looked at."""
    low, high = b"-", b"+"
    if spot.state is TaskState.held:
        if wanted.task:
            low, high = f"[{wanted.task}\0".encode(), f"({wanted.task}\1".encode()
    elif spot.state not in _IN_STREAMS:
        if wanted.since is not None:
            low = b"[" + _in_time(wanted.since)
        if wanted.until is not None:
            high = b"(" + _in_time(wanted.until + 1)
    return (high, low) if spot.state in _NEWEST_FIRST else (low, high)


def _in_time(instant: float) -> bytes:
    """An instant as lists by time begin with it."""
    return b"%015d" % max(0, instant)


def _number(instant: float | None) -> str:
    return "" if instant is None else repr(instant)
