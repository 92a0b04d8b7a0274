"""A condition says which events count, what sets incidents apart, and what is wrong with itself."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from fluid.scheduler import EVENTS, Event, TaskRun
from telemetry.alerts import USUAL_CONDITIONS, Condition
from telemetry.alerts.conditions import LONGEST_ERROR, USUAL, evidence_of, task_of


def event(name: str, task: str = "charge", **told: Any) -> Event:
    run: TaskRun[Any] = TaskRun(id="1", name=task, params={}, local=told.pop("local", False))
    run.error = told.pop("error", "")
    return Event(name=name, run=run, **told)


def test_the_usual_conditions_are_those_of_the_page() -> None:
    assert {one.event for one in USUAL_CONDITIONS} == {
        *("failure", "dead", "lost", "schedule_missed", "loop_blocked", "broker_lost")
    }
    assert {usual.ended_by for usual in USUAL.values()} <= {*EVENTS, ""}
    assert len({one.name for one in USUAL_CONDITIONS}) == len(USUAL_CONDITIONS)


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        (Condition(event="failure"), True),
        (Condition(event="dead"), False),
        (Condition(event="failure", tasks=("charge", "ship")), True),
        (Condition(event="failure", tasks=("ship",)), False),
        (Condition(event="failure", reasons=("timeout", "error")), True),
        (Condition(event="failure", reasons=("timeout",)), False),
    ],
)
def test_an_event_counts_where_task_and_reason_fit(condition: Condition, met: bool) -> None:
    assert condition.is_met_by(event("failure", reason="error")) is met


def test_what_is_executed_locally_wakes_nobody() -> None:
    assert not Condition(event="failure").is_met_by(event("failure", local=True))
    assert not Condition(event="failure").is_ended_by(event("success", local=True))


def test_a_success_of_the_same_task_ends_a_failing_one() -> None:
    condition = Condition(event="failure", tasks=("charge",))
    assert condition.is_ended_by(event("success"))
    assert not condition.is_ended_by(event("success", "ship"))
    assert not Condition(event="dead").is_ended_by(event("success"))


def test_incidents_are_set_apart_as_it_says() -> None:
    told = event("failure", reason="timeout")
    assert Condition(event="failure").labels_of(told) == {"task": "charge"}
    assert Condition(event="failure", group_by=()).labels_of(told) == {}
    both = Condition(event="failure", group_by=("task", "reason"))
    assert both.labels_of(told) == {"task": "charge", "reason": "timeout"}
    assert Condition(event="broker_lost").labels_of(Event(name="broker_lost")) == {}


def test_an_event_of_a_consumer_has_its_task_in_its_facts() -> None:
    assert task_of(Event(name="schedule_missed", facts={"task": "sweep"})) == "sweep"
    assert task_of(Event(name="broker_lost")) == ""


def test_evidence_is_short_names_where_to_look_and_hides_secrets() -> None:
    told = evidence_of(event("failure", error="ValueError: password=hunter22\nmore", owner=""), "ann")
    assert told["run"] == "1"
    assert told["consumer"] == "ann"
    assert told["error"].startswith("ValueError: password=")
    assert "hunter22" not in told["error"]
    assert "more" not in told["error"]
    assert len(evidence_of(event("failure", error="x" * 1000), "ann")["error"]) == LONGEST_ERROR
    assert evidence_of(event("lost", owner="ben"), "ann")["consumer"] == "ben"


@pytest.mark.parametrize(
    ("declared", "fault"),
    [
        ({"event": "failures"}, "no event 'failures' is ever announced: there are aborted"),
        ({"event": "failure", "reasons": ["late"]}, "failure is never told with late: its reasons are error"),
        ({"event": "queued", "reasons": ["late"]}, "its reasons are none"),
        ({"event": "failure", "count": 0}, "greater than or equal to 1"),
        ({"event": "failure", "within": 0}, "greater than 0"),
        ({"event": "failure", "name": "a\nb"}, "pattern"),
        ({"event": "failure", "group_by": ["consumer"]}, "'task' or 'reason'"),
        ({"event": "failure", "severty": "info"}, "Extra inputs"),
        ({}, "Field required"),
        (7, "valid dictionary"),
    ],
)
def test_what_cannot_work_is_said(declared: Any, fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Condition.model_validate(declared)
