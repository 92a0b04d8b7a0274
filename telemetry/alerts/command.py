"""`fluid alerts test`: a trial notice through every channel, and what each answered."""

from __future__ import annotations

import asyncio
import socket
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from aiohttp import ClientSession

from fluid.clock import now
from fluid.errors import ConfigurationError
from telemetry.alerts.channels.channel import Channel, DeliveryError
from telemetry.alerts.config import Alerts
from telemetry.alerts.notices import Notice, Status
from telemetry.settings import PREFIX, TelemetrySettings

TRIAL_SECONDS = 60.0
"""How long an Alertmanager shows the trial."""

app = typer.Typer(
    help="Alerts: who is told when something goes wrong.",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
)


@app.callback()
def alerts() -> None:
    """Alerts: who is told when something goes wrong."""


@app.command("test")
def try_channels(
    config: Annotated[
        Path | None,
        typer.Argument(metavar="CONFIG", help=f"A TOML file; without it, the one in {PREFIX}ALERTS."),
    ] = None,
) -> None:
    """Send a trial notice through every channel, and say what each answered.

    Answers 0 when all have taken it, 1 when one has not, or when the file has faults.
    """
    path = config or TelemetrySettings().alerts
    if path is None:
        raise ConfigurationError(f"there is nothing to test: name a file, or set {PREFIX}ALERTS")
    channels = Alerts.read(path).channels
    answers = asyncio.run(_try_all(channels))
    for channel, (taken, answer) in zip(channels, answers, strict=True):
        typer.echo(f"{'ok    ' if taken else 'FAILED'}  {channel.type:<12}  {channel.place}  {answer}")
    raise typer.Exit(0 if all(taken for taken, _ in answers) else 1)


async def _try_all(channels: tuple[Channel, ...]) -> list[tuple[bool, str]]:
    async with ClientSession() as http:
        return await asyncio.gather(*(_try(channel, http) for channel in channels))


async def _try(channel: Channel, http: ClientSession) -> tuple[bool, str]:
    try:
        return True, await channel.deliver(_trial(), http)
    except DeliveryError as error:
        return False, str(error)


def _trial() -> Notice:
    instant = now()
    return Notice(
        status=Status.trial,
        condition="fluid_trial",
        severity="info",
        words="a trial notice",
        queue="trial",
        began=instant,
        at=instant,
        lasts_until=instant + timedelta(seconds=TRIAL_SECONDS),
        sender=socket.gethostname(),
    )
