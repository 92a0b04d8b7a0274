"""What tasks really did, written down by the tasks themselves, apart from the product's own books."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fluid.clock import elapsed, timestamp
from tests.support.waiting import poll


class Entry(msgspec.Struct, frozen=True):
    """One thing that one attempt of a run did."""

    run_id: str
    task: str
    what: str
    attempt: int
    pid: int
    elapsed: float
    """Seconds on the machine's monotonic clock: comparable between its processes."""
    timestamp: float
    """Seconds since the epoch."""


@dataclass(frozen=True)
class Ledger:
    """A file that many processes append to, one whole line at a time; only its path travels."""

    path: Path

    def write(self, run_id: str, task: str, what: str, attempt: int = 1) -> None:
        """Append an entry; it is there, whole, when this returns, whatever then happens to the process."""
        entry = Entry(run_id, task, what, attempt, os.getpid(), elapsed(), timestamp())
        line = msgspec.json.encode(entry) + b"\n"
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            written = os.write(file, line)
        finally:
            os.close(file)
        assert written == len(line), f"the ledger took {written} of {len(line)} bytes"

    def entries(self, what: str | None = None) -> list[Entry]:
        """All entries in the order they were written, or those of one kind."""
        if not self.path.exists():
            return []
        # What comes after the last line end is still being written.
        lines, _, _ = self.path.read_bytes().rpartition(b"\n")
        entries = [msgspec.json.decode(line, type=Entry) for line in lines.splitlines()]
        return [entry for entry in entries if what in (None, entry.what)]

    def counts(self) -> Counter[str]:
        """How many entries there are of each kind."""
        return Counter(entry.what for entry in self.entries())

    def duplicates(self, what: str) -> dict[str, int]:
        """The runs that did this more than once, and how often."""
        times = Counter(entry.run_id for entry in self.entries(what))
        return {run_id: count for run_id, count in times.items() if count > 1}

    async def wait_for(self, count: int, what: str | None = None) -> list[Entry]:
        """The entries (of one kind), once there are at least `count`."""

        async def look() -> list[Entry]:
            return self.entries(what)

        return await poll(
            look, lambda entries: len(entries) >= count, f"{count} entries of {what or 'any kind'}"
        )
