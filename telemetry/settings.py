"""The settings of the side server, and those of logs: frozen values, checked whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from fluid.errors import ConfigurationError
from fluid.settings import explain_faults

PREFIX = "FLUID_TELEMETRY_"


def _off_or_not_too_often(seconds: float) -> float:
    if 0 < seconds < 1:
        raise ValueError("0 for none, or at least 1 second is expected")
    return seconds


class TelemetrySettings(BaseSettings):
    """Every field can be given as a keyword or as `FLUID_TELEMETRY_` and its name in upper case.

    The keyword wins. All faults are reported at once, as `ConfigurationError`.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", min_length=1)
    """The address that the side server listens on."""
    port: int = Field(default=9464, ge=0, le=65535)
    """Its port; 0 for any that is free."""
    token: SecretStr | None = Field(default=None, min_length=1)
    """What everyone but a health probe must present, as `Authorization: Bearer`; nothing when None."""
    max_tasks: int = Field(default=500, ge=1)
    """Tasks with series of their own; the runs of any beyond are counted as `other`."""
    canary: Annotated[float, AfterValidator(_off_or_not_too_often)] = Field(default=0.0, ge=0, le=600)
    """Seconds between two canary runs through the queue of a consumer; 0 for none."""

    traces: Literal["links", "parents", "off"] = "links"
    """How an attempt's span hangs together with that of its queueing: it starts a trace of its own that links
    to it, or it is its child (`parents`), for backends that cannot follow links. `off`: no spans of runs, in
    a process that is traced for something else."""

    alerts: Path | None = None
    """A TOML file that says who is told of what, see [alerts](alerts.md); nobody is when None."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigurationError(explain_faults(error, PREFIX)) from None

    @property
    def port_was_asked(self) -> bool:
        """A port was given, so that no other one will do."""
        return "port" in self.model_fields_set

    @property
    def place_was_asked(self) -> bool:
        """A host or a port was given: who cannot have it wants to know."""
        return self.port_was_asked or "host" in self.model_fields_set


LOG_PREFIX = "FLUID_LOG_"


class LogSettings(BaseSettings):
    """Every field can be given as a keyword to `configure`, or as `FLUID_LOG_` and its name in upper case."""

    model_config = SettingsConfigDict(env_prefix=LOG_PREFIX, frozen=True, extra="forbid")

    format: Literal["auto", "json", "readable"] = "auto"
    """How lines look; `auto` is `readable` on a terminal and `json` elsewhere."""
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    """Lines below it are not written."""
    runs: bool = True
    """Write a line for each attempt that starts and each that ends well; trouble is written in any case."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigurationError(explain_faults(error, LOG_PREFIX)) from None

    @field_validator("level", mode="before")
    @classmethod
    def _in_upper_case(cls, level: object) -> object:
        return level.upper() if isinstance(level, str) else level
