"""Occurrences come together in incidents, of which the fleet tells once.

Every process hears its own events. What it has heard it writes into the incident that the fleet shares, a
note of the broker. Who wrote the note that made a notice due tells it; all others see that it has been told.
While the broker is away a process keeps incidents of its own, and says so in the notice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from fluid.clock import from_milliseconds, timestamp
from fluid.errors import FluidError
from fluid.scheduler import Event, TaskManager
from telemetry.alerts.conditions import Condition, evidence_of, task_of
from telemetry.alerts.config import Alerts
from telemetry.alerts.incidents import Heard, Incident, due, happened, is_forgotten, is_over, lasts, told
from telemetry.alerts.notices import Notice, Status
from telemetry.alerts.outbox import AlertSeries

MOST_HEARD = 500
"""Incidents that one process hears of before it passes them on."""

NOTES = "alerts"
"""What the names of our notes begin with."""

OVER = b""
"""What stands in the place of an incident that is over, for a while."""

OVER_SECONDS = 60.0

logger = logging.getLogger("telemetry")


class Grouping:
    """What one process hears, and what becomes of it in the fleet's incidents."""

    def __init__(
        self, host: TaskManager, alerts: Alerts, series: AlertSeries, tell: Callable[[Notice], None]
    ) -> None:
        self._host = host
        self._alerts = alerts
        self._series = series
        self._tell = tell
        self._conditions = {condition.name: condition for condition in alerts.conditions}
        self._heard: dict[str, Heard] = {}
        self._known: dict[str, Incident] = {}
        """The fleet's incidents, as they were read last."""
        self._alone: dict[str, Incident] = {}
        """Its own, that began while the broker was away."""
        self._away = False

    @property
    def in_hand(self) -> bool:
        """Whether something was heard that is not passed on yet."""
        return bool(self._heard)

    def hear(self, event: Event) -> None:
        """Take an event in; what it leads to comes with the next `settle`."""
        for condition in self._alerts.conditions:
            if condition.is_met_by(event):
                self._occurred(condition, event)
            elif condition.is_ended_by(event):
                for heard in self._ended(condition, event):
                    heard.well = True

    def taken(self, notice: Notice) -> None:
        """A channel has taken this notice of ours."""
        name = _name_of(notice.condition, notice.labels)
        if name in self._alone:
            self._alone[name] = msgspec.structs.replace(self._alone[name], taken=True)
        elif name in self._known and not self._known[name].taken:
            heard = self._heard.setdefault(name, Heard(labels=notice.labels))
            heard.taken = True

    def awaited(self) -> set[str]:
        """The events that would tell now that all is well: they are many, so they are heard only then."""
        incidents = [*self._known.items(), *self._alone.items()]
        waiting = [name for name, incident in incidents if incident.is_open and not incident.well]
        return {self._condition_of(name).ended_by for name in waiting} - {""}

    # -- hearing ---------------------------------------------------------------------------

    def _occurred(self, condition: Condition, event: Event) -> None:
        labels = condition.labels_of(event)
        name = _name_of(condition.name, labels)
        if name not in self._heard and len(self._heard) >= MOST_HEARD:
            self._series.suppressed.add()
            return
        heard = self._heard.setdefault(name, Heard(labels=labels))
        heard.count += 1
        heard.well = False
        heard.evidence = evidence_of(event, self._host.worker_name)

    def _ended(self, condition: Condition, event: Event) -> Iterator[Heard]:
        incidents = {name: one.labels for name, one in [*self._known.items(), *self._alone.items()]}
        for name, labels in (incidents | {name: one.labels for name, one in self._heard.items()}).items():
            about = labels.get("task", task_of(event)) == task_of(event)
            if about and self._condition_of(name) is condition:
                yield self._heard.setdefault(name, Heard(labels=labels))

    def _condition_of(self, name: str) -> Condition:
        return self._conditions[name.split("/")[1]]

    # -- settling --------------------------------------------------------------------------

    async def settle(self) -> bool:
        """Bring what was heard into the incidents, and tell what is due; whether to do it again soon."""
        heard, self._heard = self._heard, {}
        overtaken = False
        try:
            overtaken = await self._settle_with_all(heard)
            self._away = False
        except FluidError as error:
            if not self._away:
                logger.warning("until the broker answers, this process decides alone on alerts: %s", error)
            self._away = True
        self._settle_alone(heard)
        return overtaken

    async def _settle_with_all(self, heard: dict[str, Heard]) -> bool:
        """With the whole fleet; takes out of `heard` what the fleet's incidents have in them.

        Whether another process came first with one of them.
        """
        overtaken = False
        noted = await self._host.broker.notes.read()
        notes = {name: note for name, note in noted.notes.items() if self._is_ours(name)}
        self._known = {name: one for name, note in notes.items() if (one := _read(note.value))}
        for name in sorted({*self._known, *heard} - set(self._alone)):
            before, news = self._known.get(name), heard.get(name)
            after, status = self._next(name, before, news, noted.now)
            if after != before:
                condition = self._condition_of(name)
                ttl = lasts(after, condition, self._alerts.repeat) if after else OVER_SECONDS
                value = msgspec.json.encode(after) if after else OVER
                if not await self._host.broker.notes.write(name, value, instead_of=notes.get(name), ttl=ttl):
                    # somebody else came first: what was heard is settled with what they have written
                    self._hear_again(name, heard.pop(name, None))
                    overtaken = True
                    continue
                self._remember(self._known, name, after)
            heard.pop(name, None)
            self._finish(name, after or before, status, news, noted.now, alone=False)
        return overtaken

    def _settle_alone(self, heard: Mapping[str, Heard]) -> None:
        now = timestamp()
        for name in sorted({*self._alone, *heard}):
            before, news = self._alone.get(name), heard.get(name)
            known = self._known.get(name)
            if before is None and news is not None and (not news.count or (known and known.is_open)):
                # it belongs to an incident of the fleet, of which people have been told
                self._hear_again(name, news)
                continue
            after, status = self._next(name, before, news, now)
            if after and is_forgotten(after, self._condition_of(name), self._alerts.repeat, now):
                after = None
            self._remember(self._alone, name, after)
            self._finish(name, after or before, status, news, now, alone=True)

    def _next(
        self, name: str, before: Incident | None, news: Heard | None, now: float
    ) -> tuple[Incident | None, Status | None]:
        """The incident from now on, None when it is over; and the notice that is due."""
        condition = self._condition_of(name)
        if before is None and (news is None or not news.count):
            return None, None
        after = happened(before, news or Heard(labels={}), condition, now)
        status = due(after, condition, self._alerts.repeat, now)
        if is_over(after, condition, now):
            return None, status
        return (told(after, now) if status else after), status

    def _finish(
        self,
        name: str,
        incident: Incident | None,
        status: Status | None,
        news: Heard | None,
        now: float,
        *,
        alone: bool,
    ) -> None:
        count = news.count if news else 0
        self._series.suppressed.add(amount=count - 1 if count and status is Status.firing else count)
        if status is not None and incident is not None:
            self._tell(self._notice(name, incident, status, now, alone=alone))

    def _notice(self, name: str, incident: Incident, status: Status, now: float, *, alone: bool) -> Notice:
        condition = self._condition_of(name)
        over = status is Status.resolved
        return Notice(
            status=status,
            condition=condition.name,
            severity=condition.severity,
            words=condition.words_when_over if over else condition.words,
            queue=self._host.broker.queue,
            labels=incident.labels,
            count=incident.count,
            began=from_milliseconds(incident.began * 1000),
            at=from_milliseconds(now * 1000),
            lasts_until=from_milliseconds((now + lasts(incident, condition, self._alerts.repeat)) * 1000),
            evidence=incident.evidence,
            runbook_url=condition.runbook_url,
            sender=self._host.worker_name,
            alone=alone,
        )

    def _hear_again(self, name: str, news: Heard | None) -> None:
        since = self._heard.get(name)
        if since is None and news is not None:
            self._heard[name] = news
        elif since is not None and news is not None:
            since.well = since.well or (news.well and not since.count)
            since.count += news.count
            since.taken = since.taken or news.taken
            since.evidence = since.evidence or news.evidence

    def _is_ours(self, name: str) -> bool:
        first, _, rest = name.partition("/")
        return first == NOTES and rest.partition("/")[0] in self._conditions

    @staticmethod
    def _remember(ledger: dict[str, Incident], name: str, incident: Incident | None) -> None:
        if incident is None:
            ledger.pop(name, None)
        else:
            ledger[name] = incident


def _name_of(condition: str, labels: Mapping[str, Any]) -> str:
    """The same in every process: the condition, and what sets the incident apart."""
    return "/".join([NOTES, condition, *(labels[name] for name in sorted(labels))])


def _read(value: bytes) -> Incident | None:
    """The incident of a note; None when it is over, or written by a release that tells it otherwise."""
    try:
        return msgspec.json.decode(value, type=Incident) if value else None
    except msgspec.MsgspecError:
        return None
