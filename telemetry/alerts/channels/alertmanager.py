"""An Alertmanager, by the second version of its API: it groups, silences and routes once more."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from aiohttp import ClientSession
from pydantic import Field

from telemetry.alerts.channels.channel import Channel
from telemetry.alerts.channels.http import Url, place_of, post, secrets_in
from telemetry.alerts.notices import Notice, Status


class Alertmanager(Channel):
    """POSTs to `<url>/api/v2/alerts`. An incident is one alert there, whichever process tells of it."""

    type: Literal["alertmanager"] = "alertmanager"
    url: Url
    """Its address, such as `http://alertmanager:9093`, with its route prefix if it has one."""
    headers: Mapping[str, str] = Field(default_factory=dict, repr=False)
    """Sent along, such as `Authorization`; never shown."""

    @property
    def place(self) -> str:
        """The host of the URL."""
        return place_of(self.url)

    async def deliver(self, notice: Notice, http: ClientSession) -> str:
        """Send it once."""
        return await post(
            http,
            f"{self.url.rstrip('/')}/api/v2/alerts",
            [alert(notice)],
            headers=self.headers,
            secrets=secrets_in(self.url, self.headers),
        )


def alert(notice: Notice) -> dict[str, Any]:
    """The notice as an alert. Its labels are what makes it the same one: nothing of a process is in them."""
    over = notice.status is Status.resolved
    annotations = {
        "summary": notice.summary,
        "description": "\n".join(notice.details),
        "runbook_url": notice.runbook_url,
    }
    labels = {
        "alertname": notice.condition,
        "severity": notice.severity,
        "queue": notice.queue,
        **notice.labels,
    }
    return {
        # an empty label is no label there
        "labels": {name: value for name, value in labels.items() if value},
        "annotations": {name: value for name, value in annotations.items() if value},
        "startsAt": _instant(notice.began),
        "endsAt": _instant(notice.at if over else notice.lasts_until),
    }


def _instant(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
