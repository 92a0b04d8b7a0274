"""What people are told, whatever it is sent through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Status(StrEnum):
    """Why a notice is sent."""

    firing = "firing"
    """An incident has begun."""
    repeated = "repeated"
    """It goes on."""
    resolved = "resolved"
    """All is well again."""
    trial = "trial"
    """Nothing has happened: somebody tries the channels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One message about one incident."""

    status: Status
    condition: str
    severity: str
    words: str
    """What it is about."""
    queue: str
    labels: Mapping[str, str] = field(default_factory=dict)
    """What sets the incident apart from others of its condition."""
    count: int = 0
    """How often it has happened since the incident began."""
    began: datetime
    at: datetime
    lasts_until: datetime
    """When whoever has heard no more may take it for over."""
    evidence: Mapping[str, str] = field(default_factory=dict)
    """The newest occurrence: `task`, `run`, `reason`, `error`, `consumer`."""
    runbook_url: str = ""
    sender: str = ""
    """The process that tells."""
    alone: bool = False
    """The broker was away, so other processes may tell the same."""

    @property
    def summary(self) -> str:
        """All in one line."""
        about = ", ".join(f"{name} {value}" for name, value in self.labels.items() if value)
        where = f" ({about})" if about else ""
        told = {
            Status.firing: f"{self.words}{where}",
            Status.repeated: f"still: {self.words}{where}",
            Status.resolved: f"{self.words}{where}",
            Status.trial: "a trial notice: nothing has happened",
        }
        return f"[{self.queue}] {told[self.status]}"

    @property
    def details(self) -> list[str]:
        """What else there is to know, line by line."""
        lines = []
        if self.count:
            times = "once" if self.count == 1 else f"{self.count} times"
            lines.append(f"{times} since {self.began:%Y-%m-%d %H:%M:%S} UTC")
        lines += [f"{name}: {value}" for name, value in self.evidence.items()]
        if "run" in self.evidence:
            lines.append(f"look: fluid runs show {self.evidence['run']}")
        if self.runbook_url:
            lines.append(f"what to do: {self.runbook_url}")
        if self.alone:
            lines.append(f"the broker is away: {self.sender} tells this alone, and others may tell it too")
        return lines
