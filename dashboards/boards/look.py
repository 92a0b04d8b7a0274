"""How numbers look: units, colours, and from where on they are good or bad."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from dashboards.rules.thresholds import Steps as Steps
from dashboards.rules.thresholds import Thresholds


class Unit(StrEnum):
    """What a number counts, in Grafana's words."""

    number = "short"
    seconds = "s"
    share = "percentunit"
    per_second = "suffix:/s"
    runs_per_second = "suffix: runs/s"
    bytes = "bytes"
    cores = "suffix: cores"


THRESHOLDS = Thresholds()


def coloured(name: str) -> Steps:
    """The colours of this name in the file of thresholds; KeyError when it has none."""
    return THRESHOLDS.colours(name)


PLAIN = coloured("plain")
"""A number that is neither good nor bad."""
NONE_EXPECTED = coloured("none_expected")
"""Any at all is bad."""
FEW_EXPECTED = coloured("few_expected")
"""Any at all is worth a look."""
ONE_NEEDED = coloured("one_needed")
"""None at all is bad."""

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
