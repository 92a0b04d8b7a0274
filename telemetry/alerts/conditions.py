"""What people are told of: an event, how often it has to happen, and when all is well again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from fluid.masking import mask_text
from fluid.scheduler import EVENTS, Event

Severity = Literal["critical", "warning", "info"]
Grouping = Literal["task", "reason"]

LONGEST_ERROR = 200
"""Characters of an error that a notice shows."""


@dataclass(frozen=True, slots=True)
class Usual:
    """What a condition on an event is like unless it is told otherwise."""

    name: str
    words: str
    severity: Severity = "warning"
    quiet: float = 60.0
    ended_by: str = ""
    """The event that says that all is well again."""
    of_task: bool = True
    """The event is told of a task, so that each task has an incident of its own."""
    goes_on: bool = False
    """It is announced once and lasts until it is ended."""


USUAL: Mapping[str, Usual] = {
    "failure": Usual("task_failing", "runs fail", ended_by="success"),
    "dead": Usual("run_dead", "runs are dead and wait for a person", "critical", quiet=3600.0),
    "lost": Usual("run_lost", "runs were lost with their consumer", quiet=300.0),
    "schedule_missed": Usual("schedule_missed", "ticks of a schedule were missed", quiet=3600.0),
    "loop_blocked": Usual("loop_blocked", "the event loop stands still", quiet=300.0),
    "broker_lost": Usual(
        "broker_lost",
        "the broker cannot be reached",
        "critical",
        quiet=10.0,
        ended_by="broker_recovered",
        of_task=False,
        goes_on=True,
    ),
}
"""The events that there is a condition on when none are declared."""


class Condition(BaseModel):
    """Declared on an event: `Condition(event="failure", tasks=["charge"], count=5, within=300)`.

    It holds once the event has happened `count` times within `within` seconds, anywhere in the fleet; that
    opens an incident, of which people are told. The incident is over when the event has not happened for
    `quiet` seconds and, where another event says so (`success`, `broker_recovered`), all is well again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    event: str
    """A key of `EVENTS`: `failure`, `dead`, `lost`, `schedule_missed`, `loop_blocked`, `broker_lost`, ..."""
    name: str = Field(default="", max_length=100, pattern=r"^[\w. -]*$")
    """What people know it by; also the `alertname` at an Alertmanager."""
    tasks: tuple[str, ...] = ()
    """Only of these tasks; of all when empty."""
    reasons: tuple[str, ...] = ()
    """Only for these reasons; for any when empty."""
    count: int = Field(default=1, ge=1, le=200)
    """So many times."""
    within: float = Field(default=300.0, gt=0)
    """In so many seconds."""
    quiet: float = Field(default=60.0, gt=0)
    """Seconds without the event after which an incident may be over."""
    group_by: tuple[Grouping, ...] = ()
    """What sets incidents apart: one for each `task`, for each `reason`; one for all when empty."""
    severity: Severity = "warning"
    runbook_url: str = ""
    """Where it says what to do."""

    def __init__(self, **values: Any) -> None:
        # any sequence will do where a tuple is kept
        super().__init__(**values)

    @model_validator(mode="before")
    @classmethod
    def _like_its_event(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or not isinstance(event := values.get("event"), str):
            return values
        usual = USUAL.get(event, Usual(name=event, words="", of_task=False))
        grouping = ("task",) if usual.of_task else ()
        own = {"name": usual.name, "quiet": usual.quiet, "severity": usual.severity, "group_by": grouping}
        return own | dict(values)

    @field_validator("event")
    @classmethod
    def _is_announced(cls, event: str) -> str:
        if event not in EVENTS:
            raise ValueError(f"no event {event!r} is ever announced: there are {', '.join(sorted(EVENTS))}")
        return event

    @field_validator("reasons")
    @classmethod
    def _belong_to_the_event(cls, reasons: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        event = info.data.get("event")
        known = EVENTS[event].reasons if event else reasons
        if strangers := set(reasons) - set(known):
            raise ValueError(
                f"{event} is never told with {', '.join(sorted(strangers))}: its reasons are "
                f"{', '.join(known) or 'none'}"
            )
        return reasons

    @property
    def ended_by(self) -> str:
        """The event that says that all is well again; empty when quiet alone says so."""
        return USUAL[self.event].ended_by if self.event in USUAL else ""

    @property
    def goes_on(self) -> bool:
        """It is announced once and lasts until it is ended."""
        return self.event in USUAL and USUAL[self.event].goes_on

    @property
    def words(self) -> str:
        """What it is about."""
        usual = USUAL.get(self.event)
        return usual.words if usual else EVENTS[self.event].when.partition(";")[0]

    @property
    def words_when_over(self) -> str:
        """What is said at the end: that it has not happened for a while does not mend what is broken."""
        return f"{'back to normal' if self.ended_by else 'quiet again'}: {self.words}"

    def is_met_by(self, event: Event) -> bool:
        """Whether this is one of the events that it counts. What is executed locally is nobody else's."""
        return (
            event.name == self.event
            and self._is_about(event)
            and (not self.reasons or event.reason in self.reasons)
        )

    def is_ended_by(self, event: Event) -> bool:
        """Whether this says that all is well again."""
        return event.name == self.ended_by and self._is_about(event)

    def labels_of(self, event: Event) -> dict[str, str]:
        """What sets the incident of this event apart from others of this condition."""
        told = {"task": task_of(event), "reason": event.reason}
        return {name: told[name] for name in self.group_by}

    def _is_about(self, event: Event) -> bool:
        local = event.run is not None and event.run.local
        return not local and (not self.tasks or task_of(event) in self.tasks)


def task_of(event: Event) -> str:
    """The task that an event is about; empty when it is about none."""
    return event.run.name if event.run is not None else str(event.facts.get("task", ""))


def evidence_of(event: Event, consumer: str) -> dict[str, str]:
    """One occurrence as an example for people: where to look, and what was said."""
    run = event.run
    error = run.error if run is not None else str(event.facts.get("error", ""))
    told = {
        "task": task_of(event),
        "run": run.id if run is not None else "",
        "reason": event.reason,
        "error": mask_text(error.strip().partition("\n")[0][:LONGEST_ERROR]),
        "consumer": event.owner or consumer,
    }
    return {name: value[:LONGEST_ERROR] for name, value in told.items() if value}


USUAL_CONDITIONS = tuple(Condition(event=event) for event in USUAL)
