"""The life of an incident: it begins, goes on, and is over. Pure: instants are handed in, in seconds."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from telemetry.alerts.conditions import Condition
from telemetry.alerts.notices import Status

UNHEARD_AFTER = 60.0
"""Seconds after which a notice that no channel is known to have taken is told again, by whoever is there."""


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """What the fleet knows of one condition under one set of labels."""

    labels: Mapping[str, str] = {}
    moments: tuple[float, ...] = ()
    """When it happened, as long as that was not often enough."""
    began: float = 0.0
    """When the condition began to hold; 0 for not yet."""
    count: int = 0
    last: float = 0.0
    well: bool = False
    """The event that says that all is well has come after the last occurrence."""
    told: float = 0.0
    """When the last notice was taken on; 0 for none."""
    taken: bool = False
    """A channel has taken it."""
    evidence: Mapping[str, str] = {}

    @property
    def is_open(self) -> bool:
        """The condition holds."""
        return self.began > 0


class Heard(msgspec.Struct, kw_only=True):
    """What a process has heard of one incident and not yet passed on."""

    labels: Mapping[str, str]
    count: int = 0
    well: bool = False
    """After the last of them, that all is well."""
    taken: bool = False
    """A channel has taken the notice."""
    evidence: Mapping[str, str] = {}


def happened(incident: Incident | None, heard: Heard, condition: Condition, now: float) -> Incident:
    """The incident after what was heard."""
    before = incident or Incident(labels=heard.labels)
    if heard.taken:
        before = msgspec.structs.replace(before, taken=True)
    if not heard.count:
        return msgspec.structs.replace(before, well=before.well or heard.well)
    before = msgspec.structs.replace(before, last=now, well=heard.well, evidence=heard.evidence)
    if before.is_open:
        return msgspec.structs.replace(before, count=before.count + heard.count)
    recent = [moment for moment in before.moments if now - moment <= condition.within]
    moments = [*recent, *[now] * heard.count]
    if len(moments) < condition.count:
        return msgspec.structs.replace(before, moments=tuple(moments))
    return msgspec.structs.replace(before, moments=(), began=moments[0], count=len(moments))


def is_over(incident: Incident, condition: Condition, now: float) -> bool:
    """Whether all has been well for long enough, or it did not happen often enough in time."""
    if not incident.is_open:
        return now - incident.last > condition.within
    quiet = now - incident.last >= condition.quiet
    return quiet and (incident.well or not condition.ended_by)


def due(incident: Incident, condition: Condition, repeat: float, now: float) -> Status | None:
    """The notice that is to be told now, if any."""
    if not incident.is_open:
        return None
    if is_over(incident, condition, now):
        return Status.resolved if incident.taken else None
    if not incident.told:
        return Status.firing
    since = now - incident.told
    if not incident.taken:
        return Status.firing if since >= UNHEARD_AFTER else None
    news = condition.goes_on or incident.last > incident.told
    return Status.repeated if news and since >= repeat else None


def is_forgotten(incident: Incident, condition: Condition, repeat: float, now: float) -> bool:
    """Whether nothing has been heard or told of it for as long as it is remembered."""
    return now - max(incident.last, incident.told) > lasts(incident, condition, repeat)


def told(incident: Incident, now: float) -> Incident:
    """The incident once somebody has taken a notice on."""
    return msgspec.structs.replace(incident, told=now)


def lasts(incident: Incident, condition: Condition, repeat: float) -> float:
    """Seconds after which it is forgotten, if nothing more is heard of it."""
    return 2 * repeat + condition.quiet + UNHEARD_AFTER if incident.is_open else condition.within
