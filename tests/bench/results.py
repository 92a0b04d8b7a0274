"""What was measured, as JSON and back, with medians and spreads."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

from tests.bench.contenders import BARE, EVERYTHING
from tests.bench.measuring import Figures


class Spread(NamedTuple):
    """The median of several rounds, and how far they lie apart."""

    half: float
    least: float
    most: float

    @classmethod
    def of(cls, values: list[float]) -> Spread | None:
        """None when nothing was measured."""
        return cls(median(values), min(values), max(values)) if values else None


class Row(msgspec.Struct):
    """A contender: every round of it, or why there is none."""

    name: str
    results: bool
    differs: str = ""
    rounds: list[Figures] = []
    fault: str = ""

    def spread(self, figure: str) -> Spread | None:
        """Of one of its figures."""
        return Spread.of([value for one in self.rounds if (value := getattr(one, figure)) is not None])

    def half(self, figure: str) -> float | None:
        """The median of one of its figures."""
        spread = self.spread(figure)
        return spread.half if spread else None


class Results(msgspec.Struct):
    """Everything that one call of `make bench` has measured."""

    date: str
    machine: str
    python: str
    server: str
    rounds: int
    scale: float
    versions: dict[str, list[str]]
    """What is installed for each environment."""
    rows: list[Row]
    parts: list[Row] = []
    """This project, with one part of telemetry more from row to row."""
    scaling: list[Row] = []
    """This project, with several processes."""
    backlog: list[Row] = []
    """This project, with much and little behind what is drained."""
    memory: dict[str, float] = {}
    """MiB of a consumer, by the runs that it has seen."""
    events: float = 0.0
    """Microseconds that it takes to tell a sync handler the events of a run."""

    def row(self, name: str) -> Row | None:
        """The row of this name, if it was measured."""
        return next((row for row in self.rows if row.name == name and row.rounds), None)

    def fastest(self, figure: str, *, results: bool | None = None, least: bool = False) -> Row | None:
        """The best peer in this figure: of those that store results, of those that do not, or of all."""
        able = [
            row
            for row in self.rows
            if row.name not in (EVERYTHING, BARE)
            and row.half(figure) is not None
            and results in (None, row.results)
        ]
        return (min if least else max)(able, key=lambda row: row.half(figure) or 0.0, default=None)

    def write(self, path: Path) -> None:
        """As JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")

    @classmethod
    def read(cls, path: Path) -> Results:
        """From JSON."""
        return msgspec.json.decode(path.read_bytes(), type=cls)
