"""Telemetry as the `fluid` command finds it, through the entry-point group of plugins."""

from __future__ import annotations

from telemetry.telemetry import Telemetry


class TelemetryPlugin(Telemetry):
    """`Telemetry` with what `FLUID_TELEMETRY_*` says, or with the address that a command was given."""

    def __init__(self, *, host: str | None = None, port: int | None = None) -> None:
        super().__init__(host=host, port=port)
