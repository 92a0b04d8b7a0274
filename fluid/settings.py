"""The settings: one frozen value, checked whole before anything starts."""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from fluid.errors import ConfigurationError
from fluid.masking import is_denied, mask_text

__all__ = ["TaskManagerConfig", "explain_faults"]


def explain_faults(error: ValidationError, prefix: str) -> str:
    """Every fault of a settings value, a line each, by the name a user would set."""
    lines = []
    for fault in error.errors():
        field = ".".join(str(part) for part in fault["loc"]) or "settings"
        shown = fault["type"] != "missing" and not is_denied(field)
        given = f", got {mask_text(repr(fault['input']))}" if shown else ""
        lines.append(f"{field} ({prefix}{field.upper()}): {fault['msg']}{given}")
    return "settings that cannot work:\n  " + "\n  ".join(lines)


class TaskManagerConfig(BaseSettings):
    """What a consumer or a manager is told before it starts.

    Every field can be given as a keyword or as `FLUID_` and its name in upper case; the keyword
    wins. All faults are reported at once, as `ConfigurationError`.
    """

    model_config = SettingsConfigDict(env_prefix="FLUID_", frozen=True, extra="forbid")

    broker_url: str = Field(default="", repr=False)
    """Where runs are kept; empty is `embedded://`, the private server of this directory."""
    broker_durable: bool = True
    """Whether the broker is meant to keep runs over its own restart; if not, that is no danger."""
    max_concurrent_tasks: int = Field(default=32, ge=1, le=10_000)
    """Slots: how many bodies one consumer runs at once."""
    task_timeout: float = Field(default=300.0, ge=0)
    """Seconds a body may take unless its task says otherwise; 0 is no limit."""
    lease_seconds: float = Field(default=30.0, ge=0.3, le=3600)
    """Seconds a claimed run stays this consumer's without a renewal."""
    max_deliveries: int = Field(default=5, ge=1)
    """Losses after which a run is dead, unless its task says otherwise."""
    result_ttl: float = Field(default=3600.0, gt=0)
    """Seconds a result is kept, and why a run was aborted."""
    failure_ttl: float = Field(default=7 * 86400.0, gt=0)
    """Seconds the evidence of a failed run is kept."""
    stopping_grace_period: float = Field(default=10.0, ge=0)
    """Seconds a stopping consumer gives its bodies to finish."""
    queue_timeout: float = Field(default=5.0, gt=0)
    """Seconds a producer tries to reach the broker before `queue` raises."""
    loop_blocked_after: float = Field(default=0.25, gt=0)
    """Seconds after which a stalled event loop is called blocked."""
    fleet_events: int = Field(default=0, ge=0, le=10_000_000)
    """How many events the queue keeps for all to read (`fluid events`); 0: this process tells none."""

    def __init__(self, **values: Any) -> None:
        unknown = sorted(set(values) - set(type(self).model_fields))
        if unknown:
            raise ConfigurationError(
                f"unknown settings: {', '.join(unknown)}; known: {', '.join(type(self).model_fields)}"
            )
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigurationError(explain_faults(error, "FLUID_")) from None
