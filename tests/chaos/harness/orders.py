"""What a process of the fleet is told on its command line, and where it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from tests.support.ledger import Ledger

Role = Literal["producer", "consumer", "scheduler"]

KEPT_SECONDS = 86_400.0
"""How long results are kept, so that every run can be looked up at the end."""


class Orders(msgspec.Struct, frozen=True):
    """One process of the fleet."""

    name: str
    role: Role
    url: str
    directory: str
    seed: int
    lease: float
    pace: float = 0.0
    """Runs a second that a producer queues."""
    skew: float = 0.0
    """Seconds by which its clock is ahead."""

    @property
    def ledgers(self) -> Ledgers:
        return Ledgers(Path(self.directory))


class Ledgers:
    """Three books that know nothing of each other, nor of the broker's."""

    def __init__(self, directory: Path) -> None:
        self.bodies = Ledger(directory / "bodies.jsonl")
        """`begin`, `done`, `failed` and `early`, by the bodies of runs."""
        self.producers = Ledger(directory / "producers.jsonl")
        """`queue` before a run is sent, then `accepted` or `refused`, and `cancel` when that is asked."""
        self.events = Ledger(directory / "events.jsonl")
        """What processes announced, by the names of the events."""
