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
class Health:
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


def live() -> Health:
    """Whether the process should go on: whoever gets this answer knows that the loop turns.

    A broker that is away is no reason to start a process again.
    """
    return Health((Check("loop", True, "the event loop turns"),))


def ready(host: TaskManager) -> Health:
    """Whether the host does its work now: it runs, claims if it is a consumer, and reaches the broker."""
    checks = [_running(host), _broker(host)]
    if isinstance(host, TaskConsumer):
        reason = "the claim loop runs" if host.claiming else "the claim loop does not run"
        checks.append(Check("claiming", host.claiming, reason))
    return Health(tuple(checks))


def started(host: TaskManager) -> Health:
    """Whether the start is over; it stays true while the host stops."""
    begun = not host.state.is_init and (host.is_stopping() or not isinstance(host, TaskConsumer) or host.claiming)
    return Health((Check("started", begun, "it has started" if begun else "it starts"),))


def _running(host: TaskManager) -> Check:
    return Check("running", host.is_running(), f"it is {host.state}")


def _broker(host: TaskManager) -> Check:
    broker = host.broker
    if broker.up:
        return Check("broker", True, "the last call reached the broker")
    if isinstance(host, TaskConsumer) or broker.lost:
        return Check("broker", False, "the broker cannot be reached")
    return Check("broker", True, "the broker has not been asked yet")
