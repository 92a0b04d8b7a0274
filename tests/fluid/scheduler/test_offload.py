"""CPU-bound bodies: in processes of their own, and nothing worse for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fluid.errors import DeclarationError, RunFailedError
from fluid.scheduler import TaskRun, TaskState, task
from tests.fluid.scheduler import cpu_tasks
from tests.fluid.scheduler.consuming import consuming, eventually, managing

TASKS = [
    cpu_tasks.total,
    cpu_tasks.awaits,
    cpu_tasks.breaks,
    cpu_tasks.asks_somebody_slow,
    cpu_tasks.gives_a_file,
    cpu_tasks.declines,
    cpu_tasks.again,
    cpu_tasks.dies,
    cpu_tasks.sleeps,
    cpu_tasks.oversleeps,
]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _pid_in(pid_file: Path) -> int | None:
    text = pid_file.read_text() if pid_file.exists() else ""
    return int(text) if text.endswith("\n") else None


async def _sleeper(pid_file: Path) -> int:
    await eventually(lambda: _pid_in(pid_file) is not None, "the sleeper")
    return _pid_in(pid_file) or 0


async def test_what_bodies_return_and_raise_comes_back_from_their_processes(broker_url: str) -> None:
    async with consuming(broker_url, *TASKS) as (consumer, heard):
        result = await (await consumer.queue(cpu_tasks.total, start=0, stop=1000)).result(timeout=25)
        assert result["total"] == 499500
        assert result["pid"] != os.getpid()
        assert await (await consumer.queue(cpu_tasks.awaits)).result(timeout=25) == "awaits 1"
        broken = await consumer.queue_and_wait(cpu_tasks.breaks, timeout=25)
        assert (broken.state, broken.reason) == (TaskState.failure, "error")
        assert broken.error.startswith("LookupError: no such page")
        assert (await consumer.get_evidence(broken.id))["error_type"] == "LookupError"
        declined = await consumer.queue_and_wait(cpu_tasks.declines, timeout=25)
        assert (declined.state, declined.reason) == (TaskState.aborted, "abort_asked")
        retried = await consumer.queue(cpu_tasks.again)
        assert await retried.result(timeout=25) == 2
        (retry,) = heard.of("retry", retried.id)
        assert (retry.reason, retry.delay) == ("retry_asked", 0.01)


async def test_a_timeout_error_of_the_body_itself_is_an_error_like_any_other(broker_url: str) -> None:
    async with consuming(broker_url, *TASKS) as (consumer, _):
        run = await consumer.queue_and_wait(cpu_tasks.asks_somebody_slow, timeout=25)
    assert (run.reason, run.error) == ("error", "TimeoutError: the other side did not answer")


async def test_a_result_that_cannot_be_written_down_fails_the_run_with_the_reason_result(
    broker_url: str,
) -> None:
    async with consuming(broker_url, *TASKS) as (consumer, _):
        run = await consumer.queue_and_wait(cpu_tasks.gives_a_file, timeout=25)
    assert (run.state, run.reason) == (TaskState.failure, "result")


async def test_a_process_that_dies_fails_only_its_own_run(broker_url: str) -> None:
    async with consuming(broker_url, *TASKS) as (consumer, _):
        dead = await consumer.queue_and_wait(cpu_tasks.dies, timeout=25)
        assert (dead.state, dead.reason) == (TaskState.failure, "process_died")
        alive = await consumer.queue(cpu_tasks.awaits)
        assert await alive.result(timeout=25) == "awaits 1"


async def test_a_body_that_takes_too_long_is_killed_with_its_process(broker_url: str, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    async with consuming(broker_url, *TASKS) as (consumer, heard):
        run = await consumer.queue(cpu_tasks.oversleeps, pid_file=str(pid_file))
        assert (await heard.wait_for("failure", run.id)).reason == "timeout"
        pid = _pid_in(pid_file)
        await eventually(lambda: pid is None or not _lives(pid), "the end of the process")


async def test_cancelling_kills_the_process_and_ends_the_run_aborted(broker_url: str, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    async with consuming(broker_url, *TASKS) as (consumer, heard):
        run = await consumer.queue(cpu_tasks.sleeps, pid_file=str(pid_file))
        pid = await _sleeper(pid_file)
        assert await run.cancel() is True
        assert (await heard.wait_for("aborted", run.id)).reason == "cancelled"
        await eventually(lambda: not _lives(pid), "the end of the process")
        assert await (await consumer.queue(cpu_tasks.awaits)).result(timeout=25) == "awaits 1"


async def test_a_stop_hands_the_run_back_and_leaves_no_process_behind(
    broker_url: str, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    async with consuming(broker_url, *TASKS, stopping_grace_period=0.05) as (consumer, heard):
        run = await consumer.queue(cpu_tasks.sleeps, pid_file=str(pid_file))
        pid = await _sleeper(pid_file)
        await consumer.shutdown()
        assert heard.names(run.id)[-1] == "interrupted"
        await eventually(lambda: not _lives(pid), "the end of the process")


async def test_a_body_that_no_other_process_could_find_is_refused(broker_url: str) -> None:
    @task(cpu_bound=True)
    def local(ctx: TaskRun) -> None: ...

    async with managing(broker_url) as (manager, _):
        run = await manager.execute(local)
        with pytest.raises(RunFailedError, match="importable"):
            await run.result()
    assert DeclarationError.__name__ in run.error


async def test_execute_runs_a_cpu_bound_body_in_a_process_too(broker_url: str) -> None:
    async with managing(broker_url) as (manager, _):
        run = await manager.execute(cpu_tasks.total, start=0, stop=10)
        assert run.returned["total"] == 45
        assert run.returned["pid"] != os.getpid()
