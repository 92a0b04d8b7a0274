"""How a run is queued, and what is promised of a task: plain data."""

from __future__ import annotations

import math
import re
from bisect import bisect
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal, get_args

from fluid.errors import DeclarationError

WhenTaken = Literal["reject", "replace", "join"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueOptions:
    """How a run is queued; it travels in one keyword so that parameters keep their names."""

    delay: float | None = None
    """Seconds from now until the run is due."""
    at: datetime | None = None
    """The aware instant at which the run is due; not with `delay`."""
    expires: datetime | None = None
    """The aware instant after which the run is worthless: it is then aborted instead of started."""
    unique_key: str | None = None
    """While a run with this key is open, there is no other one."""
    when_taken: WhenTaken = "reject"
    """When the unique key is taken: `reject` (raise), `replace` (the open run, if it has not started, is
    cancelled for this one) or `join` (give back the open run)."""
    concurrency_key: str | None = None
    """Runs of the task with one key share the task's `max_concurrency` among themselves only."""
    run_id: str | None = None
    """The id of the run, for queueing again after an uncertain answer."""

    def __post_init__(self) -> None:
        faults = []
        if self.delay is not None and self.at is not None:
            faults.append("delay and at exclude each other: give one")
        if self.when_taken not in get_args(WhenTaken):
            faults.append(f"when_taken={self.when_taken!r}: reject, replace or join is expected")
        if self.delay is not None and not (math.isfinite(self.delay) and self.delay >= 0):
            faults.append(f"delay={self.delay!r}: zero or more seconds are expected")
        for name, instant in (("at", self.at), ("expires", self.expires)):
            if instant is not None and instant.tzinfo is None:
                faults.append(f"{name}={instant!r} has no time zone: give an aware datetime")
        for name, key in (("unique_key", self.unique_key), ("concurrency_key", self.concurrency_key)):
            if key is not None and not (1 <= len(key) <= 200 and key.isprintable()):
                faults.append(f"{name}={key!r}: 1 to 200 printable characters are expected")
        if self.run_id is not None and not re.fullmatch(r"[!-~]{1,128}", self.run_id):
            faults.append(f"run_id={self.run_id!r}: 1 to 128 visible ASCII characters are expected")
        if faults:
            raise DeclarationError("QueueOptions: " + "; ".join(faults))


NO_OPTIONS = QueueOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class SLO:
    """What is promised of a task's runs, over 30 days.

    `success` is the share of runs that end in success; `start_within` and `finish_within` are
    seconds from ready to started and from queued to ended, within which that share must fall.
    They are among `BOUNDS`, because only between those are runs told apart when they are counted.
    """

    BOUNDS: ClassVar[tuple[float, ...]] = (
        *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
        *(1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0),
    )
    """Seconds that can be promised, from 1 ms to 1 h."""

    success: float = 0.999
    start_within: float | None = None
    finish_within: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.success < 1:
            raise DeclarationError(
                f"SLO(success={self.success!r}): a share between 0 and 1 is expected, like 0.999"
            )
        for name, seconds in (("start_within", self.start_within), ("finish_within", self.finish_within)):
            if seconds is not None and seconds not in self.BOUNDS:
                raise DeclarationError(
                    f"SLO({name}={seconds!r}): {self._nearest(seconds)} is the nearest that can be promised; "
                    f"one of {', '.join(f'{bound:g}' for bound in self.BOUNDS)} seconds is expected"
                )

    def _nearest(self, seconds: float) -> str:
        place = bisect(self.BOUNDS, seconds)
        return " or ".join(f"{bound:g}" for bound in self.BOUNDS[max(0, place - 1) : place + 1])
