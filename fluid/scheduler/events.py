"""The published table of events: what is announced, when, and with what.

An event is announced after it is true, at most once, and only when the broker has agreed to it.
Durations are measured once, here in the core: `waited` by the broker's clock, `ran` and
`dispatched` by a monotonic one. Listeners never subtract instants.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from fluid.scheduler.run import TaskRun


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A fact about a run or a consumer. Fields that do not belong to the event are None or empty."""

    name: str
    """The event's name, a key of `EVENTS`."""
    run: TaskRun[Any] | None = None
    """The run it is about; a sync handler sees the live one, an async handler a snapshot."""
    reason: str = ""
    """A short stable word for why."""
    waited: float | None = None
    """Seconds from ready to claimed, by the broker's clock, never below zero."""
    dispatched: float | None = None
    """Seconds from claimed to started."""
    ran: float | None = None
    """Seconds the body took."""
    latency: float | None = None
    """Seconds from queued to ended, by the broker's clock."""
    delay: float | None = None
    """Seconds until the next attempt is due."""
    owner: str = ""
    """The consumer that had the run last."""
    facts: Mapping[str, Any] = {}
    """What is told besides, for events about a consumer."""


@dataclass(frozen=True, slots=True)
class EventInfo:
    """A row of the table."""

    when: str
    """When it is announced, and with what."""
    about_run: bool = True
    """About a run, or about a consumer and its queue."""
    reasons: tuple[str, ...] = ()
    """The closed set of reasons it can be told with."""


def _about_consumer(when: str, *reasons: str) -> EventInfo:
    return EventInfo(when, about_run=False, reasons=reasons)


FAILURE_REASONS = ("error", "timeout", "retry_asked", "result", "process_died", "cancelled_inside")
"""Why an attempt failed: the body raised, took too long, asked for another attempt, returned what
cannot be kept, its process died, or something within it was cancelled."""

DANGERS = ("eviction", "not_durable", "memory", "replica", "clock_offset")
"""What can be wrong with a broker: it may evict keys, keeps no append-only file, has little memory left,
is a replica, or its clock and ours differ."""

EVENTS: Mapping[str, EventInfo] = {
    "queue": EventInfo("about to be queued; the run is in `init`"),
    "queued": EventInfo("the broker has it, ready to be claimed"),
    "scheduled": EventInfo("the broker has it, not due yet"),
    "refused": EventInfo(
        "the broker said no, could not be asked, or was not asked any more; with `reason`",
        reasons=("already_queued", "unique", "unavailable", "uncertain", "cancelled", "error"),
    ),
    "start": EventInfo("an attempt begins, in a slot; with `waited` and `dispatched`"),
    "retry": EventInfo(
        "an attempt failed and another follows; with `reason`, `delay`, `ran`", reasons=FAILURE_REASONS
    ),
    "held": EventInfo(
        "moved aside because it cannot be claimed; with `reason`",
        reasons=("unknown_task", "newer_message", "invalid_params", "limit", "rate", "paused"),
    ),
    "interrupted": EventInfo("handed back by a stopping consumer; costs no attempt"),
    "lost": EventInfo(
        "a lease ran out; said by the rescuer, once per lost attempt, with `owner`; with `reason` when there "
        "was none, for the server had come back with half a move",
        reasons=("stranded",),
    ),
    "stale": EventInfo(
        "an outcome was refused because the lease had gone; `reason` is what it would have been",
        reasons=("success", "failure", "aborted", "retry", "interrupted", "held", "dead"),
    ),
    "end": EventInfo("the broker has accepted a final outcome; once per run, with `ran` and `latency`"),
    "success": EventInfo("right after `end`, for a run that succeeded"),
    "failure": EventInfo("right after `end`, when the last allowed attempt failed", reasons=FAILURE_REASONS),
    "aborted": EventInfo(
        "right after `end`, for a run that was ended on purpose; with `reason`",
        reasons=("abort_asked", "cancelled", "discarded", "expired", "replaced"),
    ),
    "dead": EventInfo(
        "no verdict was possible; with `reason`", reasons=("lost_too_often", "unreadable", "invalid_params")
    ),
    "consumer_started": _about_consumer("the consumer claims; facts: `consumer`"),
    "consumer_stopping": _about_consumer("the consumer claims no more; facts: `consumer`"),
    "consumer_stopped": _about_consumer("the consumer has stopped; facts: `consumer`"),
    "broker_lost": _about_consumer("the broker cannot be reached; facts: `error`"),
    "broker_recovered": _about_consumer("the broker can be reached again; facts: `seconds` it was away"),
    "broker_unsafe": _about_consumer(
        "the broker is in a state in which runs can be lost or refused; with `reason`", *DANGERS
    ),
    "broker_safe": _about_consumer("a danger that `broker_unsafe` told has passed; with `reason`", *DANGERS),
    "broker_rewound": _about_consumer(
        "the broker went back in time, to before what it had told this process; facts: what it `forgot` "
        "(`runs`, or else `outcomes`), and how many runs it had ever accepted `before` and `after`"
    ),
    "loop_blocked": _about_consumer(
        "the event loop turns again after it was blocked; facts: `seconds`, `stack`, and the `task` and "
        "`run_id` of the run that blocked it, empty when it was none"
    ),
    "handler_failed": _about_consumer(
        "a handler raised or took too long, or an interceptor raised (`event` is `queueing`, `executing` or "
        "`in_process`); facts: `event`, `handler`, `error`, `count` of those since it was last told"
    ),
    "handler_dropped": _about_consumer(
        "events were dropped before a handler saw them; facts: `event`, `handler`, `count`"
    ),
    "schedule_fired": _about_consumer(
        "a tick was fired, its run queued or refused; facts: `task`, `tick`, `lateness` in seconds, `next`"
    ),
    "schedule_missed": _about_consumer("ticks passed that will not be fired; facts: `task`, `count`"),
    "queue_paused": _about_consumer("the queue is paused: nothing is claimed"),
    "queue_resumed": _about_consumer("the queue is claimed from again"),
    "task_paused": _about_consumer("the runs of a task are held from now on; facts: `task`"),
    "task_resumed": _about_consumer("the runs of a task are claimed again; facts: `task`"),
}

EventHandler = Callable[[Event], None]
AsyncHandler = Callable[[Event], Awaitable[None]]
"""An async handler of events, given to `register_async_handler`."""
