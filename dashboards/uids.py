"""What the addresses of the boards end with, for whoever leads to one."""

from __future__ import annotations

from enum import StrEnum


class Uid(StrEnum):
    """The boards, by what their addresses end with."""

    overview = "fluid-overview"
    task = "fluid-task"
    queues = "fluid-queues"
    schedules = "fluid-schedules"
    telemetry = "fluid-telemetry"
