"""A channel takes a notice or says why not, in words without secrets."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import ClientSession

from fluid.clock import now
from telemetry import names
from telemetry.alerts import Alertmanager, Apprise, Webhook
from telemetry.alerts.channels import http as over_http
from telemetry.alerts.channels.alertmanager import alert
from telemetry.alerts.channels.channel import Channel, DeliveryError
from telemetry.alerts.channels.webhook import ALL_WELL, COLOURS
from telemetry.alerts.notices import Status
from tests.support.lifeline import LOOPBACK
from tests.support.server_process import missing
from tests.support.servers import AlertmanagerServer
from tests.support.waiting import poll
from tests.telemetry.alerts.conftest import BEGAN, notice
from tests.telemetry.alerts.receiving import Manner, Receiver

SECRET = "T0P-SECRET"


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    """What channels send with."""
    async with ClientSession() as session:
        yield session


async def refusal(channel: Channel, http: ClientSession) -> DeliveryError:
    """Why it did not take a notice."""
    with pytest.raises(DeliveryError) as caught:
        await channel.deliver(notice(), http)
    error: DeliveryError = caught.value
    return error


# -- webhooks ------------------------------------------------------------------------------


async def test_a_webhook_is_sent_all_there_is_to_know(receiver: Receiver, http: ClientSession) -> None:
    channel = Webhook(url=f"{receiver.url}/hook", headers={"Authorization": f"Bearer {SECRET}"})
    assert await channel.deliver(notice(), http) == "200 OK ok"
    (told,) = receiver.received
    assert receiver.paths == ["/hook"]
    assert receiver.headers[0]["Authorization"] == f"Bearer {SECRET}"
    assert told == {
        "version": 1,
        "status": "firing",
        "condition": "task_failing",
        "severity": "warning",
        "queue": "orders",
        "labels": {"task": "charge"},
        "summary": "[orders] runs fail (task charge)",
        "details": [
            "3 times since 2026-11-24 12:00:00 UTC",
            "task: charge",
            "run: r-1",
            "error: ValueError: <no> & more",
            "look: fluid runs show r-1",
            "what to do: https://runbooks.example/charge",
        ],
        "count": 3,
        "began": "2026-11-24T12:00:00+00:00",
        "at": "2026-11-24T12:00:05+00:00",
        "evidence": {"task": "charge", "run": "r-1", "error": "ValueError: <no> & more"},
        "runbook_url": "https://runbooks.example/charge",
        "sender": "ann",
        "alone": False,
    }


async def test_a_chat_is_sent_its_shape_and_no_markup_of_others(
    receiver: Receiver, http: ClientSession
) -> None:
    channel = Webhook(url=receiver.url, shape="slack")
    await channel.deliver(notice(labels={"task": "<!channel>"}), http)
    await channel.deliver(notice(status=Status.resolved), http)
    told, over = receiver.received
    assert told["text"] == "*[orders] runs fail (task &lt;!channel&gt;)*"
    (bar,) = told["attachments"]
    assert bar["color"] == COLOURS["warning"]
    assert "error: ValueError: &lt;no&gt; &amp; more" in bar["text"].splitlines()
    assert bar["ts"] == int((BEGAN + timedelta(seconds=5)).timestamp())
    assert over["attachments"][0]["color"] == ALL_WELL


@pytest.mark.parametrize(
    ("manner", "said", "again"),
    [
        ("refuse", "403 Forbidden no", False),
        ("fail", "500 Internal Server Error broken", True),
        ("hang", "no answer within 0.3 s", True),
        ("redirect", "302 Found (redirects are not followed)", False),
    ],
)
async def test_what_a_webhook_answers_is_said(
    receiver: Receiver,
    http: ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    manner: Manner,
    said: str,
    again: bool,
) -> None:
    monkeypatch.setattr(over_http, "TRY_SECONDS", 0.3)
    receiver.manner = manner
    error = await refusal(Webhook(url=f"{receiver.url}/hook"), http)
    assert (str(error), error.again) == (said, again)
    assert receiver.paths == ["/hook"]


async def test_no_error_shows_a_secret(receiver: Receiver, http: ClientSession, free_port: int) -> None:
    receiver.manner = "echo"
    headers = {"Authorization": f"Bearer {SECRET}"}
    host = receiver.url.removeprefix("http://")
    for url in (
        f"{receiver.url}/services/{SECRET}?token={SECRET}",
        f"http://someone:{SECRET}@{LOOPBACK}:{free_port}/{SECRET}",
        f"http://someone:{SECRET}@{host}/{SECRET}",
    ):
        channel = Webhook(url=url, headers=headers)
        error = await refusal(channel, http)
        assert SECRET not in str(error)
        assert SECRET not in repr(channel)
        assert SECRET not in channel.place
        assert error.__context__ is None or error.__suppress_context__
    assert str(await refusal(Webhook(url=f"{receiver.url}/{SECRET}"), http)).startswith("400 Bad Request no")


async def test_a_header_that_cannot_be_sent_is_no_crash(receiver: Receiver, http: ClientSession) -> None:
    error = await refusal(Webhook(url=receiver.url, headers={"X-Token": f"{SECRET}\nX: y"}), http)
    assert SECRET not in str(error)
    assert receiver.received == []


# -- Alertmanager --------------------------------------------------------------------------


def test_an_alert_has_the_same_labels_in_every_process_and_in_every_notice() -> None:
    told = [
        alert(notice(status=status, sender=sender, count=count, alone=alone))
        for status, sender, count, alone in (
            (Status.firing, "ann", 1, False),
            (Status.repeated, "ben", 9, True),
            (Status.resolved, "cat", 9, False),
        )
    ]
    assert [one["labels"] for one in told] == [
        {"alertname": "task_failing", "severity": "warning", "queue": "orders", "task": "charge"}
    ] * 3
    assert [one["endsAt"] for one in told] == [
        *["2026-11-24T14:00:00.000+00:00"] * 2,
        "2026-11-24T12:00:05.000+00:00",
    ]


@pytest.mark.servers
async def test_an_alertmanager_has_the_alert_until_it_is_over(
    receiver: Receiver, http: ClientSession
) -> None:
    with AlertmanagerServer(receiver.url) as server:
        channel = Alertmanager(url=f"{server.url}/")
        instant = now()
        about: dict[str, Any] = {"began": instant, "lasts_until": instant + timedelta(hours=2)}
        assert (await channel.deliver(notice(at=instant, **about), http)).startswith("200 OK")
        await channel.deliver(notice(at=instant, sender="ben", count=9, **about), http)
        (found,) = await poll(server.alerts, bool, "an alert")
        assert found["status"]["state"] == "active"
        assert found["labels"]["alertname"] == "task_failing"
        assert found["annotations"]["summary"] == "[orders] runs fail (task charge)"
        assert found["annotations"]["runbook_url"] == "https://runbooks.example/charge"
        assert found["annotations"]["description"].startswith("9 times since")
        assert datetime.fromisoformat(found["endsAt"]).astimezone(UTC) > instant + timedelta(hours=1)
        await channel.deliver(notice(status=Status.resolved, at=now(), **about), http)
        assert await poll(server.alerts, lambda alerts: not alerts, "the alert to end") == []
        await receiver.wait_until(lambda: "resolved" in receiver.statuses)
        assert receiver.statuses[0] == "firing"


@pytest.mark.servers
async def test_what_an_alertmanager_refuses_is_said(receiver: Receiver, http: ClientSession) -> None:
    with AlertmanagerServer(receiver.url) as server:
        with pytest.raises(DeliveryError, match=r"400 Bad Request.*start time must be before end time"):
            await Alertmanager(url=server.url).deliver(
                notice(status=Status.resolved, at=BEGAN - timedelta(1)), http
            )
        error = await refusal(Alertmanager(url=f"{server.url}/nowhere"), http)
        assert str(error).startswith("404 Not Found")


# -- apprise -------------------------------------------------------------------------------


of_apprise = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
"""What apprise itself imports, where Python still has it."""


@pytest.fixture
def installed() -> None:
    """With the extra."""
    try:
        __import__("apprise")
    except ImportError:
        missing("the extra `apprise` is not installed")


@of_apprise
@pytest.mark.usefixtures("installed")
async def test_apprise_delivers_to_its_urls(receiver: Receiver, http: ClientSession) -> None:
    channel = Apprise(urls=[f"{receiver.url.replace('http', 'json')}/{SECRET}"])
    assert await channel.deliver(notice(), http) == "sent"
    (told,) = receiver.received
    assert told["title"] == "[orders] runs fail (task charge)"
    assert told["type"] == "warning"
    assert "3 times since" in told["message"]
    assert channel.place == "json://"
    assert SECRET not in repr(channel)
    await channel.deliver(notice(status=Status.resolved), http)
    assert receiver.received[1]["type"] == "success"
    receiver.manner = "fail"
    assert str(await refusal(channel, http)) == "apprise could not deliver to every URL"


@of_apprise
@pytest.mark.usefixtures("installed")
def test_a_url_that_apprise_cannot_read_is_a_fault_at_the_start() -> None:
    with pytest.raises(ValueError, match="apprise cannot read the URL number 2") as caught:
        Apprise(urls=["json://localhost", f"nonsense://{SECRET}"])
    assert SECRET not in str(caught.value.__cause__)


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("telemetry.alerts.channels.apprise.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'fluid-tasks\[apprise\]'"):
        Apprise(urls=["json://localhost"])


async def test_nobody_loads_apprise_who_does_not_use_it() -> None:
    program = "import sys, telemetry.alerts, telemetry.telemetry; sys.exit('apprise' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, env=os.environ)
    assert await process.wait() == 0


def test_the_kinds_of_channels_are_the_values_of_their_label() -> None:
    kinds = {kind.model_fields["type"].default for kind in (Alertmanager, Webhook, Apprise)}
    assert kinds == set(names.CHANNEL.values)
