"""Whether a host is alive, ready and started, and why not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fluid.scheduler import TaskConsumer, TaskManager


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
        self._broker_was_lost = False

    def listen(self) -> None:
        """Hear of a broker that is lost."""
        self._host.broker.listeners.lost.append(self._broker_lost)

    def stop_listening(self) -> None:
        """Hear no more."""
        self._host.broker.listeners.lost.remove(self._broker_lost)

    def livez(self) -> Verdict:
        """Whether the process should go on. Whoever gets this answer knows that the loop turns.

        A broker that is away is no reason to start a process again.
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
        if isinstance(self._host, TaskConsumer) or self._broker_was_lost:
            return Check("broker", False, "the broker cannot be reached")
        return Check("broker", True, "the broker has not been asked yet")

    def _broker_lost(self, reason: str) -> None:  # noqa: ARG002 - probes tell it in their own words
        self._broker_was_lost = True
