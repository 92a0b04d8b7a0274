"""A run on its way out: made from a task and parameters, and written for the broker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from uuid_utils import uuid7

from fluid.errors import DeclarationError, InvalidParamsError, UnreadableMessageError
from fluid.scheduler.codec import MESSAGE_VERSION, build_params, decode_message, encode_message
from fluid.scheduler.history import add_message
from fluid.scheduler.moves import RunRecord, Submission
from fluid.scheduler.options import QueueOptions
from fluid.scheduler.run import RunDoor, TaskRun
from fluid.scheduler.states import TaskPriority
from fluid.scheduler.task import Task, UniqueKey


def new_run(
    task: Task,
    priority: TaskPriority | None,
    options: QueueOptions,
    params: Mapping[str, Any],
    *,
    door: RunDoor,
) -> TaskRun[Any]:
    """A run in `init`, with validated parameters. Raises `InvalidParamsError`."""
    run_id = options.run_id or str(uuid7())
    return TaskRun(
        id=run_id,
        name=task.name,
        params=build_params(task, params),
        priority=priority or task.priority,
        root_run_id=run_id,
        door=door,
    )


def submission_of(run: TaskRun[Any], task: Task | None, options: QueueOptions) -> Submission:
    """The run as the broker is given it. Raises `InvalidParamsError` or `PayloadTooLargeError`."""
    if options.concurrency_key is not None and not (task and task.max_concurrency):
        raise DeclarationError(
            f"QueueOptions(concurrency_key=): task {run.name!r} has no max_concurrency for the key to share"
        )
    key = options.unique_key
    if key is None and task is not None and task.unique is not None:
        key = _unique_key(task.name, task.unique, run.params)
    return Submission(
        id=run.id,
        task=run.name,
        priority=run.priority,
        message=encode_message(run, options.expires.timestamp() * 1000 if options.expires else None),
        version=MESSAGE_VERSION,
        delay=options.delay or 0.0,
        at=options.at.timestamp() * 1000 if options.at else None,
        deliveries=task.max_deliveries if task else None,
        unique=f"{run.name}:{key}" if key is not None else "",
        group=options.concurrency_key or "",
    )


def _unique_key(task: str, unique: UniqueKey, params: Any) -> str:
    """What the task's own function makes of the parameters."""
    try:
        return str(unique(params))
    except Exception as error:
        raise InvalidParamsError(task, f"its `unique` function raised {error!r}") from error


def replay_of(record: RunRecord, door: RunDoor, *, once: bool = False) -> tuple[TaskRun[Any], Submission]:
    """A new run with the message and the keys of one that failed, which it follows.

    With `once` it will not be accepted when there has been another one.
    """
    try:
        message = decode_message(record.message)
    except UnreadableMessageError as error:
        raise UnreadableMessageError(f"run {record.id} cannot be replayed: {error}") from error
    run_id = str(uuid7())
    run: TaskRun[Any] = TaskRun(id=run_id, name=record.task, params=None, priority=record.priority, door=door)
    add_message(run, message)
    run.from_run_id, run.root_run_id = record.id, message.root_run_id or record.id
    return run, Submission(
        id=run_id,
        task=record.task,
        priority=record.priority,
        message=encode_message(run, params=bytes(message.params), secrets=message.secrets),
        version=record.version,
        deliveries=record.deliveries,
        unique=record.unique,
        group=record.group,
        replays=record.id,
        once=once,
    )
