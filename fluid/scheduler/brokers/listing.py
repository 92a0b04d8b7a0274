"""Which runs are in a state, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from fluid.scheduler.brokers.keys import LETTERS, STREAM_CODES, Keys
from fluid.scheduler.states import TaskState

Command = Callable[..., Awaitable[Any]]

PAGE = 200

_FAMILIES = {TaskState.scheduled: "scheduled", TaskState.held: "held", TaskState.dead: "dead"}


def ids_in(state: TaskState, keys: Keys, command: Command) -> AsyncIterator[str]:
    """Ids of runs that may be in this state: newest first for failed and dead ones, else next first.

    A run can move while it is listed, so its record has the last word.
    """
    if state in (TaskState.queued, TaskState.running):
        return _in_streams(keys, command)
    if state is TaskState.failure:
        names = ["failed"]
    elif state in _FAMILIES:
        names = [f"{_FAMILIES[state]}_{letter}" for letter in LETTERS]
    else:
        names = []
    way = "ZREVRANGE" if state in (TaskState.failure, TaskState.dead) else "ZRANGE"
    return _in_sets([keys[name] for name in names], way, command)


async def _in_sets(keys: list[str], way: str, command: Command) -> AsyncIterator[str]:
    for key in keys:
        start = 0
        while members := await command(way, key, start, start + PAGE - 1):
            for member in members:
                yield member.rpartition(b"\0")[2].decode()
            start += PAGE


async def _in_streams(keys: Keys, command: Command) -> AsyncIterator[str]:
    for code in STREAM_CODES:
        start = "-"
        while entries := await command("XRANGE", keys[f"stream_{code}"], start, "+", "COUNT", PAGE):
            for _, fields in entries:
                yield fields[fields.index(b"id") + 1].decode()
            start = "(" + entries[-1][0].decode()
