"""A run tells of itself, and asks its door for the rest."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fluid.errors import FluidError, IllegalMoveError
from fluid.scheduler.options import QueueOptions
from fluid.scheduler.run import TaskRun
from fluid.scheduler.states import TaskPriority, TaskState

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Door:
    """Writes down what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def task_of(self, name: str) -> Any:
        return f"the task {name}"

    async def queue_from(
        self,
        parent: TaskRun[Any],
        task: Any,
        priority: TaskPriority | None,
        options: QueueOptions | None,
        params: Mapping[str, Any],
    ) -> TaskRun[Any]:
        self.asked.append(("queue", parent.id, task, priority, options, dict(params)))
        return make(id="child")

    async def cancel_run(self, run_id: str) -> bool:
        self.asked.append(("cancel", run_id))
        return True

    async def result_of(self, run: TaskRun[Any], timeout: float | None) -> Any:
        self.asked.append(("result", run.id, timeout))
        return 42

    async def report_progress(
        self, run: TaskRun[Any], done: float, total: float | None, message: str
    ) -> None:
        self.asked.append(("progress", run.id, done, total, message))


def make(**about: Any) -> TaskRun[Any]:
    return TaskRun(**({"id": "run-7", "name": "greet", "params": {"name": "Zoë"}} | about))


@pytest.mark.parametrize(("failures", "losses", "attempt"), [(0, 0, 1), (2, 0, 3), (0, 1, 2), (2, 3, 6)])
def test_an_attempt_is_counted_from_failures_and_losses(failures: int, losses: int, attempt: int) -> None:
    assert make(failures=failures, losses=losses).attempt == attempt


def test_spans_of_time_are_known_once_both_ends_are() -> None:
    run = make(queued_at=1000 * NOON.timestamp())
    assert (run.in_queue, run.duration, run.total) == (None, None, None)
    run.started_at = 1000 * NOON.timestamp() + 2000
    assert (run.in_queue, run.duration, run.total) == (timedelta(seconds=2), None, None)
    run.ended_at = 1000 * NOON.timestamp() + 5000
    assert (run.duration, run.total) == (timedelta(seconds=3), timedelta(seconds=5))


def test_an_illegal_move_changes_nothing() -> None:
    run = make()
    with pytest.raises(IllegalMoveError):
        run.move(TaskState.success)
    assert run.state is TaskState.init
    run.move(TaskState.queued)
    run.move(TaskState.running)
    run.move(TaskState.failure)
    assert run.is_done
    assert run.is_failure


def test_a_snapshot_does_not_follow_the_run() -> None:
    door = Door()
    run = make(
        state=TaskState.running, failures=2, queued_at=1000 * NOON.timestamp(), headers={"a": "b"}, door=door
    )
    seen = run.snapshot()
    run.move(TaskState.success)
    run.ended_at = 1000 * NOON.timestamp()
    assert (seen.state, seen.end) == (TaskState.running, None)
    assert (seen.id, seen.name, seen.attempt, seen.queued) == ("run-7", "greet", 3, NOON)
    assert (seen.params, seen.headers, seen.door) == (run.params, {"a": "b"}, door)


def test_a_summary_is_plain_and_tells_no_parameters() -> None:
    told = make(queued_at=1000 * NOON.timestamp(), headers={"token": "swordfish"}).summary()
    assert told == {
        "id": "run-7",
        "task": "greet",
        "state": "init",
        "priority": "medium",
        "attempt": 1,
        "queued": "2026-01-01T12:00:00+00:00",
        "start": None,
        "end": None,
        "reason": "",
        "error": "",
        "from_run_id": "",
        "root_run_id": "",
    }
    assert {type(value) for value in told.values()} == {str, int, type(None)}


def test_neither_the_door_nor_headers_are_shown() -> None:
    shown = repr(make(door=Door(), headers={"token": "swordfish"}, returned="treasure"))
    for hidden in ("Door", "swordfish", "treasure"):
        assert hidden not in shown


def test_a_line_logged_by_a_run_carries_what_it_belongs_to(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="fluid.run"):
        make(failures=1).logger.info("hello")
    (line,) = caplog.records
    assert {name: vars(line)[name] for name in ("task", "run_id", "attempt")} == {
        "task": "greet",
        "run_id": "run-7",
        "attempt": 2,
    }


async def test_a_run_asks_its_door(caplog: pytest.LogCaptureFixture) -> None:
    door = Door()
    run = make(door=door)
    options = QueueOptions(delay=1)
    assert run.task == "the task greet"
    assert (await run.queue("mail", TaskPriority.high, options=options, to="Zoë")).id == "child"
    assert await run.cancel() is True
    assert await run.result(timeout=3) == 42
    await run.progress(1, 2, "half")
    assert door.asked == [
        ("queue", "run-7", "mail", TaskPriority.high, options, {"to": "Zoë"}),
        ("cancel", "run-7"),
        ("result", "run-7", 3),
        ("progress", "run-7", 1, 2, "half"),
    ]


async def test_a_run_without_a_door_can_only_be_read() -> None:
    run = make()
    for ask in (run.cancel, run.result, lambda: run.progress(1), lambda: run.queue("mail")):
        with pytest.raises(FluidError, match="can only be read"):
            await ask()
