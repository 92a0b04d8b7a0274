"""What processes agree on beside runs: small values, each replaced only by who knows the one that stands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

LARGEST_NOTE = 16 * 1024
"""Bytes of one note."""

MOST_NOTES = 500
"""Notes of one queue."""


@dataclass(frozen=True, slots=True)
class Note:
    """A value, and the version that whoever replaces it has to name."""

    version: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Noted:
    """Every note that stood at one instant."""

    now: float
    """The instant, in seconds since the epoch, by the broker's clock."""
    notes: Mapping[str, Note]


class Notes(ABC):
    """The notes of a queue. They are for what happens seldom, such as who tells of an incident."""

    @abstractmethod
    async def read(self) -> Noted:
        """Every note that stands. Raises `BrokerUnavailableError`, within seconds."""

    @abstractmethod
    async def write(self, name: str, value: bytes, *, instead_of: Note | None, ttl: float) -> bool:
        """Let this value stand for `ttl` seconds; False when another one stands than `instead_of` meanwhile.

        Of many who write at once, one is told True. Raises `PayloadTooLargeError`, `BrokerError` when there
        are too many notes, and `BrokerUnavailableError`, within seconds.
        """
