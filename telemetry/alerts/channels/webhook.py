"""A webhook: any URL that takes JSON, in our own shape or in Slack's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from aiohttp import ClientSession
from pydantic import Field

from telemetry.alerts.channels.channel import Channel
from telemetry.alerts.channels.http import Url, place_of, post, secrets_in
from telemetry.alerts.notices import Notice, Status

VERSION = 1
"""Of the generic shape: a field may be added, none changes its meaning."""

COLOURS = {"critical": "#d00000", "warning": "#f2a600", "info": "#4078c0"}
ALL_WELL = "#2e9e44"


class Webhook(Channel):
    """POSTs a notice as JSON; whatever answers 2xx has taken it."""

    type: Literal["webhook"] = "webhook"
    url: Url
    """Where to; never shown but for its host."""
    shape: Literal["generic", "slack"] = "generic"
    """`slack` is also understood by Mattermost, Rocket.Chat and Discord (at its `/slack` URL)."""
    headers: Mapping[str, str] = Field(default_factory=dict, repr=False)
    """Sent along, such as `Authorization`; never shown."""

    @property
    def place(self) -> str:
        """The host of the URL."""
        return place_of(self.url)

    async def deliver(self, notice: Notice, http: ClientSession) -> str:
        """Send it once."""
        shapes = {"generic": generic, "slack": slack}
        return await post(
            http,
            self.url,
            shapes[self.shape](notice),
            headers=self.headers,
            secrets=secrets_in(self.url, self.headers),
        )


def generic(notice: Notice) -> dict[str, Any]:
    """All there is to know, as plain data; instants in ISO 8601."""
    return {
        "version": VERSION,
        "status": str(notice.status),
        "condition": notice.condition,
        "severity": notice.severity,
        "queue": notice.queue,
        "labels": dict(notice.labels),
        "summary": notice.summary,
        "details": notice.details,
        "count": notice.count,
        "began": notice.began.isoformat(),
        "at": notice.at.isoformat(),
        "evidence": dict(notice.evidence),
        "runbook_url": notice.runbook_url,
        "sender": notice.sender,
        "alone": notice.alone,
    }


def slack(notice: Notice) -> dict[str, Any]:
    """One line in bold, the rest beside a bar in the colour of its severity."""
    colour = ALL_WELL if notice.status is Status.resolved else COLOURS[notice.severity]
    summary = _escaped(notice.summary)
    return {
        "text": f"*{summary}*",
        "attachments": [
            {
                "color": colour,
                "fallback": summary,
                "text": _escaped("\n".join(notice.details)),
                "footer": _escaped(f"{notice.condition} ({notice.severity})"),
                "ts": int(notice.at.timestamp()),
            }
        ],
    }


def _escaped(text: str) -> str:
    """These three would be markup; a task's name could else call everybody in the room."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
