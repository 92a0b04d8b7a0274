"""An incident begins when its condition holds, is told, goes on, and is over when all has been well."""

from __future__ import annotations

import pytest

from telemetry.alerts import Condition
from telemetry.alerts.incidents import (
    UNHEARD_AFTER,
    Heard,
    Incident,
    due,
    happened,
    is_forgotten,
    is_over,
    lasts,
    told,
)
from telemetry.alerts.notices import Status

LABELS = {"task": "charge"}
REPEAT = 3600.0
NOW = 1_000_000.0


def heard(count: int = 1, *, well: bool = False, taken: bool = False, error: str = "") -> Heard:
    return Heard(labels=LABELS, count=count, well=well, taken=taken, evidence={"error": error})


def first(condition: Condition, at: float = NOW) -> Incident:
    """An incident that was told, and taken, when it began."""
    begun = told(happened(None, heard(condition.count), condition, at), at)
    return happened(begun, heard(0, taken=True), condition, at)


def test_the_first_failure_opens_an_incident_and_is_told() -> None:
    condition = Condition(event="failure")
    incident = happened(None, heard(error="boom"), condition, NOW)
    assert (incident.is_open, incident.began, incident.count) == (True, NOW, 1)
    assert (incident.labels, incident.evidence) == (LABELS, {"error": "boom"})
    assert due(incident, condition, REPEAT, NOW) is Status.firing


def test_what_comes_after_is_counted_and_not_told() -> None:
    condition = Condition(event="failure")
    incident = happened(first(condition), heard(41), condition, NOW + 1)
    assert incident.count == 42
    assert due(incident, condition, REPEAT, NOW + 1) is None


def test_n_failures_open_it_only_within_m_minutes() -> None:
    condition = Condition(event="failure", count=3, within=60)
    one = happened(None, heard(2), condition, NOW)
    assert not one.is_open
    assert due(one, condition, REPEAT, NOW) is None
    late = happened(one, heard(), condition, NOW + 61)
    assert not late.is_open, "the first two are too long ago"
    assert happened(late, heard(2), condition, NOW + 62).began == NOW + 61
    in_time = happened(one, heard(), condition, NOW + 60)
    assert (in_time.began, in_time.count) == (NOW, 3)


def test_a_failing_task_is_well_after_a_success_and_some_quiet() -> None:
    condition = Condition(event="failure", quiet=60)
    failing = first(condition)
    assert not is_over(failing, condition, NOW + 61), "no success has come"
    well = happened(failing, heard(0, well=True), condition, NOW + 1)
    assert not is_over(well, condition, NOW + 59)
    assert due(well, condition, REPEAT, NOW + 60) is Status.resolved
    again = happened(well, heard(), condition, NOW + 59)
    assert not is_over(again, condition, NOW + 200), "it has failed after the success"


def test_a_task_that_fails_now_and_then_is_one_incident() -> None:
    condition = Condition(event="failure", quiet=60)
    incident = first(condition)
    for second in range(1, 500):
        incident = happened(incident, heard(well=bool(second % 2)), condition, NOW + second)
        assert due(incident, condition, REPEAT, NOW + second) is None


def test_where_no_event_tells_the_end_quiet_does() -> None:
    condition = Condition(event="dead", quiet=10)
    assert not is_over(first(condition), condition, NOW + 9)
    assert due(first(condition), condition, REPEAT, NOW + 10) is Status.resolved


def test_it_is_told_again_when_it_has_happened_again_an_interval_later() -> None:
    condition = Condition(event="failure")
    incident = first(condition)
    assert due(incident, condition, REPEAT, NOW + REPEAT) is None, "there is nothing new"
    goes_on = happened(incident, heard(), condition, NOW + 10)
    assert due(goes_on, condition, REPEAT, NOW + REPEAT - 1) is None
    assert due(goes_on, condition, REPEAT, NOW + REPEAT) is Status.repeated
    assert due(told(goes_on, NOW + REPEAT), condition, REPEAT, NOW + REPEAT + 1) is None


def test_a_broker_that_stays_away_is_told_again_though_it_is_lost_but_once() -> None:
    condition = Condition(event="broker_lost")
    assert due(first(condition), condition, REPEAT, NOW + REPEAT) is Status.repeated


def test_a_notice_that_nobody_took_is_told_again_soon() -> None:
    condition = Condition(event="failure")
    unheard = told(happened(None, heard(), condition, NOW), NOW)
    assert due(unheard, condition, REPEAT, NOW + UNHEARD_AFTER - 1) is None
    assert due(unheard, condition, REPEAT, NOW + UNHEARD_AFTER) is Status.firing


def test_the_end_of_what_nobody_was_told_of_is_not_told() -> None:
    condition = Condition(event="dead", quiet=10)
    unheard = told(happened(None, heard(), condition, NOW), NOW)
    assert is_over(unheard, condition, NOW + 10)
    assert due(unheard, condition, REPEAT, NOW + 10) is None


@pytest.mark.parametrize("count", [1, 5])
def test_it_is_remembered_for_longer_than_its_notices_are_apart(count: int) -> None:
    condition = Condition(event="failure", count=count, within=300)
    assert lasts(first(condition), condition, REPEAT) > 2 * REPEAT
    few = happened(None, heard(), Condition(event="failure", count=2, within=300), NOW)
    assert lasts(few, condition, REPEAT) == 300


def test_too_few_occurrences_are_over_when_their_time_has_passed() -> None:
    condition = Condition(event="failure", count=2, within=300)
    few = happened(None, heard(), condition, NOW)
    assert not is_over(few, condition, NOW + 300)
    assert is_over(few, condition, NOW + 301)
    assert due(few, condition, REPEAT, NOW + 301) is None


def test_what_is_still_told_is_not_forgotten() -> None:
    condition = Condition(event="broker_lost")
    incident = first(condition)
    long = lasts(incident, condition, REPEAT)
    assert not is_forgotten(incident, condition, REPEAT, NOW + long)
    assert is_forgotten(incident, condition, REPEAT, NOW + long + 1)
    assert not is_forgotten(told(incident, NOW + REPEAT), condition, REPEAT, NOW + long + 1)
