"""How numbers look: units, colours, and from where on they are good or bad."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

Steps = tuple[tuple[float | None, str], ...]
"""From which value on which colour; the first one has no value."""


class Unit(StrEnum):
    """What a number counts, in Grafana's words."""

    number = "short"
    seconds = "s"
    share = "percentunit"
    per_second = "suffix:/s"
    runs_per_second = "suffix: runs/s"
    bytes = "bytes"
    cores = "suffix: cores"


GOOD, WATCH, BAD, CALM = "green", "orange", "red", "blue"

PLAIN: Steps = ((None, CALM),)
"""A number that is neither good nor bad."""
NONE_EXPECTED: Steps = ((None, GOOD), (0.000001, BAD))
"""Any at all is bad."""
FEW_EXPECTED: Steps = ((None, GOOD), (0.000001, WATCH))
"""Any at all is worth a look."""
ONE_NEEDED: Steps = ((None, BAD), (1, GOOD))
"""None at all is bad."""


def rising(watch: float, bad: float) -> Steps:
    """The more, the worse."""
    return ((None, GOOD), (watch, WATCH), (bad, BAD))


def falling(watch: float, good: float) -> Steps:
    """The more, the better."""
    return ((None, BAD), (watch, WATCH), (good, GOOD))


COLOURS: Mapping[str, str] = {
    "success": "green",
    "failure": "red",
    "aborted": "yellow",
    "lost": "dark-red",
    "queued": "blue",
    "accepted": "blue",
    "started": "purple",
    "ready": "blue",
    "running": "green",
    "scheduled": "purple",
    "held": "orange",
    "dead": "red",
    "high": "red",
    "medium": "orange",
    "low": "blue",
    "p50": "green",
    "p95": "orange",
    "p99": "red",
    "slots": "blue",
    "busy": "orange",
}
"""A word that is the name of a series has the same colour on every board."""
