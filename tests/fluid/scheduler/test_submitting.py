"""A run on its way out: made from a task and parameters, and written for the broker."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from fluid.errors import DeclarationError, InvalidParamsError, UnreadableMessageError
from fluid.scheduler.codec import MESSAGE_VERSION, decode_message
from fluid.scheduler.moves import RunRecord
from fluid.scheduler.options import NO_OPTIONS, QueueOptions
from fluid.scheduler.run import RunDoor, TaskRun
from fluid.scheduler.states import TaskPriority, TaskState
from fluid.scheduler.submitting import new_run, replay_of, submission_of
from fluid.scheduler.task import Task
from tests.fluid.scheduler.test_run import Door

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DOOR: RunDoor = Door()


async def body(ctx: Any) -> None: ...


def make(**about: Any) -> Task:
    return Task("mail.send", body, **about)


def queued(task: Task, options: QueueOptions = NO_OPTIONS, **params: Any) -> TaskRun[Any]:
    return new_run(task, None, options, params, door=DOOR)


def test_a_new_run_has_an_id_of_its_own_and_is_the_root_of_its_line() -> None:
    first, second = queued(make()), queued(make())
    assert first.id < second.id
    assert (first.state, first.root_run_id, first.from_run_id) == (TaskState.init, first.id, "")
    assert first.door is DOOR


def test_a_new_run_takes_the_id_that_is_asked_for() -> None:
    run = queued(make(), QueueOptions(run_id="mine"))
    assert (run.id, run.root_run_id) == ("mine", "mine")


def test_the_priority_asked_for_wins_over_the_tasks() -> None:
    task = make(priority=TaskPriority.high)
    assert queued(task).priority is TaskPriority.high
    assert new_run(task, TaskPriority.low, NO_OPTIONS, {}, door=DOOR).priority is TaskPriority.low


def test_parameters_are_validated_when_the_run_is_made() -> None:
    task = make(params_model=msgspec.defstruct("To", [("to", str)]))
    assert queued(task, to="Zoë").params.to == "Zoë"
    with pytest.raises(InvalidParamsError):
        queued(task, to=7)


def test_a_submission_says_what_the_broker_has_to_know() -> None:
    task = make(max_deliveries=3)
    run = queued(task, to="Zoë")
    sent = submission_of(run, task, NO_OPTIONS)
    assert (sent.id, sent.task, sent.priority) == (run.id, "mail.send", TaskPriority.medium)
    assert (sent.version, sent.deliveries) == (MESSAGE_VERSION, 3)
    assert (sent.delay, sent.at, sent.unique, sent.group) == (0.0, None, "", "")
    assert msgspec.json.decode(decode_message(sent.message).params) == {"to": "Zoë"}


def test_instants_become_milliseconds_and_a_delay_stays_seconds() -> None:
    options = QueueOptions(at=NOON, expires=NOON + timedelta(hours=1))
    sent = submission_of(queued(make()), make(), options)
    assert sent.at == NOON.timestamp() * 1000
    assert decode_message(sent.message).expires == (NOON.timestamp() + 3600) * 1000
    assert submission_of(queued(make()), make(), QueueOptions(delay=1.5)).delay == 1.5


def test_a_unique_key_is_the_tasks_own_unless_one_is_asked_for() -> None:
    task = make(unique=lambda params: params["order"])
    run = queued(task, order="7")
    assert submission_of(run, task, NO_OPTIONS).unique == "mail.send:7"
    assert submission_of(run, task, QueueOptions(unique_key="8")).unique == "mail.send:8"
    assert submission_of(run, make(), NO_OPTIONS).unique == ""


def test_a_concurrency_key_is_for_tasks_with_a_limit() -> None:
    options = QueueOptions(concurrency_key="customer-7")
    limited = make(max_concurrency=1)
    assert submission_of(queued(limited), limited, options).group == "customer-7"
    with pytest.raises(DeclarationError, match="has no max_concurrency"):
        submission_of(queued(make()), make(), options)


def test_a_replay_is_a_new_run_that_follows_the_failed_one() -> None:
    task = make()
    original = queued(task, to="Zoë")
    original.root_run_id, original.headers = "root", {"traceparent": "00-1-2-01"}
    record = RunRecord(
        id=original.id,
        task=task.name,
        state=TaskState.failure,
        priority=TaskPriority.low,
        message=submission_of(original, task, NO_OPTIONS).message,
        failures=3,
        deliveries=7,
        unique="mail.send:key",
        group="rome",
    )
    run, sent = replay_of(record, DOOR)
    assert run.id != original.id
    assert (run.from_run_id, run.root_run_id, run.attempt) == (original.id, "root", 1)
    assert (run.state, run.name, run.priority) == (TaskState.init, task.name, TaskPriority.low)
    message = decode_message(sent.message)
    assert (sent.id, message.from_run_id, message.root_run_id) == (run.id, original.id, "root")
    assert msgspec.json.decode(message.params) == {"to": "Zoë"}
    assert message.headers == {"traceparent": "00-1-2-01"}
    assert (sent.deliveries, sent.unique, sent.group) == (7, "mail.send:key", "rome")


def test_a_run_that_was_the_root_is_the_root_of_its_replay() -> None:
    record = RunRecord(
        id="a", task="t", state=TaskState.failure, priority=TaskPriority.low, message=b'{"params":{}}'
    )
    run, _ = replay_of(record, DOOR)
    assert (run.from_run_id, run.root_run_id) == ("a", "a")


def test_what_cannot_be_read_cannot_be_replayed() -> None:
    record = RunRecord(
        id="run-7", task="t", state=TaskState.failure, priority=TaskPriority.low, message=b"spoilt"
    )
    with pytest.raises(UnreadableMessageError, match="run-7"):
        replay_of(record, DOOR)
