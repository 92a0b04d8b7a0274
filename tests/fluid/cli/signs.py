"""A plugin and a command, as a distribution of its own would bring them."""

from __future__ import annotations

from typing import Any

import typer


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


def rules(name: str) -> None:
    """Show the rules of the shop."""
    typer.echo(f"the rules of {name}")
