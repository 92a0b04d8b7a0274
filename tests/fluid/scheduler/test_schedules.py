"""Schedules: the next moment, whatever the clock on the wall does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import example, given
from hypothesis import strategies as st

from fluid.errors import ScheduleError
from fluid.scheduler.schedules import EPOCH, TICKS_COUNTED, MissedPolicy, Schedule, crontab, every

NEW_YORK = "America/New_York"
EXPRESSIONS = (
    "* * * * *",
    "*/7 3 * * *",
    "0 */2 * * *",
    "30 1 * * *",
    "30 2 * * *",
    "0,30 1-3 * * *",
    "15 30 1,2 * * *",
    "0 0 13 * 5",
    "0 0 L * *",
    "@hourly",
    "@yearly",
)
CLOCK_CHANGES = {
    NEW_YORK: ("2026-03-08", "2026-11-01"),
    "Europe/London": ("2026-03-29", "2026-10-25"),
    "Africa/Cairo": ("2026-04-24", "2026-10-30"),  # at midnight
    "America/Havana": ("2026-03-08", "2026-11-01"),  # at midnight
    "Australia/Lord_Howe": ("2026-10-04", "2026-04-05"),  # by half an hour
    "Antarctica/Troll": ("2026-03-29", "2026-10-25"),  # by two hours
}

instants = st.datetimes(
    datetime.fromisoformat("1990-01-01"), datetime.fromisoformat("2090-01-01"), timezones=st.just(UTC)
)
zones = st.sampled_from(["UTC", "Asia/Kolkata", *CLOCK_CHANGES])
crontabs = st.builds(lambda text, zone: crontab(text, timezone=zone), st.sampled_from(EXPRESSIONS), zones)
seconds = st.integers(100_000, 31_622_400_000_000).map(
    lambda microseconds: timedelta(microseconds=microseconds)
)
periods = st.builds(lambda length, offset: every(length, offset=offset), seconds, seconds)


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def shown(schedule: Schedule, start: str, end: str, zone: str = NEW_YORK) -> list[str]:
    """The ticks of the span as the wall clock of the zone shows them."""
    ticks = schedule.ticks_between(at(start, zone), at(end, zone))
    return [tick.astimezone(ZoneInfo(zone)).strftime("%d %H:%M %Z") for tick in ticks.instants]


# -- crontab and the wall clock ------------------------------------------------------------


@pytest.mark.parametrize("expression", ["30 2 * * *", "0 30 2 * * *"])
def test_a_time_in_the_spring_gap_fires_once_when_the_gap_ends(expression: str) -> None:
    schedule = crontab(expression, timezone=NEW_YORK)
    ticks = shown(schedule, "2026-03-07T12:00", "2026-03-09T12:00")
    assert ticks == ["08 03:00 EDT", "09 02:30 EDT"]


@pytest.mark.parametrize("expression", ["30 1 * * *", "0 30 1 * * *"])
def test_a_time_in_the_autumn_fold_fires_at_its_first_coming_only(expression: str) -> None:
    schedule = crontab(expression, timezone=NEW_YORK)
    ticks = shown(schedule, "2026-10-31T12:00", "2026-11-02T12:00")
    assert ticks == ["01 01:30 EDT", "02 01:30 EST"]


def test_within_the_second_hour_of_the_fold_a_time_that_has_been_is_not_due_again() -> None:
    schedule = crontab("30 1 * * *", timezone=NEW_YORK)
    second_hour = datetime(2026, 11, 1, 1, 10, tzinfo=ZoneInfo(NEW_YORK), fold=1)
    assert schedule.next_after(second_hour) == at("2026-11-02T01:30", NEW_YORK)


def test_what_repeats_hourly_fires_in_both_hours_of_the_fold() -> None:
    schedule = crontab("30 * * * *", timezone=NEW_YORK)
    ticks = shown(schedule, "2026-11-01T00:00", "2026-11-01T03:00")
    assert ticks == ["01 00:30 EDT", "01 01:30 EDT", "01 01:30 EST", "01 02:30 EST"]


def test_what_repeats_hourly_leaves_the_gap_out() -> None:
    schedule = crontab("30 * * * *", timezone=NEW_YORK)
    ticks = shown(schedule, "2026-03-08T00:00", "2026-03-08T05:00")
    assert ticks == ["08 00:30 EST", "08 01:30 EST", "08 03:30 EDT", "08 04:30 EDT"]


def test_times_that_fall_into_one_gap_fire_once() -> None:
    schedule = crontab("0,20,40 2,3 * * *", timezone=NEW_YORK)
    ticks = shown(schedule, "2026-03-08T00:00", "2026-03-08T05:00")
    assert ticks == ["08 03:00 EDT", "08 03:20 EDT", "08 03:40 EDT"]


def test_a_zone_without_clock_changes_keeps_its_own_hours() -> None:
    assert crontab("0 9 * * *", timezone="Asia/Kolkata").next_after(at("2026-03-08T00:00")) == at(
        "2026-03-08T03:30"
    )


@pytest.mark.parametrize(
    "expression", ["30 * * * *", "*/20 2 * * *", "*/15 3 * * *", "0 */2 * * *", "*/30 * * * SUN"]
)
@pytest.mark.parametrize(
    ("zone", "day"), [(zone, day) for zone, days in CLOCK_CHANGES.items() for day in days]
)
def test_what_repeats_fires_whenever_the_wall_clock_shows_it(expression: str, zone: str, day: str) -> None:
    noon = at(day) + timedelta(hours=12)
    minutes = [noon + timedelta(minutes=count) for count in range(-2160, 2161)]
    walls = [minute.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for minute in minutes]
    due: set[datetime] = set()
    for wall in CronSim(expression, min(walls) - timedelta(minutes=1)):
        if wall > max(walls):
            break
        due.add(wall)
    expected = [minute for minute, wall in zip(minutes, walls, strict=True) if wall in due]
    schedule = crontab(expression, timezone=zone)
    assert [schedule.next_after(minute - timedelta(seconds=1)) for minute in expected] == expected
    assert (
        list(schedule.ticks_between(minutes[0] - timedelta(seconds=1), minutes[-1], 1000).instants)
        == expected
    )


# -- crontab and its fields ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 0 13 * 5", ["2026-11-06T00:00", "2026-11-13T00:00", "2026-11-20T00:00"]),  # either day will do
        ("0 9 * * 0", ["2026-11-01T09:00", "2026-11-08T09:00"]),
        ("0 9 * * 7", ["2026-11-01T09:00", "2026-11-08T09:00"]),
        ("0 0 L * *", ["2026-11-30T00:00", "2026-12-31T00:00"]),
        ("0 0 * * FRI#2", ["2026-11-13T00:00", "2026-12-11T00:00"]),
        ("0 0 * * 5L", ["2026-11-27T00:00", "2026-12-25T00:00"]),
        ("*/20 * * * * *", ["2026-11-01T00:00:20", "2026-11-01T00:00:40", "2026-11-01T00:01:00"]),
        ("15 30 9 * * MON-FRI", ["2026-11-02T09:30:15", "2026-11-03T09:30:15"]),
    ],
)
def test_fields_mean_what_they_mean_in_cron(expression: str, expected: list[str]) -> None:
    schedule = crontab(expression)
    instant: datetime | None = at("2026-11-01T00:00")
    ticks = []
    for _ in expected:
        assert instant is not None
        instant = schedule.next_after(instant)
        ticks.append(instant)
    assert ticks == [at(text) for text in expected]


@pytest.mark.parametrize(
    ("shorthand", "expected"),
    [
        ("@hourly", "2026-11-03T11:00"),
        ("@daily", "2026-11-04T00:00"),
        ("@midnight", "2026-11-04T00:00"),
        ("@weekly", "2026-11-08T00:00"),
        ("@monthly", "2026-12-01T00:00"),
        ("@yearly", "2027-01-01T00:00"),
        ("@annually", "2027-01-01T00:00"),
    ],
)
def test_a_shorthand_stands_for_its_expression(shorthand: str, expected: str) -> None:
    assert crontab(shorthand).next_after(at("2026-11-03T10:17")) == at(expected)


# -- every ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (every(3600), "2026-11-03T11:00"),
        (every(timedelta(minutes=5)), "2026-11-03T10:20"),
        (every(3600, offset=90), "2026-11-03T11:01:30"),
        (every(3600, offset=-60), "2026-11-03T10:59"),
        (every(3600, offset=timedelta(hours=49, minutes=20)), "2026-11-03T10:20"),
        (every(0.5), "2026-11-03T10:17:00.500000"),
    ],
)
def test_every_ticks_at_whole_multiples_plus_an_offset(schedule: Schedule, expected: str) -> None:
    assert schedule.next_after(at("2026-11-03T10:17")) == at(expected)


@given(schedule=periods, instant=instants)
def test_every_tick_is_a_whole_multiple_since_the_epoch_and_the_next_one(
    schedule: Schedule, instant: datetime
) -> None:
    tick = schedule.next_after(instant)
    assert tick is not None
    assert (tick - EPOCH - schedule.offset) % schedule.interval == timedelta()  # type: ignore[attr-defined]
    assert timedelta() < tick - instant <= schedule.interval  # type: ignore[attr-defined]


# -- what holds for all --------------------------------------------------------------------


@given(schedule=st.one_of(crontabs, periods), instant=instants)
@example(crontab("30 1 * * *", timezone=NEW_YORK), at("2026-11-01T06:10"))
@example(crontab("30 2 * * *", timezone=NEW_YORK), at("2026-03-08T07:00"))
def test_the_next_tick_is_always_later_and_in_utc(schedule: Schedule, instant: datetime) -> None:
    ticks = [instant]
    for _ in range(5):
        tick = schedule.next_after(ticks[-1])
        assert tick is not None
        assert tick.tzinfo is UTC
        ticks.append(tick)
    assert all(earlier < later for earlier, later in pairwise(ticks))


@given(schedule=st.one_of(crontabs, periods), instant=instants, part=st.floats(0, 1, exclude_max=True))
def test_no_tick_lies_between_an_instant_and_its_next(
    schedule: Schedule, instant: datetime, part: float
) -> None:
    tick = schedule.next_after(instant)
    assert tick is not None
    assert schedule.next_after(instant + (tick - instant) * part) in {tick, schedule.next_after(tick)}
    assert schedule.next_after(tick - timedelta(microseconds=1)) == tick


@given(schedule=st.one_of(crontabs, periods), instant=instants, limit=st.integers(0, 8))
def test_ticks_of_a_span_are_its_newest_ones_and_the_number_left_out(
    schedule: Schedule, instant: datetime, limit: int
) -> None:
    ticks: list[datetime] = []
    end = instant
    for _ in range(6):
        tick = schedule.next_after(end)
        assert tick is not None
        ticks.append(tick)
        end = tick
    found = schedule.ticks_between(instant, end, limit)
    assert list(found.instants) == ticks[max(0, 6 - limit) :]
    assert found.left_out == max(0, 6 - limit)


def test_a_span_leaves_its_start_out_and_takes_its_end_in() -> None:
    for schedule in (every(60), crontab("* * * * *")):
        ticks = schedule.ticks_between(at("2026-11-03T10:00"), at("2026-11-03T10:02"))
        assert ticks.instants == (at("2026-11-03T10:01"), at("2026-11-03T10:02"))
        assert schedule.ticks_between(at("2026-11-03T10:02"), at("2026-11-03T10:02")).instants == ()
        assert schedule.ticks_between(at("2026-11-03T10:02"), at("2026-11-03T10:00")).instants == ()


def test_a_long_absence_is_looked_at_from_its_end() -> None:
    start, end = at("2020-01-01T00:00"), at("2026-01-01T00:00")
    newest = tuple(end - timedelta(seconds=count) for count in reversed(range(100)))
    by_the_second = every(1).ticks_between(start, end)
    assert by_the_second.instants == newest
    assert by_the_second.left_out == (end - start).total_seconds() - 100
    crons = crontab("* * * * * *").ticks_between(start, end)
    assert crons.instants == newest
    assert TICKS_COUNTED - 100 <= crons.left_out < 10 * TICKS_COUNTED


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (crontab("@daily"), crontab(" 0  0 * * * ")),
        (crontab("0 9 * * mon"), crontab("0 9 * * MON", timezone=ZoneInfo("UTC"))),
        (every(60), every(timedelta(minutes=1))),
        (every(60, offset=10), every(60, offset=-50)),
        (every(60), every(60, missed="all")),
    ],
)
def test_the_same_ticks_have_one_fingerprint(one: Schedule, other: Schedule) -> None:
    assert one.fingerprint == other.fingerprint


def test_different_ticks_have_different_fingerprints() -> None:
    schedules = [
        every(60),
        every(61),
        every(60, offset=1),
        every(0.1),
        crontab("@daily"),
        crontab("@hourly"),
        crontab("@daily", timezone=NEW_YORK),
    ]
    assert len({schedule.fingerprint for schedule in schedules}) == len(schedules)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (every(1), "every second"),
        (every(0.25), "every 0.25 seconds"),
        (every(90), "every 90 seconds"),
        (every(3600), "every hour"),
        (every(timedelta(days=2), offset=3600), "every 2 days, 1 hour past"),
        (crontab("30 2 * * *", timezone="Europe/Rome"), "at 02:30 every day (Europe/Rome)"),
        (crontab("*/5 * * * *"), "every fifth minute of every hour (UTC)"),
    ],
)
def test_a_schedule_describes_itself(schedule: Schedule, words: str) -> None:
    assert schedule.describe() == words


def test_missed_ticks_fire_once_unless_told_otherwise() -> None:
    assert every(60).missed is crontab("@daily").missed is MissedPolicy.ONCE
    assert every(60, missed="skip").missed is MissedPolicy.SKIP
    assert crontab("@daily", missed="all").missed is MissedPolicy.ALL


# -- what cannot work ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declare", "parts"),
    [
        (lambda: crontab("61 * * * *"), ["'61 * * * *'", "bad minute '61' (0-59)", "five fields"]),
        (lambda: crontab("0 25 * * *"), ["bad hour '25' (0-23)"]),
        (lambda: crontab("99 0 25 * * *"), ["bad second '99' (0-59)", "six"]),
        (lambda: crontab("0 0 * * FOO"), ["bad day-of-week 'FOO'", "SUN-SAT"]),
        (lambda: crontab("0 0 30 2 *"), ["bad day-of-month '30'", "that the month has"]),
        (lambda: crontab("* * * *"), ["4 fields", "five fields", 'crontab("*/5 * * * *")']),
        (lambda: crontab(""), ["0 fields", 'crontab("*/5 * * * *")']),
        (lambda: crontab("0 0 */31 2 MON#5"), ["no day ever matches"]),
        (lambda: crontab("@reboot"), ["unknown shorthand", "@hourly", 'crontab("@daily")']),
        (lambda: crontab(5), ["not text", "five fields"]),  # type: ignore[arg-type]
        (lambda: crontab("@daily", timezone="Mars/Olympus"), ["'Mars/Olympus'", "IANA", "Europe/Rome"]),
        (lambda: crontab("@daily", timezone="../etc"), ["'../etc'", "IANA"]),
        (lambda: crontab("@daily", timezone=UTC), ["unknown time zone", "IANA"]),  # type: ignore[arg-type]
        (lambda: crontab("@daily", missed="never"), ["'never'", "skip, once, all", 'missed="once"']),
        (lambda: every(0), ["every(0)", "0.1 seconds", "every(30)"]),
        (lambda: every(-5), ["every(-5)", "0.1 seconds"]),
        (lambda: every(timedelta(days=367)), ["366 days"]),
        (lambda: every(float("nan")), ["interval=nan", "timedelta or seconds"]),
        (lambda: every(float("inf")), ["interval=inf", "timedelta or seconds"]),
        (lambda: every("1m"), ["interval='1m'", "timedelta(minutes=5)"]),  # type: ignore[arg-type]
        (lambda: every(60, offset="1s"), ["offset='1s'"]),  # type: ignore[arg-type]
        (lambda: every(60).next_after(datetime.fromisoformat("2026-01-01")), ["no time zone"]),
        (lambda: crontab("@daily").next_after(datetime.fromisoformat("2026-01-01")), ["no time zone"]),
    ],
)
def test_an_error_says_what_was_wrong_and_what_was_expected(
    declare: Callable[[], object], parts: list[str]
) -> None:
    with pytest.raises(ScheduleError) as raised:
        declare()
    text = str(raised.value)
    assert [part for part in parts if part not in text] == []


@given(st.lists(st.text("0123456789*/,-#LWMONJA@ ²", max_size=6), max_size=7).map(" ".join))
def test_any_text_is_a_schedule_or_a_clear_error(text: str) -> None:
    try:
        tick = crontab(text).next_after(EPOCH)
    except ScheduleError as error:
        outcome = repr(text) in str(error)
    else:
        outcome = tick is not None and tick > EPOCH
    assert outcome
