"""Which runs are in a state, page by page, looked at many at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fluid.scheduler.brokers.keys import LETTERS, STREAM_CODES, Keys
from fluid.scheduler.states import TaskState

Command = Callable[..., Awaitable[Any]]
Peek = Callable[[Sequence[str]], Awaitable[list[list[bytes | None]]]]

PAGE = 500

_FAMILIES = {TaskState.scheduled: "scheduled", TaskState.held: "held", TaskState.dead: "dead"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Runs in this state, of this task, for this reason; an empty word is any."""

    state: TaskState
    task: str = ""
    reason: str = ""

    def fits(self, task: bytes | None, reason: bytes | None) -> bool:
        """Whether a run of this task, there for this reason, is wanted."""
        return self.task.encode() in (b"", task) and self.reason.encode() in (b"", reason)


class Listing:
    """Finds runs. One can move while it is listed, so its record has the last word."""

    def __init__(self, keys: Keys, command: Command, peek: Peek) -> None:
        self._keys = keys
        self._command = command
        self._peek = peek

    async def ids(self, wanted: Wanted) -> AsyncIterator[str]:
        """Ids of wanted runs: newest first for failed and dead ones, else next first."""
        if wanted.state in (TaskState.queued, TaskState.running):
            pages = self._in_streams(wanted)
        elif wanted.state is TaskState.failure:
            pages = self._in_sets(wanted, ["failed"])
        elif wanted.state in _FAMILIES:
            pages = self._in_sets(wanted, [f"{_FAMILIES[wanted.state]}_{letter}" for letter in LETTERS])
        else:
            return
        async for page in pages:
            for run_id in page:
                yield run_id

    async def _in_sets(self, wanted: Wanted, names: Sequence[str]) -> AsyncIterator[list[str]]:
        way = "ZREVRANGE" if wanted.state in (TaskState.failure, TaskState.dead) else "ZRANGE"
        for name in names:
            start = 0
            while members := await self._command(way, self._keys[name], start, start + PAGE - 1):
                ids = [member.rpartition(b"\0")[2].decode() for member in members]
                seen = await self._peek(ids)
                yield [
                    run_id
                    for run_id, (at, task, reason) in zip(ids, seen, strict=True)
                    if at == wanted.state.encode() and wanted.fits(task, reason)
                ]
                start += PAGE

    async def _in_streams(self, wanted: Wanted) -> AsyncIterator[list[str]]:
        running = wanted.state is TaskState.running
        for code in STREAM_CODES:
            key, start = self._keys[f"stream_{code}"], "-"
            while entries := await self._command("XRANGE", key, start, "+", "COUNT", PAGE):
                tokens = [f"{code}/{entry.decode()}" for entry, _ in entries]
                leased = await self._command("ZMSCORE", self._keys["leases"], *tokens)
                found = [dict(zip(fields[::2], fields[1::2], strict=True)) for _, fields in entries]
                yield [
                    run[b"id"].decode()
                    for run, lease in zip(found, leased, strict=True)
                    if (lease is not None) is running and wanted.fits(run[b"task"], b"")
                ]
                start = "(" + entries[-1][0].decode()
