"""The alerts as they are declared, in Python or in TOML; checked whole before anything starts."""

from __future__ import annotations

import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from fluid.errors import ConfigurationError
from telemetry.alerts.channels.alertmanager import Alertmanager
from telemetry.alerts.channels.apprise import Apprise
from telemetry.alerts.channels.webhook import Webhook
from telemetry.alerts.conditions import USUAL_CONDITIONS, Condition

AnyChannel = Annotated[Alertmanager | Webhook | Apprise, Field(discriminator="type")]

_FROM_ENVIRONMENT = re.compile(r"\$\{(\w+)\}")


class Alerts(BaseModel):
    """Who is told of what: `Telemetry(alerts=Alerts(channels=[Webhook(url=...)]))`.

    All faults are reported at once, as `ConfigurationError`, and none shows a secret.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: tuple[AnyChannel, ...] = Field(min_length=1)
    """Each of them is sent every notice."""
    conditions: tuple[Condition, ...] = Field(default=USUAL_CONDITIONS, min_length=1)
    """What people are told of; without any, a failing task, dead and lost runs, missed ticks, a blocked event
    loop, and a broker that is lost."""
    repeat: float = Field(default=3600.0, ge=1)
    """Seconds after which an incident that goes on is told again."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            faults = "\n  ".join(_faults_of(error))
            raise ConfigurationError(f"alerts that cannot work:\n  {faults}") from None

    @field_validator("conditions")
    @classmethod
    def _have_their_own_names(cls, conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
        times = Counter(condition.name for condition in conditions)
        if twice := [name for name, count in times.items() if count > 1]:
            raise ValueError(f"each condition needs a `name` of its own: {', '.join(twice)} comes twice")
        return conditions

    @classmethod
    def read(cls, path: Path) -> Alerts:
        """The alerts in a TOML file; `${NAME}` in a text is taken from the environment."""
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"alerts cannot be read from {path}: {error}") from None
        missing: set[str] = set()
        values = _filled_in(values, missing)
        if missing:
            raise ConfigurationError(f"{path} names what the environment lacks: {', '.join(sorted(missing))}")
        try:
            return cls(**values)
        except ConfigurationError as error:
            raise ConfigurationError(f"{path}: {error}") from None


def _filled_in(value: Any, missing: set[str]) -> Any:
    def of_environment(found: re.Match[str]) -> str:
        name = found[1]
        if name not in os.environ:
            missing.add(name)
        return os.environ.get(name, found[0])

    match value:
        case str():
            return _FROM_ENVIRONMENT.sub(of_environment, value)
        case list():
            return [_filled_in(one, missing) for one in value]
        case dict():
            return {name: _filled_in(one, missing) for name, one in value.items()}
    return value


def _faults_of(error: ValidationError) -> Iterator[str]:
    # what was given may be a secret, so it is not shown
    for fault in error.errors(include_input=False, include_url=False, include_context=False):
        yield f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].removeprefix('Value error, ')}"
