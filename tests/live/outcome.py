"""What came of each fault, and the page that keeps it."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fluid.clock import now
from tests.live.faults import Fault
from tests.live.hook import Told

BEGIN, END = "<!-- seen -->", "<!-- /seen -->"
HEAD = (
    "| fault | alerts expected | alerts seen | seconds to fire (allowed) | seconds to resolve (allowed) | |",
    "|---|---|---|---|---|---|",
)


@dataclass(frozen=True)
class Times:
    """When a fault struck and was taken back, and within how many seconds alerts should come and go."""

    struck: float
    mended: float
    within: float
    over_within: float


@dataclass(frozen=True)
class Outcome:
    """What came of a fault."""

    fault: Fault
    times: Times
    told: dict[str, Told]

    @property
    def fired(self) -> dict[str, float]:
        """Seconds until each alert was told: from the strike, or from its end for what comes of that."""
        return {
            alert: told.fired - (self.times.mended if alert in self.fault.afterwards else self.times.struck)
            for alert, told in sorted(self.told.items())
        }

    @property
    def resolved(self) -> dict[str, float | None]:
        """Seconds from the end of the fault until each alert was told to be over; below 0 before it."""
        return {
            alert: None if told.resolved is None else told.resolved - self.times.mended
            for alert, told in sorted(self.told.items())
        }

    @property
    def faults(self) -> list[str]:
        """All that is not as it should be."""
        due = self.fault.expected | self.fault.afterwards
        found = [f"{alert} was not told" for alert in sorted(due - set(self.told))]
        found += [f"{alert} is none of it" for alert in sorted(set(self.told) - due)]
        for alert, seconds in self.fired.items():
            if alert in due and seconds < 0:
                found.append(f"{alert} came before its time")
        for alert, over in self.resolved.items():
            if over is None:
                found.append(f"{alert} is not over")
        found += [f"{alert} came again" for alert, told in sorted(self.told.items()) if told.again]
        return found

    @property
    def delays(self) -> list[str]:
        """What came or went too late."""
        late = [f"{alert} was told late" for alert, after in self.fired.items() if after > self.times.within]
        late += [
            f"{alert} was over late"
            for alert, after in self.resolved.items()
            if after is not None and after > self.times.over_within
        ]
        return late

    def __str__(self) -> str:
        due = sorted(self.fault.expected | self.fault.afterwards)
        verdict = "; ".join(self.faults + self.delays) or "as it should be"
        cells = (
            self.fault.name,
            lines(due),
            lines(sorted(self.told)),
            figures(self.fired.values(), self.times.within),
            figures(self.resolved.values(), self.times.over_within),
            verdict,
        )
        return f"| {' | '.join(cells)} |"


@dataclass(frozen=True)
class Played:
    """The whole of it."""

    scale: float
    calm: float
    """Seconds in which nothing was broken yet."""
    raised: Sequence[str]
    """The alerts that fired or were told in that time."""
    outcomes: Sequence[Outcome]
    prometheus: str
    """Its version."""

    @property
    def well(self) -> bool:
        """Nothing without a fault; with one, its alerts and no other, in time."""
        return not self.raised and not any(one.faults or one.delays for one in self.outcomes)

    def __str__(self) -> str:
        shortened = "" if self.scale == 1 else f", every duration shortened to {self.scale:g} of it"
        machine = f"{os.cpu_count()} processors, {platform.system()} {platform.machine()}"
        software = f"Python {platform.python_version()}, {self.prometheus}"
        return "\n".join(
            (
                f"Played on {now():%Y-%m-%d}: {machine}, {software}{shortened}."
                f" Before anything was broken, {self.calm:.0f} seconds with all scenes at work "
                f"raised {', '.join(self.raised) or 'nothing'}.",
                "",
                *HEAD,
                *map(str, self.outcomes),
            )
        )

    def write_into(self, page: Path) -> None:
        """Put it where the page has its marks."""
        before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
        _, end, after = rest.partition(END)
        if not begin or not end:
            raise SystemExit(f"{page} has no {BEGIN} ... {END}, so the table cannot be put there")
        page.write_text(f"{before}{BEGIN}\n\n{self}\n\n{END}{after}", encoding="utf-8")


def lines(words: Iterable[str]) -> str:
    """One below the other, in a cell."""
    return "<br>".join(words) or "none"


def figures(seconds: Iterable[float | None], allowed: float) -> str:
    """The same of seconds, with how many are allowed."""
    told = lines("not" if one is None else f"{one:.0f}" for one in seconds)
    return "-" if told == "none" else f"{told} ({allowed:.0f})"
