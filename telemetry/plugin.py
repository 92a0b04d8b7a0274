"""Telemetry as the `fluid` command finds it, through the entry-point group of plugins."""

from __future__ import annotations

from collections.abc import Sequence

from fluid.plugins import Finding
from fluid.scheduler import TaskManager
from telemetry import logs
from telemetry.checks import look
from telemetry.telemetry import Telemetry


class TelemetryPlugin(Telemetry):
    """`Telemetry` with what `FLUID_TELEMETRY_*` says, or with the address that a command was given.

    It also sets up logging, for a program that has not.
    """

    def __init__(self, *, host: str | None = None, port: int | None = None) -> None:
        super().__init__(host=host, port=port)

    def attach(self, host: TaskManager) -> None:
        """Have lines written, then listen and serve."""
        if not logs.is_configured():
            logs.configure()
        super().attach(host)

    async def checks(self, queue: str, consumers: Sequence[str]) -> Sequence[Finding]:
        """Whether the consumers here can be scraped, and traces and logs exported."""
        return await look(self.settings, queue, consumers)
