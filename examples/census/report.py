"""What could not be measured, in a file that a person can read."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path
from typing import Any

from examples.census.tasks import SourceFile
from fluid.scheduler import Event, TaskRun

MOST_SUBJECTS = 500
"""Above this, the one that has not failed for longest is forgotten."""


class FailureReport:
    """Keeps the newest failure of every file, and writes them all down whenever one comes in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._newest: dict[str, TaskRun[Any]] = {}
        self._times: Counter[str] = Counter()

    async def add(self, event: Event) -> None:
        """An async handler: it may take its time, for no run waits for it."""
        run = event.run
        if run is None:
            return
        subject = run.params.path if isinstance(run.params, SourceFile) else run.name
        self._newest.pop(subject, None)
        self._newest[subject] = run
        self._times[subject] += 1
        if len(self._newest) > MOST_SUBJECTS:
            forgotten = next(iter(self._newest))
            del self._newest[forgotten], self._times[forgotten]
        await asyncio.to_thread(self._write)

    def text(self) -> str:
        """The report, newest failure first."""
        entries = [self._entry(subject, run) for subject, run in reversed(self._newest.items())]
        return "\n".join([f"The census could not measure {len(entries)} files.\n", *entries])

    def _entry(self, subject: str, run: TaskRun[Any]) -> str:
        when = f"{run.end:%Y-%m-%d %H:%M:%S} UTC" if run.end else "an unknown time"
        return (
            f"{subject}\n"
            f"    {run.error}\n"
            f"    failed {self._times[subject]} times, last at {when}, in attempt {run.attempt}\n"
            f"    all that is known: fluid runs show {run.id}\n"
        )

    def _write(self) -> None:
        # Written beside and moved into place, so that nobody ever reads half a report.
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        draft.write_text(self.text(), encoding="utf-8")
        draft.replace(self.path)
