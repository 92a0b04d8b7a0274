"""Reads the thresholds, and fills them and the names of metrics into what the rules say."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from string import Template

from telemetry import names

THRESHOLDS = Path(__file__).resolve().parents[1] / "thresholds.toml"

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
DURATION = re.compile(r"(\d+)([smhd])")

Steps = tuple[tuple[float | None, str], ...]
"""From which value on which colour; the first one has no value."""

METRICS = {word: row.name for word, row in vars(names).items() if isinstance(row, names.Metric)}
"""The metrics, by what the catalogue calls them: `@RUNS_LOST` is `fluid_runs_lost_total`."""


class Filled(Template):
    """A text with `@name` where something is filled in; `$` is left to Prometheus."""

    delimiter = "@"


class Thresholds:
    """The tables of the file. `scale` shortens or stretches every duration, to try the rules in a hurry."""

    def __init__(self, scale: float = 1.0, path: Path = THRESHOLDS) -> None:
        self._tables = tomllib.loads(path.read_text(encoding="utf-8"))
        self._scale = scale
        self._recording = self._values(self._tables.pop("recording"))
        self._colours = self._tables.pop("colours")

    @property
    def alerts(self) -> frozenset[str]:
        """The alerts that have a table."""
        return frozenset(self._tables)

    @property
    def looks(self) -> frozenset[str]:
        """The names that have colours."""
        return frozenset(self._colours)

    def colours(self, name: str) -> Steps:
        """From which value on which colour; KeyError for a name that is not there."""
        given = dict(self._colours[name])
        first = str(given.pop("begins"))
        return ((None, first), *((self._limit(value), colour) for colour, value in given.items()))

    def _limit(self, value: float | str) -> float:
        if not isinstance(value, str):
            return value
        alert, key = value.split(".")
        table = self.table(alert)
        return float(table.get(f"{key}_seconds", table[key]))

    def record(self, text: str) -> str:
        """A text of the recording rules, filled in; KeyError for what no table and no catalogue has."""
        return Filled(text).substitute(METRICS, **self._recording)

    def table(self, alert: str) -> dict[str, str]:
        """An alert's own table: durations as `limit` (`5m`) and as `limit_seconds` (`300`)."""
        return self._values(self._tables[alert])

    def fill(self, alert: str, text: str) -> str:
        """A text of an alert, filled in from its own table; recorded series are `@rate`."""
        # the window of recorded rates is part of their names
        rate = {"rate": f"rate{self._recording['window']}"}
        return Filled(text).substitute(METRICS, **rate, **self.table(alert))

    def _values(self, table: Mapping[str, object]) -> dict[str, str]:
        values = {}
        for name, value in table.items():
            if (found := DURATION.fullmatch(str(value))) is None:
                values[name] = f"{value}"
                continue
            seconds = float(found[1]) * UNITS[found[2]] * self._scale
            values[name] = duration(seconds)
            values[f"{name}_seconds"] = f"{seconds:g}"
        return values


def duration(seconds: float) -> str:
    """Seconds as Prometheus writes them: in the largest unit that divides them, in milliseconds at least."""
    for unit, size in reversed(UNITS.items()):
        if seconds % size == 0 and seconds >= size:
            return f"{seconds / size:g}{unit}"
    return f"{round(seconds * 1000)}ms" if seconds else "0s"
