"""What a channel is: it takes a notice, or says why not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from aiohttp import ClientSession
from pydantic import BaseModel, ConfigDict

from fluid.errors import FluidError
from telemetry.alerts.notices import Notice


class DeliveryError(FluidError):
    """A channel did not take a notice. The text holds no secret."""

    reason = "delivery"

    def __init__(self, why: str, *, again: bool) -> None:
        self.again = again
        """Whether another try may help."""
        super().__init__(why)


class Channel(BaseModel, ABC):
    """Where notices go to."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    type: Any
    """Which kind of channel: one of the values of the label `channel`."""

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it leads, without secrets."""

    @abstractmethod
    async def deliver(self, notice: Notice, http: ClientSession) -> str:
        """Have the notice taken; what was answered. Raises `DeliveryError`."""
