"""What comes out of a body: success, failure, another attempt, an abort, a cancellation."""

from __future__ import annotations

import asyncio
import gc
import logging
from contextvars import ContextVar
from typing import Any
from uuid import uuid4

import pytest

from fluid.errors import FluidError, RunAbortedError, RunFailedError, UnknownRunError
from fluid.scheduler import (
    Abort,
    Event,
    QueueOptions,
    Retry,
    RetryPolicy,
    TaskManager,
    TaskPriority,
    TaskRun,
    TaskState,
    task,
)
from fluid.scheduler.brokers.keys import Keys
from fluid.scheduler.moves import Claim, ClaimRequest
from fluid.scheduler.slots import Attempt
from tests.fluid.scheduler.consuming import Gate, consuming, eventually, managing, slot_taken
from tests.support.queues import OwnQueue
from tests.support.waiting import poll

# -- time -----------------------------------------------------------------------------------


async def test_a_body_that_takes_too_long_fails_its_attempt_with_the_reason_timeout(broker_url: str) -> None:
    gate = Gate()
    cancelled: list[str] = []

    @task(timeout_seconds=0.05)
    async def endless(ctx: TaskRun) -> None:
        try:
            await gate.wait()
        except asyncio.CancelledError:
            cancelled.append(ctx.id)
            raise

    async with consuming(broker_url, endless) as (consumer, heard):
        run = await consumer.queue(endless)
        failure = await heard.wait_for("failure", run.id)
    assert failure.reason == "timeout"
    assert cancelled == [run.id]


async def test_a_timeout_may_be_retried(broker_url: str) -> None:
    gate = Gate()

    @task(timeout_seconds=0.05, retry=RetryPolicy(max_attempts=2, wait=0))
    async def slow_at_first(ctx: TaskRun) -> None:
        if ctx.attempt == 1:
            await gate.wait()

    async with consuming(broker_url, slow_at_first) as (consumer, heard):
        run = await consumer.queue(slow_at_first)
        await heard.wait_for("success", run.id)
        assert [event.reason for event in heard.of("retry", run.id)] == ["timeout"]


async def test_a_timeout_error_of_the_body_itself_is_an_error_like_any_other(broker_url: str) -> None:
    @task(timeout_seconds=30)
    async def asks_somebody_slow(ctx: TaskRun) -> None:
        raise TimeoutError("the other side did not answer")

    async with consuming(broker_url, asks_somebody_slow) as (consumer, heard):
        run = await consumer.queue(asks_somebody_slow)
        assert (await heard.wait_for("failure", run.id)).reason == "error"


async def test_the_settings_limit_a_task_that_has_no_timeout_and_zero_is_none(broker_url: str) -> None:
    gate = Gate()

    @task
    async def by_settings(ctx: TaskRun) -> None:
        await gate.wait()

    @task(timeout_seconds=0)
    async def without_limit(ctx: TaskRun) -> None:
        await gate.wait()

    async with consuming(broker_url, by_settings, without_limit, task_timeout=0.05) as (consumer, heard):
        endless = await consumer.queue(without_limit)
        await gate.wait_for()
        limited = await consumer.queue(by_settings)
        assert (await heard.wait_for("failure", limited.id)).reason == "timeout"
        gate.open()
        await heard.wait_for("success", endless.id)


# -- attempts -------------------------------------------------------------------------------


async def test_attempts_go_on_until_the_policy_allows_no_more(broker_url: str) -> None:
    attempts: list[int] = []

    @task(retry=RetryPolicy(max_attempts=3, wait=0))
    async def hopeless(ctx: TaskRun) -> None:
        attempts.append(ctx.attempt)
        raise OSError("no")

    async with consuming(broker_url, hopeless) as (consumer, heard):
        run = await consumer.queue(hopeless)
        await heard.wait_for("failure", run.id)
        books = (await consumer.broker.snapshot()).books
    assert attempts == [1, 2, 3]
    assert len(heard.of("retry", run.id)) == 2
    assert len(heard.of("end", run.id)) == 1
    assert (books.accepted, books.failure, books.unaccounted) == (1, 1, 0)


async def test_an_error_to_give_up_on_is_not_retried(broker_url: str) -> None:
    @task(retry=RetryPolicy(max_attempts=5, wait=0, give_up_on=(LookupError,)))
    async def lost_key(ctx: TaskRun) -> None:
        raise KeyError("id")

    async with consuming(broker_url, lost_key) as (consumer, heard):
        run = await consumer.queue(lost_key)
        await heard.wait_for("failure", run.id)
        assert heard.of("retry", run.id) == []


async def test_retry_is_bounded_by_max_attempts(broker_url: str) -> None:
    @task(retry=RetryPolicy(max_attempts=2))
    async def always_again(ctx: TaskRun) -> None:
        raise Retry(delay=0)

    async with consuming(broker_url, always_again) as (consumer, heard):
        run = await consumer.queue(always_again)
        failure = await heard.wait_for("failure", run.id)
        assert failure.reason == "retry_asked"
        assert len(heard.of("retry", run.id)) == 1


async def test_the_wait_for_the_next_attempt_outlives_the_consumer(broker_url: str) -> None:
    attempts: list[int] = []

    @task(retry=RetryPolicy(max_attempts=2))
    async def moves_house(ctx: TaskRun) -> None:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            raise Retry(delay=0.5)

    async with consuming(broker_url, moves_house) as (first, heard):
        run = await first.queue(moves_house)
        await heard.wait_for("retry", run.id)
    async with managing(broker_url, moves_house) as (manager, _):
        assert (await manager.get_run(run.id)).state is TaskState.scheduled
    async with consuming(broker_url, moves_house) as (_, heard):
        await heard.wait_for("success", run.id)
    assert attempts == [1, 2]


async def test_an_idle_consumer_wakes_for_a_run_that_falls_due_before_its_longest_wait(
    broker_url: str,
) -> None:
    @task
    async def soon(ctx: TaskRun) -> None: ...

    async with consuming(broker_url, soon) as (consumer, heard), managing(broker_url, soon) as (manager, _):
        await consumer.queue_and_wait(soon)
        run = await manager.queue(soon, options=QueueOptions(delay=0.1))
        async with asyncio.timeout(3):
            await heard.wait_for("success", run.id)


# -- bodies that misbehave ------------------------------------------------------------------


async def test_a_cancellation_within_the_body_fails_it_and_stops_nothing_else(broker_url: str) -> None:
    @task
    async def awaits_what_was_cancelled(ctx: TaskRun) -> None:
        gone = asyncio.get_running_loop().create_future()
        gone.cancel()
        await gone

    async with consuming(broker_url, awaits_what_was_cancelled) as (consumer, heard):
        run = await consumer.queue(awaits_what_was_cancelled)
        assert (await heard.wait_for("failure", run.id)).reason == "cancelled_inside"
        assert consumer.running


async def test_context_variables_of_one_run_do_not_leak_into_the_next(broker_url: str) -> None:
    seen: list[str] = []
    variable: ContextVar[str] = ContextVar("variable", default="clean")

    @task
    async def sets(ctx: TaskRun) -> None:
        seen.append(variable.get())
        variable.set("dirty")

    async with consuming(broker_url, sets, max_concurrent_tasks=1) as (consumer, heard):
        await consumer.queue_many(sets, [{}, {}])
        await heard.wait_for("success", count=2)
    assert seen == ["clean", "clean"]


async def test_the_slot_of_a_body_is_free_again_when_it_has_ended(broker_url: str) -> None:
    @task
    async def fails(ctx: TaskRun) -> None:
        raise ValueError

    async with consuming(broker_url, fails, max_concurrent_tasks=2) as (consumer, heard):
        await consumer.queue_many(fails, [{}] * 10)
        await heard.wait_for("failure", count=10)
        assert consumer.num_concurrent_tasks == 0


async def test_no_more_bodies_run_at_once_than_there_are_slots(broker_url: str) -> None:
    gate = Gate()
    most = 0

    @task
    async def counts(ctx: TaskRun) -> None:
        nonlocal most
        most = max(most, gate.waiting + 1)
        await gate.wait()

    async with consuming(broker_url, counts, max_concurrent_tasks=3) as (consumer, heard):
        await consumer.queue_many(counts, [{}] * 9)
        await gate.wait_for(3)
        assert consumer.num_concurrent_tasks == 3
        assert consumer.num_concurrent_tasks_for("counts") == 3
        assert consumer.num_concurrent_tasks_for("other") == 0
        gate.open()
        await heard.wait_for("success", count=9)
    assert most == 3


async def test_a_claim_takes_no_more_than_half_of_the_slots_so_that_others_are_found_meanwhile(
    broker_url: str,
) -> None:
    gate, asked = Gate(), []

    @task
    async def waits(ctx: TaskRun) -> None:
        await gate.wait()

    async with consuming(broker_url, waits, max_concurrent_tasks=5) as (consumer, heard):
        claim = consumer.broker.claim

        async def watched(request: ClaimRequest, **how: Any) -> Claim:
            asked.append(request.slots)
            return await claim(request, **how)

        consumer.broker.claim = watched  # type: ignore[method-assign,assignment]
        await consumer.queue_many(waits, [{}] * 5)
        await gate.wait_for(5)
        gate.open()
        await heard.wait_for("success", count=5)
    assert max(asked) == 3


async def test_higher_priorities_are_claimed_first(broker_url: str) -> None:
    order: list[str] = []

    @task
    async def notes(ctx: TaskRun) -> None:
        order.append(ctx.params["name"])

    async with managing(broker_url, notes) as (manager, _):
        for name in ("low", "medium", "high"):
            await manager.queue(notes, TaskPriority(name), name=f"{name} 1")
            await manager.queue(notes, TaskPriority(name), name=f"{name} 2")
    async with consuming(broker_url, notes, max_concurrent_tasks=1) as (_, heard):
        await heard.wait_for("success", count=6)
    assert order == ["high 1", "high 2", "medium 1", "medium 2", "low 1", "low 2"]


@pytest.mark.parametrize(("own", "kept_for"), [(None, 1000), (50.0, 50)])
async def test_what_is_kept_of_an_aborted_run_goes_when_results_go(
    broker_queue: OwnQueue, own: float | None, kept_for: int
) -> None:
    @task(result_ttl=own)
    async def gives_up(ctx: TaskRun) -> None:
        raise Abort("no such customer")

    async with consuming(broker_queue.url, gives_up, result_ttl=1000) as (consumer, heard):
        run = await consumer.queue(gives_up)
        await heard.wait_for("aborted", run.id)
        with broker_queue.server.client() as client:
            kept = client.pttl(Keys(broker_queue.name).run(run.id))
        assert (kept_for - 40) * 1000 < kept <= kept_for * 1000


# -- cancelling -----------------------------------------------------------------------------


@task
async def whenever(ctx: TaskRun) -> None: ...


async def test_a_scheduled_run_is_cancelled_there_and_then(broker_url: str) -> None:
    async with managing(broker_url, whenever) as (manager, heard):
        run = await manager.queue(whenever, options=QueueOptions(delay=60))
        assert await run.cancel() is True
        aborted = await heard.wait_for("aborted", run.id)
        assert aborted.reason == "cancelled"
        assert heard.names(run.id) == ["queue", "scheduled", "end", "aborted"]
        assert (await manager.get_run(run.id)).state is TaskState.aborted
        books = (await manager.broker.snapshot()).books
        assert (books.aborted, books.unaccounted) == (1, 0)


async def test_a_queued_run_is_cancelled_there_and_then_and_never_starts(broker_url: str) -> None:
    async with managing(broker_url, whenever) as (manager, _):
        run = await manager.queue(whenever)
        assert await run.cancel() is True
        async with consuming(broker_url, whenever) as (_, executed):
            after = await manager.queue_and_wait(whenever)
            assert executed.names(run.id) == []
            assert after.state is TaskState.success
        with pytest.raises(RunAbortedError, match="cancelled"):
            await run.result(timeout=1)


async def test_of_all_who_cancel_a_run_one_is_told_that_it_did_and_its_end_is_announced_once(
    broker_url: str,
) -> None:
    async with managing(broker_url, whenever) as (manager, heard):
        run = await manager.queue(whenever)
        assert sorted(await asyncio.gather(*(run.cancel() for _ in range(3)))) == [False, False, True]
        assert await run.cancel() is False
        assert heard.names(run.id) == ["queue", "queued", "end", "aborted"]


async def test_a_held_run_is_cancelled_there_and_then(broker_url: str) -> None:
    async with (
        consuming(broker_url, whenever) as (_, ignorant),
        managing(broker_url, _unknown_here) as (manager, _),
    ):
        run = await manager.queue(_unknown_here)
        await ignorant.wait_for("held", run.id)
        assert await manager.cancel_run(run.id) is True
        snapshot = await manager.broker.snapshot()
        assert (snapshot.held, snapshot.books.aborted, snapshot.books.unaccounted) == (0, 1, 0)


@task
async def _unknown_here(ctx: TaskRun) -> None: ...


async def test_a_running_body_is_cancelled_and_the_run_ends_aborted(broker_url: str) -> None:
    gate = Gate()
    cleaned: list[str] = []

    @task(retry=RetryPolicy(max_attempts=5))
    async def runs(ctx: TaskRun) -> None:
        try:
            await gate.wait()
        finally:
            cleaned.append(ctx.id)

    async with consuming(broker_url, runs) as (_, heard), managing(broker_url, runs) as (manager, _):
        run = await manager.queue(runs)
        await gate.wait_for()
        assert await run.cancel() is True
        aborted = await heard.wait_for("aborted", run.id)
        assert aborted.reason == "cancelled"
        assert cleaned == [run.id]
        assert heard.names(run.id) == ["start", "end", "aborted"]


async def test_a_run_that_is_over_cannot_be_cancelled(broker_url: str) -> None:
    async with consuming(broker_url, whenever) as (consumer, heard):
        run = await consumer.queue_and_wait(whenever)
        assert await run.cancel() is False
        assert heard.of("aborted", run.id) == []
        with pytest.raises(UnknownRunError, match="nobody"):
            await consumer.cancel_run("nobody")


async def test_a_wish_to_cancel_holds_for_a_run_that_is_handed_back_meanwhile(broker_url: str) -> None:
    gate = Gate()
    told: list[str] = []

    @task
    async def clings(ctx: TaskRun) -> None:
        told.append(ctx.id)
        await gate.wait()

    async with consuming(broker_url, clings, stopping_grace_period=0) as (first, heard):
        run = await first.queue(clings)
        await gate.wait_for()
        # as if neither word nor renewal had reached this consumer in time
        first.broker.listeners.cancel.clear()
        async with managing(broker_url, clings) as (manager, _):
            assert await manager.cancel_run(run.id) is True
            await first.shutdown()
            assert heard.names(run.id)[-1] == "interrupted"
            async with consuming(broker_url, clings) as (_, second):
                await second.wait_for("aborted", run.id)
                assert second.names(run.id) == ["end", "aborted"]
            assert (await manager.get_run(run.id)).reason == "cancelled"
    assert told == [run.id]


# -- looking back ---------------------------------------------------------------------------


async def test_the_evidence_of_a_failure_is_kept_and_replaying_it_queues_a_run_that_follows_it(
    broker_url: str,
) -> None:
    mended = False

    @task
    async def breaks(ctx: TaskRun) -> str:
        if not mended:
            raise ValueError("broken")
        return ctx.params["word"]  # type: ignore[no-any-return]

    async with consuming(broker_url, breaks) as (consumer, heard):
        failed = await consumer.queue_and_wait(breaks, word="hello")
        kept = await consumer.get_evidence(failed.id)
        assert kept["error"] == "ValueError: broken"
        assert kept["error_type"] == "ValueError"
        assert "raise ValueError" in kept["traceback"]
        assert kept["params"] == {"word": "hello"}
        assert kept["consumer"] == consumer.consumer_name
        mended = True
        again = await consumer.replay(failed.id)
        assert again.id != failed.id
        assert (again.from_run_id, again.root_run_id) == (failed.id, failed.id)
        assert await again.result(timeout=5) == "hello"
        await heard.wait_for("success", again.id)
        assert heard.names(again.id) == ["queue", "queued", "start", "end", "success"]
        books = (await consumer.broker.snapshot()).books
        assert (books.accepted, books.replayed, books.failure, books.success) == (2, 1, 1, 1)
        assert books.unaccounted == 0


async def test_a_replay_that_its_own_process_still_queues_is_told_as_queued_before_it_starts(
    broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()

    @task
    async def breaks(ctx: TaskRun) -> None:
        if not ctx.from_run_id:
            raise ValueError("broken")
        await gate.wait()

    async with consuming(broker_url, breaks) as (consumer, heard):
        failed = await consumer.queue_and_wait(breaks)
        enqueue = consumer.broker.enqueue

        async def slow_to_answer(*args: Any, **kwargs: Any) -> Any:
            answer = await enqueue(*args, **kwargs)
            await slot_taken(consumer)
            return answer

        monkeypatch.setattr(consumer.broker, "enqueue", slow_to_answer)
        again = await consumer.replay(failed.id)
        gate.open()
        await heard.wait_for("success", again.id)
        assert heard.names(again.id)[-4:] == ["queued", "start", "end", "success"]


async def test_a_run_that_is_neither_dead_nor_failed_cannot_be_replayed_or_discarded(broker_url: str) -> None:
    async with consuming(broker_url, whenever) as (consumer, _):
        run = await consumer.queue_and_wait(whenever)
        with pytest.raises(FluidError, match="only a dead or a failed run"):
            await consumer.replay(run.id)
        with pytest.raises(FluidError, match="only a dead run"):
            await consumer.discard(run.id)


@task(max_deliveries=1)
async def mortal(ctx: TaskRun) -> str:
    return f"attempt {ctx.attempt}"


async def _dead_run(manager: TaskManager) -> TaskRun[Any]:
    """A run of `mortal` that a consumer that has gone has lost."""
    run = await manager.queue(mortal)
    claim = await manager.broker.claim(ClaimRequest("ghost", 1, lease=0.001))
    assert len(claim.runs) == 1

    async def rescue() -> int:
        return len(await manager.broker.rescue(nonce=uuid4().hex, interval=0, max_deliveries=1))

    await poll(rescue, bool, "the run to be rescued")
    return run


async def test_a_dead_run_is_replayed_as_itself(broker_url: str) -> None:
    async with managing(broker_url, mortal) as (manager, _):
        run = await _dead_run(manager)
        assert (await manager.get_run(run.id)).state is TaskState.dead
        assert [dead.id for dead in await manager.list_runs(TaskState.dead)] == [run.id]
        again = await manager.replay(run.id)
        assert again.id == run.id
        assert again.state is TaskState.queued
        async with consuming(broker_url, mortal):
            assert await again.result(timeout=5) == "attempt 1"
        books = (await manager.broker.snapshot()).books
        assert (books.accepted, books.replayed, books.success, books.unaccounted) == (1, 1, 1, 0)


async def test_of_all_who_discard_a_run_one_does_and_its_end_is_announced_once(broker_url: str) -> None:
    async with managing(broker_url, mortal) as (manager, heard):
        run = await _dead_run(manager)
        told = await asyncio.gather(*(manager.discard(run.id) for _ in range(3)), return_exceptions=True)
        assert told.count(None) == 1
        assert {str(error) for error in told if error} == {
            f"run {run.id} is aborted: only a dead run can be discarded"
        }
        assert heard.names(run.id) == ["queue", "queued", "end", "aborted"]


async def test_a_discarded_run_ends_aborted(broker_url: str) -> None:
    async with managing(broker_url, mortal) as (manager, heard):
        run = await _dead_run(manager)
        await manager.discard(run.id)
        assert (await heard.wait_for("aborted", run.id)).reason == "discarded"
        assert (await manager.get_run(run.id)).state is TaskState.aborted
        books = (await manager.broker.snapshot()).books
        assert (books.aborted, books.unaccounted) == (1, 0)


# -- here, without the broker ---------------------------------------------------------------


async def test_execute_runs_the_body_here_once_and_its_events_are_local(broker_url: str) -> None:
    told: list[tuple[str, bool]] = []

    def note(event: Event) -> None:
        assert event.run is not None
        told.append((event.name, event.run.local))

    @task
    async def add(ctx: TaskRun) -> int:
        return int(ctx.params["a"]) + int(ctx.params["b"])

    async with managing(broker_url, add) as (manager, _):
        manager.dispatcher.register_handler("*.note", note)
        run = await manager.execute(add, a=1, b=2)
        assert run.local
        assert run.state is TaskState.success
        assert run.duration is not None
        assert await run.result() == 3
        assert told == [("start", True), ("end", True), ("success", True)]
        assert (await manager.broker.snapshot()).books.accepted == 0


async def test_execute_retries_nothing_and_keeps_the_timeout(broker_url: str) -> None:
    attempts: list[str] = []

    @task(retry=RetryPolicy(max_attempts=5, wait=0))
    async def fails(ctx: TaskRun) -> None:
        attempts.append(ctx.id)
        raise ValueError("once")

    @task(timeout_seconds=0.01)
    async def endless(ctx: TaskRun) -> None:
        await asyncio.Event().wait()

    async with managing(broker_url) as (manager, _):
        failed = await manager.execute(fails)
        assert (failed.state, failed.reason) == (TaskState.failure, "error")
        assert len(attempts) == 1
        with pytest.raises(RunFailedError, match="once"):
            await failed.result()
        late = await manager.execute(endless)
        assert (late.state, late.reason) == (TaskState.failure, "timeout")


async def test_a_body_that_leaves_the_program_is_executed_as_a_failure(broker_url: str) -> None:
    @task
    async def leaves(ctx: TaskRun) -> None:
        raise SystemExit(3)

    async with managing(broker_url) as (manager, heard):
        run = await manager.execute(leaves)
        assert (run.state, run.reason, run.error) == (TaskState.failure, "error", "SystemExit: 3")
        assert heard.names(run.id) == ["start", "end", "failure"]


async def test_execute_passes_a_cancellation_on_and_tells_the_run_as_aborted(broker_url: str) -> None:
    gate = Gate()

    @task
    async def endless(ctx: TaskRun) -> None:
        await gate.wait()

    async with managing(broker_url) as (manager, heard):
        executing = asyncio.create_task(manager.execute(endless))
        await gate.wait_for()
        executing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await executing
        assert [event.name for event in heard.events] == ["start", "end", "aborted"]


async def test_the_result_of_an_aborted_local_run_says_that_it_was_aborted(broker_url: str) -> None:
    @task
    async def declines(ctx: TaskRun) -> None:
        raise Abort("not today")

    async with managing(broker_url, declines) as (manager, _):
        run = await manager.execute(declines)
        assert (run.state, run.reason) == (TaskState.aborted, "abort_asked")
        with pytest.raises(RunAbortedError, match="not today"):
            await run.result()


def test_execute_sync_needs_no_loop_and_no_broker() -> None:
    @task
    async def double(ctx: TaskRun) -> int:
        return 2 * int(ctx.params["n"])

    run = TaskManager(broker_url="redis://127.0.0.1:1").execute_sync(double, n=21)
    assert (run.state, run.returned) == (TaskState.success, 42)


# -- what a body can do ---------------------------------------------------------------------


async def test_a_run_queued_within_a_run_follows_it(broker_url: str) -> None:
    lineage: dict[str, tuple[str, str]] = {}

    @task
    async def child(ctx: TaskRun) -> None:
        lineage[ctx.id] = (ctx.from_run_id, ctx.root_run_id)
        if ctx.params["depth"]:
            await ctx.queue(child, depth=ctx.params["depth"] - 1)

    async with consuming(broker_url, child) as (consumer, heard):
        root = await consumer.queue(child, depth=2)
        await heard.wait_for("success", count=3)
    ids = list(lineage)
    assert ids[0] == root.id
    assert list(lineage.values()) == [("", root.id), (root.id, root.id), (ids[1], root.id)]


async def test_a_body_tells_its_progress_and_its_log_lines_say_whose_they_are(
    broker_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()

    @task
    async def steps(ctx: TaskRun) -> None:
        ctx.logger.warning("half way")
        await ctx.progress(1, 2, "half way")
        await gate.wait()

    async with consuming(broker_url, steps) as (consumer, heard):
        run = await consumer.queue(steps)
        await gate.wait_for()
        kept = await consumer.get_evidence(run.id)
        assert kept["progress"] == {"done": 1, "total": 2, "message": "half way"}
        assert kept["state"] == "running"
        gate.open()
        await heard.wait_for("success", run.id)
    (line,) = (record for record in caplog.records if record.getMessage() == "half way")
    assert line.levelno == logging.WARNING
    assert (line.__dict__["task"], line.__dict__["run_id"], line.__dict__["attempt"]) == ("steps", run.id, 1)


async def test_what_a_run_needed_goes_without_the_garbage_collector(broker_url: str) -> None:
    @task
    async def idle(ctx: TaskRun) -> None: ...

    def attempts() -> int:
        return sum(isinstance(one, Attempt) for one in gc.get_objects())

    async with consuming(broker_url, idle) as (consumer, heard):
        gc.collect()
        gc.disable()
        try:
            before = attempts()
            await consumer.queue_many(idle, [{}] * 100)
            await heard.wait_for("end", count=100)
            await eventually(lambda: consumer._keeper.kept == 0, "every lease to be let go")
            assert attempts() - before < 10
        finally:
            gc.enable()
