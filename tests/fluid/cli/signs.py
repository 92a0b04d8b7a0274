"""A plugin and a command, as a distribution of its own would bring them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from fluid.errors import ConfigurationError
from fluid.plugins import Finding, Mark
from fluid.scheduler import TaskManager


class Signs:
    """A plugin that would serve somewhere."""

    def __init__(self, host: str = "127.0.0.1", port: int = 9999) -> None:
        self.url = f"http://{host}:{port}/signs"

    def attach(self, host: Any) -> None:
        """Say to whom."""
        typer.echo(f"attached to a {host.type}")

    def detach(self) -> None:
        """Say so."""
        typer.echo("detached")


class Weather:
    """A plugin that knows a hop of its own."""

    def attach(self, host: Any) -> None:
        """Never called: a doctor attaches nothing."""
        raise AssertionError

    def detach(self) -> None:
        """Nothing to leave."""

    async def checks(self, queue: str, consumers: Sequence[str]) -> Sequence[Finding]:
        """It rains."""
        told = f"it rains on {queue}, where {len(consumers)} consumers are"
        return [Finding("sky", Mark.broken, told, "take an umbrella")]


class Clumsy(Weather):
    """A plugin whose own look goes wrong."""

    async def checks(self, queue: str, consumers: Sequence[str]) -> Sequence[Finding]:
        """Stumble."""
        raise ValueError("stumbled")


def badly_set() -> Signs:
    """A plugin whose settings cannot work."""
    raise ConfigurationError("the signs are upside down")


def games(name: str) -> None:
    """Offer a game."""
    typer.echo(f"a game of {name}")


def opening(manager: TaskManager, hours: int = 8) -> int:
    """Say when the shop opens."""
    typer.echo(f"{manager.broker.queue} opens for {hours} hours")
    return 3
