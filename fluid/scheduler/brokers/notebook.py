"""The notes of a queue, in one hash."""

from __future__ import annotations

from collections.abc import Sequence

from fluid.errors import BrokerError, PayloadTooLargeError
from fluid.scheduler.brokers import scripts
from fluid.scheduler.brokers.calls import Calls, new_nonce
from fluid.scheduler.brokers.keys import Keys
from fluid.scheduler.brokers.records import milliseconds
from fluid.scheduler.notes import LARGEST_NOTE, MOST_NOTES, Note, Noted, Notes

PATIENCE = 2.0
"""Seconds for which a call is tried while the broker is away; whoever calls has to decide alone then."""


class Notebook(Notes):
    """Reads and writes as questions are asked."""

    def __init__(self, keys: Keys, calls: Calls) -> None:
        self._keys = keys
        self._calls = calls

    async def read(self) -> Noted:
        now = await self._calls.command("TIME", seconds=PATIENCE)
        kept = await self._calls.command("HGETALL", self._keys["notes"], seconds=PATIENCE)
        return read_noted(int(now[0]) + int(now[1]) / 1e6, kept)

    async def write(self, name: str, value: bytes, *, instead_of: Note | None, ttl: float) -> bool:
        if len(value) > LARGEST_NOTE:
            raise PayloadTooLargeError(f"note {name!r}", len(value), LARGEST_NOTE)
        before = instead_of.version if instead_of else ""
        words = (name, before, new_nonce(), milliseconds(ttl), MOST_NOTES, value)
        answer = await self._calls.ask(scripts.NOTE, words, PATIENCE)
        if answer < 0:
            raise BrokerError(f"the queue has {MOST_NOTES} notes already: {name!r} is one too many")
        return bool(answer)


def read_noted(now: float, kept: Sequence[bytes]) -> Noted:
    """The notes in the hash that have not expired."""
    notes = {}
    for name, line in zip(kept[::2], kept[1::2], strict=True):
        version, expires, value = line.split(b" ", 2)
        if int(expires) > now * 1000:
            notes[name.decode()] = Note(version.decode(), value)
    return Noted(now, notes)
