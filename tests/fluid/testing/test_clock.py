"""The clock stands still until its hands are turned."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fluid.errors import DeclarationError
from fluid.scheduler import crontab
from fluid.testing import ManualClock

NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)


def test_it_shows_one_time_in_all_its_ways() -> None:
    clock = ManualClock(NOON)
    assert (clock.now(), clock.timestamp(), clock.elapsed()) == (NOON, NOON.timestamp(), 0.0)
    clock.advance(90)
    later = NOON + timedelta(seconds=90)
    assert (clock.now(), clock.timestamp(), clock.elapsed()) == (later, later.timestamp(), 90.0)


def test_moved_to_an_instant_the_time_in_between_has_passed() -> None:
    clock = ManualClock(NOON)
    clock.move_to(NOON + timedelta(hours=1))
    assert (clock.now(), clock.elapsed()) == (NOON + timedelta(hours=1), 3600.0)


def test_set_back_it_lets_no_time_pass() -> None:
    clock = ManualClock(NOON)
    clock.advance(5)
    clock.move_to(NOON)
    assert (clock.now(), clock.elapsed()) == (NOON, 5.0)


def test_what_no_clock_does_is_refused() -> None:
    clock = ManualClock(NOON)
    with pytest.raises(DeclarationError, match="does not go back"):
        clock.advance(-1)
    with pytest.raises(DeclarationError, match="no time zone"):
        clock.move_to(datetime(2026, 1, 1))  # noqa: DTZ001 - that is the fault
    with pytest.raises(DeclarationError, match="no time zone"):
        ManualClock(datetime(2026, 1, 1))  # noqa: DTZ001
    assert (clock.now(), clock.elapsed()) == (NOON, 0.0)


def test_a_schedule_is_asked_with_its_time() -> None:
    clock, nightly = ManualClock(NOON), crontab("30 2 * * *", timezone="Europe/Rome")
    assert nightly.next_after(clock.now()) == datetime(2026, 3, 30, 0, 30, tzinfo=UTC)
