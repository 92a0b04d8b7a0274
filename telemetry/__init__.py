"""What the tasks of `fluid` do, made visible: metrics, health and a side server."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fluid import __version__

if TYPE_CHECKING:
    from telemetry.telemetry import Telemetry

__all__ = ["Telemetry", "__version__"]


def __getattr__(name: str) -> Any:
    # What it stands on is heavy, and not everyone who opens this door goes in.
    if name == "Telemetry":
        return import_module("telemetry.telemetry").Telemetry
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
