"""Everything that apprise knows: mail, chats, pagers. Its package is an extra, loaded where it is used."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

from aiohttp import ClientSession
from pydantic import Field, PrivateAttr, field_validator

from telemetry.alerts.channels.channel import Channel, DeliveryError
from telemetry.alerts.notices import Notice, Status

KINDS = {"critical": "failure", "warning": "warning", "info": "info"}


class Apprise(Channel):
    """Sends to apprise URLs, such as `mailto://`, `tgram://` or `pagerduty://`; in threads of its own."""

    type: Literal["apprise"] = "apprise"
    urls: Sequence[str] = Field(min_length=1, repr=False)
    """Where to; never shown but for their schemes."""

    _sender: Any = PrivateAttr(default=None)

    @field_validator("urls")
    @classmethod
    def _can_be_read(cls, urls: Sequence[str]) -> tuple[str, ...]:
        if find_spec("apprise") is None:
            raise ValueError("apprise is not installed: pip install 'fluid-tasks[apprise]'")
        make = import_module("apprise").Apprise.instantiate
        for number, url in enumerate(urls):
            if make(url, suppress_exceptions=True) is None:
                raise ValueError(f"apprise cannot read the URL number {number + 1}")
        return tuple(urls)

    @property
    def place(self) -> str:
        """The schemes of the URLs."""
        return ", ".join(f"{url.partition('://')[0]}://" for url in self.urls)

    async def deliver(self, notice: Notice, http: ClientSession) -> str:  # noqa: ARG002 - it brings its own
        """Send it once to each URL."""
        if self._sender is None:
            self._sender = import_module("apprise").Apprise()
            for url in self.urls:
                self._sender.add(url)
        kind = "success" if notice.status is Status.resolved else KINDS[notice.severity]
        sent = await self._sender.async_notify(
            body="\n".join(notice.details) or notice.summary, title=notice.summary, notify_type=kind
        )
        if not sent:
            raise DeliveryError("apprise could not deliver to every URL", again=False)
        return "sent"
