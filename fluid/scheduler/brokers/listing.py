"""Which runs are in a state, page by page, looked at many at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from fluid.scheduler.brokers import scripts
from fluid.scheduler.brokers.calls import Calls
from fluid.scheduler.brokers.keys import LETTERS, STREAM_CODES, Keys
from fluid.scheduler.moves import RunRecord
from fluid.scheduler.states import TaskState

Show = Callable[[str], Awaitable[RunRecord | None]]

PAGE = 500

_FAMILIES = {TaskState.scheduled: "scheduled", TaskState.held: "held", TaskState.dead: "dead"}


_BY_TIME = (TaskState.failure, TaskState.dead, TaskState.scheduled)
"""States whose sets are in the order of time."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Runs in this state, of this task, for this reason, from and until these instants; empty is any."""

    state: TaskState
    task: str = ""
    reason: str = ""
    since: float | None = None
    until: float | None = None

    def fits(self, task: bytes | None, reason: bytes | None) -> bool:
        """Whether a run of this task, there for this reason, is wanted."""
        return self.task.encode() in (b"", task) and self.reason.encode() in (b"", reason)

    def in_time(self, instant: bytes) -> bool:
        """Whether a run that became ready at this instant is wanted."""
        bounded = self.since is not None or self.until is not None
        return not bounded or (self.since or 0.0) <= float(instant) <= (self.until or float("inf"))

    @property
    def by_rank(self) -> bool:
        """Whether all that are wanted stand side by side in their sets, so that none has to be looked at."""
        bounded = self.since is not None or self.until is not None
        return not self.reason and not (bounded if self.state is TaskState.held else self.task)


@dataclass(slots=True)
class _Offset:
    """How many wanted runs are still to be left out."""

    left: int

    def of(self, there: int) -> int:
        """How many of the next ones that are there are left out."""
        out = min(self.left, there)
        self.left -= out
        return out


class Listing:
    """Finds runs. One can move while it is listed, so its record has the last word."""

    def __init__(self, keys: Keys, calls: Calls, show: Show) -> None:
        self._keys = keys
        self._calls = calls
        self._show = show

    async def page(self, wanted: Sequence[Wanted], *, limit: int, offset: int) -> list[RunRecord]:
        """At most `limit` wanted runs, one kind after the other, after the first `offset` of them."""
        found: list[RunRecord] = []
        out = _Offset(offset)
        for one in wanted:
            if len(found) >= limit:
                break
            async for run_id in self._ids(one, out, limit):
                record = await self._show(run_id)
                if record is not None and record.state is one.state:
                    found.append(record)
                if len(found) >= limit:
                    break
        return found

    async def _ids(self, wanted: Wanted, out: _Offset, most: int) -> AsyncIterator[str]:
        """Ids of wanted runs: newest first for failed and dead ones, else next first."""
        if wanted.state in (TaskState.queued, TaskState.running):
            pages = self._in_streams(wanted, out)
        elif wanted.state is TaskState.failure:
            pages = self._in_sets(wanted, ["failed"], out, most)
        elif wanted.state in _FAMILIES:
            names = [f"{_FAMILIES[wanted.state]}_{letter}" for letter in LETTERS]
            pages = self._in_sets(wanted, names, out, most)
        else:
            return
        async for page in pages:
            for run_id in page:
                yield run_id

    async def _in_sets(
        self, wanted: Wanted, names: Sequence[str], out: _Offset, most: int
    ) -> AsyncIterator[list[str]]:
        way = "ZREVRANGE" if wanted.state in (TaskState.failure, TaskState.dead) else "ZRANGE"
        step = min(PAGE, most) if wanted.by_rank else PAGE
        for name in names:
            start, end = await self._ranks(self._keys[name], wanted, reverse=way == "ZREVRANGE")
            if wanted.by_rank:
                start += out.of(end - start)
            while start < end:
                last = min(end, start + step) - 1
                members = await self._calls.command(way, self._keys[name], start, last)
                if not members:
                    break
                if wanted.by_rank:
                    yield [_id_in(member) for member in members]
                else:
                    ids = await self._sift(wanted, members)
                    yield ids[out.of(len(ids)) :]
                start += step

    async def _sift(self, wanted: Wanted, members: Sequence[bytes]) -> list[str]:
        """The ids among these members that are wanted."""
        if wanted.state is TaskState.held:
            members = [member for member in members if wanted.in_time(member.split(b"\0")[2])]
        ids = [_id_in(member) for member in members]
        seen = await self._calls.ask(scripts.PEEK, ids)
        return [
            run_id
            for run_id, (at, task, reason) in zip(ids, seen, strict=True)
            if at == wanted.state.encode() and wanted.fits(task, reason)
        ]

    async def _ranks(self, key: str, wanted: Wanted, *, reverse: bool) -> tuple[int, int]:
        """From which rank up to which a set has to be looked at."""
        if wanted.state in _BY_TIME and (wanted.since is not None or wanted.until is not None):
            since = "-inf" if wanted.since is None else wanted.since
            until = "+inf" if wanted.until is None else wanted.until
            before, after = ("-inf", f"({since}"), (f"({until}", "+inf")
            start = await self._calls.command("ZCOUNT", key, *(after if reverse else before))
            return start, start + await self._calls.command("ZCOUNT", key, since, until)
        if wanted.state is TaskState.held and wanted.task:
            first, last = f"[{wanted.task}\0", f"({wanted.task}\1"
            start = await self._calls.command("ZLEXCOUNT", key, "-", f"({wanted.task}\0")
            return start, start + await self._calls.command("ZLEXCOUNT", key, first, last)
        return 0, await self._calls.command("ZCARD", key)

    async def _in_streams(self, wanted: Wanted, out: _Offset) -> AsyncIterator[list[str]]:
        running = wanted.state is TaskState.running
        for code in STREAM_CODES:
            key, start = self._keys[f"stream_{code}"], "-"
            while entries := await self._calls.command("XRANGE", key, start, "+", "COUNT", PAGE):
                tokens = [f"{code}/{entry.decode()}" for entry, _ in entries]
                leased = await self._calls.command("ZMSCORE", self._keys["leases"], *tokens)
                found = [dict(zip(fields[::2], fields[1::2], strict=True)) for _, fields in entries]
                ids = [
                    run[b"id"].decode()
                    for run, lease in zip(found, leased, strict=True)
                    if (lease is not None) is running
                    and wanted.fits(run[b"task"], b"")
                    and wanted.in_time(run.get(b"ready") or run[b"queued"])
                ]
                yield ids[out.of(len(ids)) :]
                start = "(" + entries[-1][0].decode()


def _id_in(member: bytes) -> str:
    return member.rpartition(b"\0")[2].decode()
