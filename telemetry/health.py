"""Whether a host is alive, ready and started, and why not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fluid.masking import mask_text
from fluid.scheduler import Event, TaskConsumer, TaskManager

HANDLER = "health"
"""The name that our handler is registered with."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to a probe: fine when every check is."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return all(check.ok for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """The answer as plain data."""
        return {
            "ok": self.ok,
            "checks": {check.name: {"ok": check.ok, "reason": check.reason} for check in self.checks},
        }


class Health:
    """Answers probes about one host, out of what it knows already: no probe asks the broker."""

    def __init__(self, host: TaskManager) -> None:
        self._host = host
        self._started = False
        self._broker_error = ""
        """Why the broker could not be reached when it was last lost; empty when it never was."""

    def listen(self) -> None:
        """Hear of a broker that is lost, and of a start that is over before anybody asks."""
        self._host.broker.listeners.lost.append(self._broker_lost)
        self._host.dispatcher.register_handler(f"consumer_started.{HANDLER}", self._consumer_started)

    def stop_listening(self) -> None:
        """Hear no more."""
        self._host.broker.listeners.lost.remove(self._broker_lost)
        self._host.dispatcher.unregister_handler(f"consumer_started.{HANDLER}")

    def livez(self) -> Verdict:
        """Whether the process should go on. Whoever gets this answer knows that the loop turns.

        While the loop is blocked there is no answer at all, from no probe, for they are answered in it. A
        broker that is away is no reason to start a process again.
        """
        return Verdict((Check("loop", True, "the event loop turns"),))

    def readyz(self) -> Verdict:
        """Whether the host does its work now: it runs, reaches the broker and, if a consumer, claims."""
        running = Check("running", self._host.is_running(), f"it is {self._host.state}")
        return Verdict((running, self._broker(), *self._claiming()))

    def startupz(self) -> Verdict:
        """Whether the start is over, which stays true."""
        begun = self._host.is_running() and all(check.ok for check in self._claiming())
        self._started = self._started or begun
        return Verdict((Check("started", self._started, "it has started" if self._started else "it starts"),))

    def _claiming(self) -> tuple[Check, ...]:
        if not isinstance(self._host, TaskConsumer):
            return ()
        claiming = self._host.claiming
        return (Check("claiming", claiming, f"the claim loop {'runs' if claiming else 'does not run'}"),)

    def _broker(self) -> Check:
        if self._host.broker.up:
            return Check("broker", True, "the last call reached the broker")
        if self._broker_error:
            return Check("broker", False, f"the broker cannot be reached: {self._broker_error}")
        if isinstance(self._host, TaskConsumer):
            return Check("broker", False, "the broker has not been reached yet")
        return Check("broker", True, "the broker has not been asked yet")

    def _consumer_started(self, event: Event) -> None:  # noqa: ARG002 - it says no more than that
        self._started = True

    def _broker_lost(self, error: str) -> None:
        self._broker_error = mask_text(error)
