"""CPU-bound bodies: in processes of their own, and nothing worse for it."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fluid.clock import now
from fluid.errors import DeclarationError, RunFailedError
from fluid.scheduler import QueueOptions, Task, TaskConsumer, TaskRun, TaskState, task
from fluid.scheduler.offload import ProcessPool
from tests.fluid.scheduler import cpu_tasks
from tests.fluid.scheduler.consuming import consuming, eventually, managing
from tests.support.servers import Flavour
from tests.support.waiting import poll

TASKS = [
    cpu_tasks.is_particular,
    cpu_tasks.raises_a_local_error,
    cpu_tasks.is_particular_once,
    cpu_tasks.leaves,
    cpu_tasks.slips_away,
    cpu_tasks.waits_for_a_file,
    cpu_tasks.is_quick,
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
    cpu_tasks.writes_a_file_at_exit,
    cpu_tasks.is_stuck_at_exit,
]


@pytest.fixture
def flavour() -> Flavour:
    """What happens in processes does not depend on the server."""
    return "valkey"


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


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (cpu_tasks.is_particular, "ParticularError: page two says 7"),
        (cpu_tasks.raises_a_local_error, "NobodyKnowsError: who am I"),
        (cpu_tasks.leaves, "SystemExit: 3"),
    ],
    ids=["particular", "local", "exit"],
)
async def test_an_error_that_no_other_process_could_make_fails_its_own_run_in_its_own_words(
    broker_url: str, body: Task, said: str
) -> None:
    async with consuming(broker_url, *TASKS) as (consumer, _):
        run = await consumer.queue_and_wait(body, timeout=25)
        assert (run.state, run.reason, run.error) == (TaskState.failure, "error", said)
        kept = await consumer.get_evidence(run.id)
        assert kept["error_type"] == said.partition(":")[0]
        assert "cpu_tasks.py" in kept["traceback"]
        assert await (await consumer.queue(cpu_tasks.awaits)).result(timeout=25) == "awaits 1"


async def test_the_retry_policy_sees_the_very_error_of_a_body(broker_url: str) -> None:
    async with consuming(broker_url, *TASKS) as (consumer, _):
        assert await (await consumer.queue(cpu_tasks.is_particular_once)).result(timeout=25) == 2


async def test_an_interceptor_sees_the_error_of_a_body_by_its_name(broker_url: str) -> None:
    seen: list[str] = []

    class Watches:
        def queueing(self, runs: Sequence[TaskRun[Any]]) -> Any:
            return nullcontext()

        @contextmanager
        def executing(self, run: TaskRun[Any]) -> Iterator[None]:
            try:
                yield
            except Exception as error:
                seen.append(type(error).__name__)
                raise

    async with consuming(broker_url, *TASKS) as (consumer, _):
        consumer.interceptors.append(Watches())
        await consumer.queue_and_wait(cpu_tasks.breaks, timeout=25)
    assert seen == ["LookupError"]


async def test_a_process_that_exits_as_if_all_were_well_fails_its_run_too(broker_url: str) -> None:
    async with consuming(broker_url, *TASKS) as (consumer, _):
        run = await consumer.queue_and_wait(cpu_tasks.slips_away, timeout=25)
        assert (run.state, run.reason) == (TaskState.failure, "process_died")
        assert await (await consumer.queue(cpu_tasks.awaits)).result(timeout=25) == "awaits 1"


async def test_an_idle_process_that_dies_costs_no_run_anything(broker_url: str) -> None:
    async with consuming(broker_url, *TASKS) as (consumer, _):
        await consumer.queue_and_wait(cpu_tasks.awaits, timeout=25)
        for process in multiprocessing.active_children():
            process.kill()
        runs = [await consumer.queue(cpu_tasks.awaits) for _ in range(4)]
        assert [await run.result(timeout=25) for run in runs] == ["awaits 1"] * 4


async def test_a_signal_to_stop_that_all_processes_get_leaves_a_body_its_grace_period(
    broker_url: str, tmp_path: Path
) -> None:
    pid_file, until = tmp_path / "pid", tmp_path / "until"
    async with consuming(broker_url, *TASKS) as (consumer, heard):
        run = await consumer.queue(cpu_tasks.waits_for_a_file, pid_file=str(pid_file), until=str(until))
        os.kill(await _sleeper(pid_file), signal.SIGTERM)
        consumer.gracefully_stop()
        await heard.wait_for("consumer_stopping")
        until.touch()
        await consumer.wait_for_exit()
        assert heard.names(run.id)[-1] == "success"


async def test_a_body_does_not_outlive_a_consumer_that_is_killed(broker_url: str, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    async with managing(broker_url, *TASKS) as (manager, _):
        await manager.queue(cpu_tasks.sleeps, pid_file=str(pid_file))
    program = (
        "import asyncio\n"
        "from fluid.scheduler import TaskConsumer\n"
        "from tests.fluid.scheduler import cpu_tasks\n"
        "if __name__ == '__main__':\n"
        f"    consumer = TaskConsumer(broker_url={broker_url!r})\n"
        "    consumer.register_from_module(cpu_tasks)\n"
        "    asyncio.run(consumer.run())\n"
    )
    script = tmp_path / "consume.py"
    script.write_text(program)
    consumer = await asyncio.create_subprocess_exec(sys.executable, str(script))
    try:
        pid = await _sleeper(pid_file)
        assert _lives(pid)
    finally:
        consumer.kill()
        await consumer.wait()
    await eventually(lambda: not _lives(pid), "the end of the body's process")


async def _renewals(consumer: TaskConsumer, run: TaskRun[Any], count: int) -> None:
    """Until the lease of the run has been renewed so often."""
    leases = set()

    async def renewed() -> int:
        record = await consumer.broker.get_run(run.id)
        leases.add(record and record.lease_until)
        return len(leases)

    await poll(renewed, lambda seen: seen > count, "the lease to be renewed")


async def test_a_run_that_expires_while_it_waits_for_a_process_does_not_start(
    broker_url: str, tmp_path: Path
) -> None:
    pid_file, until = tmp_path / "pid", tmp_path / "until"
    async with consuming(broker_url, *TASKS, lease_seconds=0.6) as (consumer, heard):
        consumer._invoker._processes = ProcessPool(on_trouble=lambda *_: None, size=1)
        await consumer.queue(cpu_tasks.waits_for_a_file, pid_file=str(pid_file), until=str(until))
        await _sleeper(pid_file)
        second = await consumer.queue(
            cpu_tasks.awaits, options=QueueOptions(expires=now() + timedelta(seconds=0.3))
        )
        await eventually(lambda: consumer.num_concurrent_tasks == 2, "both to be claimed")
        await _renewals(consumer, second, 3)
        until.touch()
        aborted = await heard.wait_for("aborted", second.id)
        assert aborted.reason == "expired"
        assert "start" not in heard.names(second.id)


async def test_a_run_has_not_started_while_it_waits_for_a_process_and_keeps_its_lease(
    broker_url: str, tmp_path: Path
) -> None:
    pid_file, until = tmp_path / "pid", tmp_path / "until"
    settings = {"lease_seconds": 0.6, "stopping_grace_period": 0.1}
    async with consuming(broker_url, *TASKS, **settings) as (consumer, heard):
        consumer._invoker._processes = ProcessPool(on_trouble=lambda *_: None, size=1)
        first = await consumer.queue(cpu_tasks.waits_for_a_file, pid_file=str(pid_file), until=str(until))
        await _sleeper(pid_file)
        second = await consumer.queue(cpu_tasks.is_quick)
        await eventually(lambda: consumer.num_concurrent_tasks == 2, "both to be claimed")
        # far beyond what the task may take with the grace period on top
        await _renewals(consumer, second, 8)
        assert heard.names(second.id) == ["queue", "queued"]
        until.touch()
        start = await heard.wait_for("start", second.id)
        success = await heard.wait_for("success", second.id)
        assert heard.names(first.id)[-1] == "success"
        assert heard.of("lost") == heard.of("stale") == []
    assert (start.dispatched or 0) > (success.ran or 0)


async def test_a_run_that_waits_for_a_process_is_cancelled_before_it_starts(
    broker_url: str, tmp_path: Path
) -> None:
    pid_file, until = tmp_path / "pid", tmp_path / "until"
    async with consuming(broker_url, *TASKS) as (consumer, heard):
        consumer._invoker._processes = ProcessPool(on_trouble=lambda *_: None, size=1)
        await consumer.queue(cpu_tasks.waits_for_a_file, pid_file=str(pid_file), until=str(until))
        await _sleeper(pid_file)
        second = await consumer.queue(cpu_tasks.awaits)
        await eventually(lambda: consumer.num_concurrent_tasks == 2, "both to be claimed")
        assert await second.cancel() is True
        await heard.wait_for("aborted", second.id)
        assert heard.names(second.id) == ["queue", "queued", "end", "aborted"]
        until.touch()
        await heard.wait_for("success")


async def test_what_is_executed_while_the_manager_closes_is_told_so(broker_url: str, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    async with managing(broker_url) as (manager, _):
        executing = asyncio.create_task(manager.execute(cpu_tasks.sleeps, pid_file=str(pid_file)))
        pid = await _sleeper(pid_file)
    run = await executing
    assert (run.state, run.reason) == (TaskState.failure, "process_died")
    await eventually(lambda: not _lives(pid), "the end of the process")


async def test_a_process_exits_in_order_when_its_consumer_stops(broker_url: str, tmp_path: Path) -> None:
    written = tmp_path / "written"
    async with consuming(broker_url, *TASKS) as (consumer, _):
        run = await consumer.queue_and_wait(cpu_tasks.writes_a_file_at_exit, timeout=25, written=str(written))
        pid = await run.result()
        assert not written.exists()
    assert written.exists()
    assert not _lives(pid)


async def test_a_process_that_does_not_exit_in_time_is_killed(
    broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fluid.scheduler.offload.LEAVE_SECONDS", 0.5)
    async with consuming(broker_url, *TASKS) as (consumer, _):
        run = await consumer.queue_and_wait(cpu_tasks.is_stuck_at_exit, timeout=25)
        pid = await run.result()
    assert not _lives(pid)


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
