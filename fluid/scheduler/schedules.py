"""When a task is due by itself: `every()` and `crontab()`, the next moment of each. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from fluid.errors import ScheduleError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NO_TIME = timedelta()
SHORTEST_INTERVAL = timedelta(seconds=0.1)
LONGEST_INTERVAL = timedelta(days=366)
LARGEST_CLOCK_CHANGE = timedelta(hours=3)
TICKS_COUNTED = 2_000

SHORTHANDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
CRON_FIELDS = {
    "second": "0-59",
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31, L or LW, and a day that the month has",
    "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7 or SUN-SAT, 5L for the last Friday, FRI#2 for the second",
}


class MissedPolicy(StrEnum):
    """What becomes of ticks that passed while no scheduler ran."""

    SKIP = "skip"  # only a fresh tick fires
    ONCE = "once"  # the newest one fires for all of them
    ALL = "all"  # each of the newest 100 fires; the rest count as missed


@dataclass(frozen=True, slots=True)
class Ticks:
    """The newest ticks of a span, oldest first, and how many older ones were left out."""

    instants: tuple[datetime, ...]
    left_out: int = 0


class Schedule(ABC):
    """The moments at which a task is due. Instants go in aware and come out in UTC."""

    missed: MissedPolicy

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """The same text means the same ticks, in every process and version."""

    @abstractmethod
    def describe(self) -> str:
        """In words, for people."""

    @abstractmethod
    def next_after(self, instant: datetime) -> datetime | None:
        """The first tick strictly after the instant; None when there is none."""

    def ticks_between(self, start: datetime, end: datetime, limit: int = 100) -> Ticks:
        """The newest `limit` ticks in (start, end].

        Counting goes back from the end and stops at some 2,000 ticks, so that a long absence costs
        little: `left_out` is exact up to there and a lower bound above.
        """
        start, end = _utc(start), _utc(end)
        span = end - start
        window = min(span, timedelta(hours=1))
        while True:
            ticks = list(takewhile(lambda tick: tick <= end, self._ticks_after(end - window)))
            if window >= span or len(ticks) >= TICKS_COUNTED:
                newest = tuple(ticks[max(0, len(ticks) - limit) :])
                return Ticks(newest, len(ticks) - len(newest))
            window = min(span, window * 2)

    def _ticks_after(self, instant: datetime) -> Iterator[datetime]:
        while (tick := self.next_after(instant)) is not None:
            yield tick
            instant = tick


@dataclass(frozen=True, slots=True)
class Every(Schedule):
    """Ticks at whole multiples of an interval since the epoch, plus an offset; made by `every()`."""

    interval: timedelta
    offset: timedelta
    missed: MissedPolicy

    @property
    def fingerprint(self) -> str:
        return f"every {self.interval} + {self.offset}"

    def describe(self) -> str:
        shifted = f", {_words(self.offset)} past" if self.offset else ""
        return f"every {_words(self.interval).removeprefix('1 ')}{shifted}"

    def next_after(self, instant: datetime) -> datetime:
        return self._tick(self._index(instant) + 1)

    def ticks_between(self, start: datetime, end: datetime, limit: int = 100) -> Ticks:
        """The newest `limit` ticks in (start, end]; `left_out` is always exact."""
        before, last = self._index(start), self._index(end)
        first = max(before, last - limit) + 1
        return Ticks(tuple(map(self._tick, range(first, last + 1))), max(0, first - before - 1))

    def _index(self, instant: datetime) -> int:
        return (_utc(instant) - EPOCH - self.offset) // self.interval

    def _tick(self, index: int) -> datetime:
        return EPOCH + self.offset + index * self.interval


@dataclass(frozen=True, slots=True)
class Crontab(Schedule):
    """Ticks of a cron expression on the wall clock of a time zone; made by `crontab()`.

    Where the clock changes, this does as Debian's cron. A fixed time (no `*` in hour and minute) fires
    once a day: after the gap if it falls into it, at its first coming if it comes twice. A repeating one
    follows the clock: never in the gap, both times in the fold.
    """

    expression: str
    timezone: ZoneInfo
    missed: MissedPolicy

    @property
    def fingerprint(self) -> str:
        return f"crontab {self.expression} {self.timezone}"

    def describe(self) -> str:
        words = CronSim(self.expression, EPOCH).explain()
        return f"{words[0].lower()}{words[1:]} ({self.timezone})"

    def next_after(self, instant: datetime) -> datetime | None:
        after = _utc(instant)
        local = after.astimezone(self.timezone)
        wall = local.replace(tzinfo=None, fold=0)
        ticks = [self._first_tick(after, wall, fold=0)]
        rewind = self._rewind(after)
        if not self._fixed_time and (rewind or local.fold):
            ticks.append(self._first_tick(after, wall - rewind, fold=1))
        return min(filter(None, ticks), default=None)

    @property
    def _fixed_time(self) -> bool:
        minute, hour = self.expression.split()[-5:-3]
        return not minute.startswith("*") and not hour.startswith("*")

    def _rewind(self, after: datetime) -> timedelta:
        """How far the wall clock is about to be turned back, so that it shows the same times again."""
        here, ahead = (instant.astimezone(self.timezone) for instant in (after, after + LARGEST_CLOCK_CHANGE))
        return max((here.utcoffset() or NO_TIME) - (ahead.utcoffset() or NO_TIME), NO_TIME)

    def _first_tick(self, after: datetime, wall: datetime, fold: int) -> datetime | None:
        """The first tick after the instant, among the first or second comings of times after `wall`."""
        ticks = (self._tick(due.replace(fold=fold)) for due in CronSim(self.expression, wall))
        return next((tick for tick in ticks if tick and tick > after), None)

    def _tick(self, wall: datetime) -> datetime | None:
        """The instant at which the wall clock shows this time. In a gap: the end of it, or none."""
        while True:
            instant = wall.replace(tzinfo=self.timezone).astimezone(UTC)
            if instant.astimezone(self.timezone).replace(tzinfo=None) == wall:
                return instant
            if not self._fixed_time:
                return None
            wall = wall.replace(second=0) + timedelta(minutes=1)


def every(
    interval: timedelta | float,
    *,
    offset: timedelta | float = 0,
    missed: MissedPolicy | str = MissedPolicy.ONCE,
) -> Every:
    """Due at whole multiples of the interval (a timedelta, or seconds) since the epoch, plus the offset.

    So `every(3600)` is due on the hour whenever it was started, and `every(3600, offset=-60)` a minute
    before. Raises `ScheduleError` for an interval below 0.1 s or above 366 days.
    """
    length = _timedelta("interval", interval)
    if not SHORTEST_INTERVAL <= length <= LONGEST_INTERVAL:
        raise ScheduleError(
            f"every({interval!r}): an interval this long or short cannot be kept; expected 0.1 seconds to "
            "366 days, for example every(30) or every(timedelta(minutes=5))"
        )
    return Every(length, _timedelta("offset", offset) % length, _policy(missed))


def crontab(
    expression: str,
    *,
    timezone: str | ZoneInfo = "UTC",
    missed: MissedPolicy | str = MissedPolicy.ONCE,
) -> Crontab:
    """Due when the wall clock of the time zone matches: five fields, six (seconds first), or `@daily`.

    The fields are those of cron: minute, hour, day of month, month, day of week. `L`, `LW`, `5L` and
    `FRI#2` are understood. When both days are given, either will do. Raises `ScheduleError`.
    """
    return Crontab(_expression(expression), _zone(timezone), _policy(missed))


def _expression(text: str) -> str:
    """The expression in one spelling, so that its fingerprint does not depend on how it was typed."""
    if not isinstance(text, str):
        raise ScheduleError(_cron_fault(text, "it is not text"))
    word = text.strip().lower()
    if word.startswith("@") and word not in SHORTHANDS:
        raise ScheduleError(
            f"crontab({text!r}): unknown shorthand; expected one of {', '.join(SHORTHANDS)}, "
            'for example crontab("@daily")'
        )
    expression = " ".join(SHORTHANDS.get(word, word).upper().split())
    try:
        ticks = CronSim(expression, EPOCH)
    except CronSimError as error:
        raise ScheduleError(_cron_fault(text, _reading_fault(expression, str(error)))) from error
    if next(ticks, None) is None:
        raise ScheduleError(_cron_fault(text, "no day ever matches it"))
    return expression


def _reading_fault(expression: str, fault: str) -> str:
    given = expression.split()
    name = fault.removeprefix("Bad ")
    if name not in CRON_FIELDS:
        return f"it has {len(given)} fields"
    field = given[list(CRON_FIELDS).index(name) - len(CRON_FIELDS)]
    return f"bad {name} {field!r} ({CRON_FIELDS[name]})"


def _cron_fault(expression: object, fault: str) -> str:
    return (
        f"crontab({expression!r}): {fault}; expected five fields (minute hour day-of-month month "
        'day-of-week) or six (second first), for example crontab("*/5 * * * *") or crontab("@daily")'
    )


def _zone(timezone: str | ZoneInfo) -> ZoneInfo:
    if isinstance(timezone, ZoneInfo):
        return timezone
    try:
        return ZoneInfo(timezone)
    except (LookupError, ValueError, TypeError, AttributeError, OSError) as error:
        raise ScheduleError(
            f"crontab(timezone={timezone!r}): unknown time zone; expected an IANA name, for example "
            'timezone="Europe/Rome" (where the system brings no time zones, install tzdata)'
        ) from error


def _policy(missed: MissedPolicy | str) -> MissedPolicy:
    try:
        return MissedPolicy(missed)
    except ValueError as error:
        known = ", ".join(MissedPolicy)
        raise ScheduleError(f'missed={missed!r}: expected {known}, for example missed="once"') from error


def _timedelta(name: str, value: timedelta | float) -> timedelta:
    if isinstance(value, timedelta):
        return value
    try:
        return timedelta(seconds=value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ScheduleError(
            f"every({name}={value!r}): not a length of time; expected a timedelta or seconds, "
            "for example every(30) or every(timedelta(minutes=5))"
        ) from error


def _words(length: timedelta) -> str:
    seconds = length.total_seconds()
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds % unit == 0:
            count = int(seconds // unit)
            return f"1 {name.removesuffix('s')}" if count == 1 else f"{count} {name}"
    return "1 second" if seconds == 1 else f"{seconds:.9g} seconds"


def _utc(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ScheduleError(f"{instant!r} has no time zone; expected an aware one, such as fluid.clock.now()")
    return instant.astimezone(UTC)
