"""A run as the broker remembers it: records, claims and outcomes become runs again."""

from __future__ import annotations

from typing import Any

import msgspec

from fluid.errors import FluidError
from fluid.masking import mask
from fluid.scheduler.codec import Message, Outcome, decode_message, decode_outcome
from fluid.scheduler.moves import Claimed, RunRecord
from fluid.scheduler.run import RunDoor, TaskRun
from fluid.scheduler.states import TaskPriority, TaskState


def run_of_claim(claimed: Claimed, door: RunDoor | None) -> TaskRun[Any]:
    """The run in our hands, before its message has been read: without parameters or lineage."""
    return TaskRun(
        id=claimed.id,
        name=claimed.task,
        params=None,
        priority=claimed.priority,
        state=TaskState.queued,
        failures=claimed.failures,
        losses=claimed.losses,
        delivery=claimed.delivery,
        queued_at=claimed.queued,
        root_run_id=claimed.id,
        door=door,
    )


def add_message(run: TaskRun[Any], message: Message) -> None:
    """What travelled with the run, but for its parameters."""
    run.from_run_id = message.from_run_id
    run.root_run_id = message.root_run_id or run.id
    run.headers = message.headers


def run_of_record(record: RunRecord, door: RunDoor | None) -> TaskRun[Any]:
    """The run as it is kept. `params` is None where the message is not kept, as after a success."""
    outcome = decode_outcome(record.outcome)
    run: TaskRun[Any] = TaskRun(
        id=record.id,
        name=record.task or outcome.task,
        params=None,
        priority=record.priority if record.task else TaskPriority(outcome.priority),
        state=record.state,
        failures=record.failures or outcome.failures,
        losses=record.losses or outcome.losses,
        delivery=record.delivery,
        queued_at=record.queued or outcome.queued,
        reason=record.reason,
        from_run_id=outcome.from_run_id,
        root_run_id=outcome.root_run_id or record.id,
        door=door,
    )
    add_outcome(run, outcome)
    if record.message:
        try:
            message = decode_message(record.message)
        except FluidError as error:
            run.error = run.error or str(error)
        else:
            add_message(run, message)
            run.params = msgspec.json.decode(message.params)
    return run


def add_outcome(run: TaskRun[Any], outcome: Outcome) -> None:
    """When it ran and what went wrong."""
    run.error = outcome.error
    if outcome.started:
        run.started_at = outcome.started
    if outcome.ended and (run.is_done or run.state is TaskState.dead):
        run.ended_at = outcome.ended


def trace_id_in(traceparent: str) -> str:
    """The trace that a W3C `traceparent` names; empty when it names none."""
    parts = traceparent.split("-")
    return parts[1] if len(parts) == 4 else ""


def evidence(record: RunRecord, door: RunDoor | None) -> dict[str, Any]:
    """All that is kept of a run, as plain data for a person or for JSON; secrets are masked."""
    run = run_of_record(record, door)
    outcome = decode_outcome(record.outcome)
    told = run.summary() | {
        "params": mask(run.params, _secrets_of(record)),
        "error_type": outcome.error_type,
        "traceback": outcome.traceback,
        "consumer": record.owner or outcome.consumer,
        "lost_by": list(record.owners),
        "replayed_as": record.replayed_as,
        "traceparent": outcome.traceparent,
        "trace_id": trace_id_in(outcome.traceparent or run.headers.get("traceparent", "")),
        "headers": mask(run.headers),
    }
    if record.state is TaskState.success:
        told["result"] = mask(msgspec.json.decode(outcome.result))
    if record.progress:
        told["progress"] = msgspec.json.decode(record.progress)
    return told


def _secrets_of(record: RunRecord) -> tuple[str, ...]:
    try:
        return decode_message(record.message).secrets if record.message else ()
    except FluidError:
        return ()  # then there are no parameters to show either
