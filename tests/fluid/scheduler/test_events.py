"""What is announced of a run, when, and with what; and that whoever listens harms nothing."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel

from fluid.clock import now
from fluid.errors import DuplicateHandlerError, UniqueRunError, UnknownEventError
from fluid.scheduler import (
    EVENTS,
    Abort,
    Event,
    QueueOptions,
    Retry,
    RetryPolicy,
    TaskManager,
    TaskRun,
    TaskState,
    announcing,
    task,
)
from fluid.scheduler.brokers.keys import Keys
from fluid.scheduler.moves import ClaimRequest, Submission
from fluid.scheduler.states import TaskPriority
from fluid.testing import ManualClock, Recorder
from tests.fluid.scheduler.consuming import Gate, consuming, eventually, managing, reasons, slot_taken
from tests.support.queues import OwnQueue


@task
async def idle(ctx: TaskRun) -> None:
    """Do nothing."""


@task
async def fail(ctx: TaskRun) -> None:
    raise ValueError("out of paper")


# -- the run that goes well ----------------------------------------------------------------


async def test_a_run_is_told_as_queue_queued_start_end_success(broker_url: str) -> None:
    async with consuming(broker_url, idle) as (consumer, heard):
        run = await consumer.queue(idle)
        await heard.wait_for("success", run.id)
        assert heard.names(run.id) == ["queue", "queued", "start", "end", "success"]


async def test_queue_and_queued_are_told_by_who_queues_and_the_rest_by_who_executes(broker_url: str) -> None:
    async with consuming(broker_url, idle) as (_, executed), managing(broker_url, idle) as (manager, queued):
        run = await manager.queue(idle)
        await executed.wait_for("success", run.id)
        assert queued.names(run.id) == ["queue", "queued"]
        assert executed.names(run.id) == ["start", "end", "success"]


async def test_the_run_is_told_in_the_state_that_the_event_is_about(broker_url: str) -> None:
    told: list[tuple[str, TaskState]] = []

    def note(event: Event) -> None:
        assert event.run is not None
        told.append((event.name, event.run.state))

    async with consuming(broker_url, idle) as (consumer, heard):
        for name in ("queue", "queued", "start", "end", "success"):
            consumer.dispatcher.register_handler(f"{name}.note", note)
        run = await consumer.queue(idle)
        await heard.wait_for("success", run.id)
    assert told == [
        ("queue", TaskState.init),
        ("queued", TaskState.queued),
        ("start", TaskState.running),
        ("end", TaskState.success),
        ("success", TaskState.success),
    ]


async def test_start_tells_how_long_the_run_waited_and_end_how_long_it_ran(broker_url: str) -> None:
    async with managing(broker_url, idle) as (manager, _):
        run = await manager.queue(idle)
        async with consuming(broker_url, idle) as (_, heard):
            success = await heard.wait_for("success", run.id)
            start, end = heard.of("start", run.id)[0], heard.of("end", run.id)[0]
    assert start.waited is not None
    assert start.waited >= 0
    assert start.dispatched is not None
    assert start.dispatched >= 0
    assert end.ran is not None
    assert end.latency is not None
    assert end.latency >= start.waited
    assert (success.ran, success.latency) == (end.ran, end.latency)


async def test_a_delay_that_was_asked_for_is_not_waiting(broker_url: str) -> None:
    async with consuming(broker_url, idle) as (consumer, heard):
        run = await consumer.queue(idle, options=QueueOptions(delay=0.2))
        end = await heard.wait_for("end", run.id)
        (start,) = heard.of("start", run.id)
        assert heard.names(run.id) == ["queue", "scheduled", "start", "end", "success"]
    assert end.latency is not None
    assert start.waited is not None
    assert end.latency - start.waited >= 0.19


async def test_a_run_for_an_instant_that_has_passed_is_told_as_queued(broker_url: str) -> None:
    async with managing(broker_url, idle) as (manager, heard):
        run = await manager.queue(idle, options=QueueOptions(at=now() - timedelta(minutes=1)))
        assert heard.names(run.id) == ["queue", "queued"]
        assert run.state is TaskState.queued


async def test_a_run_that_its_own_process_still_queues_is_told_as_queued_before_it_starts(
    broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with consuming(broker_url, idle) as (consumer, heard):
        enqueue = consumer.broker.enqueue

        async def slow_to_answer(*args: Any, **kwargs: Any) -> Any:
            answer = await enqueue(*args, **kwargs)
            await slot_taken(consumer)
            return answer

        monkeypatch.setattr(consumer.broker, "enqueue", slow_to_answer)
        run = await consumer.queue(idle)
        await heard.wait_for("success", run.id)
        assert heard.names(run.id) == ["queue", "queued", "start", "end", "success"]


@pytest.mark.slow
async def test_ten_thousand_runs_of_one_process_are_each_told_in_order(broker_url: str) -> None:
    order: defaultdict[str, list[str]] = defaultdict(list)
    ended = asyncio.Event()
    left = 10_000

    def note(event: Event) -> None:
        assert event.run is not None
        order[event.run.id].append(event.name)

    def note_end(event: Event) -> None:
        nonlocal left
        note(event)
        left -= 1
        if not left:
            ended.set()

    async with consuming(broker_url, idle) as (consumer, heard):
        heard.leave(consumer)
        for name in ("queue", "queued", "start"):
            consumer.dispatcher.register_handler(f"{name}.note", note)
        consumer.dispatcher.register_handler("end.note", note_end)
        for _ in range(10):
            await asyncio.gather(*(consumer.queue(idle) for _ in range(1000)))
        await ended.wait()
    assert len(order) == 10_000
    assert {tuple(events) for events in order.values()} == {("queue", "queued", "start", "end")}


# -- the run that does not -----------------------------------------------------------------


async def test_a_failure_is_told_with_its_reason_and_error(broker_url: str) -> None:
    async with consuming(broker_url, fail) as (consumer, heard):
        run = await consumer.queue(fail)
        failure = await heard.wait_for("failure", run.id)
        assert heard.names(run.id) == ["queue", "queued", "start", "end", "failure"]
    assert failure.reason == "error"
    assert failure.ran is not None
    assert failure.run is not None
    assert failure.run.error == "ValueError: out of paper"


async def test_a_retry_is_told_with_reason_and_delay_and_then_the_run_starts_again(broker_url: str) -> None:
    @task(retry=RetryPolicy(max_attempts=2, wait=0.05, jitter=0))
    async def second_time_lucky(ctx: TaskRun) -> None:
        if ctx.attempt == 1:
            raise Retry("not yet", delay=0.01)

    async with consuming(broker_url, second_time_lucky) as (consumer, heard):
        run = await consumer.queue(second_time_lucky)
        await heard.wait_for("success", run.id)
        (retry,) = heard.of("retry", run.id)
        assert heard.names(run.id) == ["queue", "queued", "start", "retry", "start", "end", "success"]
    assert (retry.reason, retry.delay) == ("retry_asked", 0.01)
    assert retry.ran is not None


async def test_an_abort_is_told_with_its_reason(broker_url: str) -> None:
    @task(retry=RetryPolicy(max_attempts=5))
    async def give_up(ctx: TaskRun) -> None:
        raise Abort("nobody needs this")

    async with consuming(broker_url, give_up) as (consumer, heard):
        run = await consumer.queue(give_up)
        aborted = await heard.wait_for("aborted", run.id)
        assert heard.names(run.id) == ["queue", "queued", "start", "end", "aborted"]
    assert aborted.reason == "abort_asked"


async def test_a_run_that_expired_is_aborted_and_never_starts(broker_url: str) -> None:
    async with consuming(broker_url, idle) as (consumer, heard):
        run = await consumer.queue(idle, options=QueueOptions(expires=now() - timedelta(seconds=1)))
        aborted = await heard.wait_for("aborted", run.id)
        assert heard.names(run.id) == ["queue", "queued", "end", "aborted"]
    assert aborted.reason == "expired"


async def test_what_the_broker_refuses_is_told_with_the_reason(broker_url: str) -> None:
    async with managing(broker_url, idle) as (manager, heard):
        await manager.queue(idle, options=QueueOptions(unique_key="one"))
        await manager.queue(idle, options=QueueOptions(run_id="mine"))
        with pytest.raises(UniqueRunError):
            await manager.queue(idle, options=QueueOptions(unique_key="one"))
        await manager.queue(idle, options=QueueOptions(run_id="mine"))
        assert reasons(heard.of("refused")) == ["unique", "already_queued"]


async def test_every_run_of_a_batch_is_told_as_what_became_of_it(broker_url: str) -> None:
    @task(unique=lambda params: str(params["n"]))
    async def numbered(ctx: TaskRun) -> None: ...

    async with managing(broker_url, numbered) as (manager, heard):
        runs = await manager.queue_many(numbered, [{"n": 1}, {"n": 1}, {"n": 2}])
        assert [(run.state, run.reason) for run in runs] == [
            (TaskState.queued, ""),
            (TaskState.init, "unique"),
            (TaskState.queued, ""),
        ]
        assert [len(heard.of(name)) for name in ("queue", "queued", "refused")] == [3, 2, 1]
        assert (await manager.broker.snapshot()).ready == 2


async def test_parameters_that_fit_no_more_make_the_run_dead(broker_url: str) -> None:
    class Strict(BaseModel):
        count: int

    @task("count")
    async def loose(ctx: TaskRun) -> None: ...

    @task("count")
    async def strict(ctx: TaskRun[Strict]) -> None: ...

    async with managing(broker_url, loose) as (manager, _), consuming(broker_url, strict) as (_, heard):
        run = await manager.queue(loose, count="many")
        dead = await heard.wait_for("dead", run.id)
        assert heard.names(run.id) == ["dead"]
    assert dead.reason == "invalid_params"


def _submission(**changes: Any) -> Submission:
    given: dict[str, Any] = {
        "id": "odd",
        "task": "idle",
        "priority": TaskPriority.medium,
        "message": b"{}",
        "version": 1,
    }
    return Submission(**(given | changes))


async def test_a_message_that_cannot_be_read_makes_the_run_dead(broker_url: str) -> None:
    async with consuming(broker_url, idle) as (consumer, heard):
        await consumer.broker.enqueue([_submission(message=b"\x80 no json")], deadline=float("inf"))
        assert (await heard.wait_for("dead", "odd")).reason == "unreadable"


@pytest.mark.parametrize(
    ("changes", "reason"), [({"task": "of_the_future"}, "unknown_task"), ({"version": 99}, "newer_message")]
)
async def test_what_this_consumer_cannot_take_is_held_with_the_reason(
    broker_url: str, changes: dict[str, Any], reason: str
) -> None:
    async with consuming(broker_url, idle) as (consumer, heard):
        await consumer.broker.enqueue([_submission(**changes)], deadline=float("inf"))
        held = await heard.wait_for("held", "odd")
        assert held.reason == reason
        assert (await consumer.broker.snapshot()).held == 1
        assert heard.names("odd") == ["held"]


async def test_a_held_run_is_taken_by_who_knows_its_task(broker_url: str) -> None:
    @task
    async def known_elsewhere(ctx: TaskRun) -> None: ...

    async with (
        consuming(broker_url, idle) as (_, ignorant),
        managing(broker_url, known_elsewhere) as (manager, _),
    ):
        run = await manager.queue(known_elsewhere)
        await ignorant.wait_for("held", run.id)
        async with consuming(broker_url, known_elsewhere) as (_, heard):
            await heard.wait_for("success", run.id)


async def test_a_run_handed_back_is_told_as_interrupted_and_keeps_its_attempt(broker_url: str) -> None:
    attempts: list[int] = []
    gate = Gate()

    @task
    async def patient(ctx: TaskRun) -> None:
        attempts.append(ctx.attempt)
        await gate.wait()

    async with consuming(broker_url, patient, stopping_grace_period=0.05) as (consumer, first):
        run = await consumer.queue(patient)
        await gate.wait_for()
    assert first.names(run.id) == ["queue", "queued", "start", "interrupted"]
    gate.open()
    async with consuming(broker_url, patient) as (_, second):
        await second.wait_for("success", run.id)
        waited = [heard.of("start", run.id)[0].waited or 0.0 for heard in (first, second)]
    assert attempts == [1, 1]
    assert waited[1] > waited[0], "coming back must not restart the waiting"


async def test_a_lost_attempt_is_told_once_with_its_last_owner(broker_url: str) -> None:
    async with managing(broker_url, idle) as (manager, _):
        run = await manager.queue(idle)
        claim = await manager.broker.claim(ClaimRequest("ghost", 1, lease=0.3))
        assert [claimed.id for claimed in claim.runs] == [run.id]
        async with consuming(broker_url, idle, lease_seconds=0.3) as (_, heard):
            await heard.wait_for("success", run.id)
            (lost,) = heard.of("lost")
            (start,) = heard.of("start")
    assert lost.owner == "ghost"
    assert start.run is not None
    assert start.run.attempt == 2


async def test_a_run_lost_too_often_is_dead_and_told_so(broker_url: str) -> None:
    @task(max_deliveries=1)
    async def fragile(ctx: TaskRun) -> None: ...

    async with managing(broker_url, fragile) as (manager, _):
        run = await manager.queue(fragile)
        await manager.broker.claim(ClaimRequest("ghost", 1, lease=0.3))
        async with consuming(broker_url, fragile, lease_seconds=0.3) as (_, heard):
            dead = await heard.wait_for("dead", run.id)
            assert heard.names(run.id) == ["lost", "dead"]
    assert (dead.reason, dead.owner) == ("lost_too_often", "ghost")


async def test_an_outcome_that_comes_too_late_is_told_as_stale(broker_queue: OwnQueue) -> None:
    gate = Gate()

    @task
    async def overtaken(ctx: TaskRun) -> None:
        if ctx.attempt == 1:
            await gate.wait()

    async with consuming(broker_queue.url, overtaken) as (consumer, heard):
        run = await consumer.queue(overtaken)
        await gate.wait_for()
        with broker_queue.server.client() as client:
            leases = Keys(broker_queue.name)["leases"]
            client.zadd(leases, dict.fromkeys(client.zrange(leases, 0, -1), 1))
        (rescued,) = await consumer.broker.rescue(nonce="test", interval=0, max_deliveries=5)
        assert rescued.record.id == run.id
        gate.open()
        stale = await heard.wait_for("stale", run.id)
        assert stale.reason == "success"
        await heard.wait_for("end", run.id)
        assert len(heard.of("end", run.id)) == 1


async def test_an_event_told_with_a_reason_has_one_that_the_table_publishes(broker_url: str) -> None:
    @task(retry=RetryPolicy(max_attempts=2, wait=0))
    async def troubled(ctx: TaskRun) -> None:
        raise OSError("disk")

    async with consuming(broker_url, troubled, idle) as (consumer, heard):
        run = await consumer.queue(troubled)
        await heard.wait_for("failure", run.id)
        told = [(event.name, event.reason) for event in heard.events if event.reason]
    assert told
    for name, reason in told:
        assert reason in (EVENTS[name].reasons or EVENTS["failure"].reasons)


# -- handlers ------------------------------------------------------------------------------


async def test_a_sync_handler_that_raises_harms_nothing(broker_url: str) -> None:
    def raising(event: Event) -> None:
        raise RuntimeError("no pager")

    async with consuming(broker_url, idle) as (consumer, heard):
        consumer.dispatcher.register_handler("*.raising", raising)
        run = await consumer.queue(idle)
        await heard.wait_for("success", run.id)
        assert heard.names(run.id) == ["queue", "queued", "start", "end", "success"]
        failed = await heard.wait_for("handler_failed")
    assert failed.facts["event"] == "*"
    assert failed.facts["handler"] == "raising"
    assert "no pager" in failed.facts["error"]


async def test_an_async_handler_that_raises_or_hangs_harms_nothing(broker_url: str) -> None:
    never = asyncio.Event()

    async def raising(event: Event) -> None:
        raise RuntimeError("no pager")

    async def hanging(event: Event) -> None:
        await never.wait()

    async with consuming(broker_url, idle, stopping_grace_period=0.1) as (consumer, heard):
        consumer.register_async_handler("end.raising", raising)
        consumer.register_async_handler("end.hanging", hanging)
        runs = await consumer.queue_many(idle, [{}] * 20)
        await heard.wait_for("success", count=20)
        failed = await heard.wait_for("handler_failed")
        assert {run.id for run in runs} == {event.run.id for event in heard.of("end") if event.run}
    assert (failed.facts["event"], failed.facts["handler"]) == ("end", "raising")


def counts(heard: Recorder, event: str) -> list[int]:
    return [told.facts["count"] for told in heard.of(event)]


async def test_trouble_of_a_handler_is_told_at_most_once_a_second_and_never_to_itself(
    broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told_to_itself: list[str] = []

    def raising(event: Event) -> None:
        told_to_itself.append(event.name)
        raise RuntimeError("again")

    monkeypatch.setattr(announcing, "QUIET_SECONDS", 0.05)
    async with managing(broker_url, idle) as (manager, heard):
        manager._announcer._clock = ManualClock()
        manager.dispatcher.register_handler("*.raising", raising)
        for _ in range(4):
            manager._announcer.announce("queue")
        assert counts(heard, "handler_failed") == [1]
        await heard.wait_for("handler_failed", count=2)
        assert counts(heard, "handler_failed") == [1, 3], "the rest, though nothing more went wrong"
        manager.dispatcher.unregister_handler("*.raising")
    assert "handler_failed" not in told_to_itself


async def test_what_was_left_out_of_telling_is_told_when_it_may_be_again(
    broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fluid.scheduler.announcing.QUIET_SECONDS", 0.05)

    def raising(event: Event) -> None:
        raise RuntimeError("again")

    async with managing(broker_url) as (manager, heard):
        manager.dispatcher.register_handler("queue_paused.raising", raising)
        for _ in range(4):
            manager._announcer.announce("queue_paused")
        await heard.wait_for("handler_failed", count=2)
        assert sum(event.facts["count"] for event in heard.of("handler_failed")) == 4


async def test_two_handlers_in_trouble_do_not_keep_each_other_going(
    broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raising(event: Event) -> None:
        raise RuntimeError("again")

    async with managing(broker_url) as (manager, heard):
        clock, later = ManualClock(), list[Callable[[], None]]()
        manager._announcer._clock = clock
        manager.dispatcher.register_handler("*.one", raising)
        manager.dispatcher.register_handler("*.two", raising)
        with monkeypatch.context() as patched:
            loop = asyncio.get_running_loop()
            patched.setattr(loop, "call_later", lambda _, tell, *about: later.append(partial(tell, *about)))
            manager._announcer.announce("queue_paused")
            rounds = 0
            while later and rounds < 10:
                rounds += 1
                clock.advance(2)
                later.pop()()
        assert rounds == 1
        assert len(heard.of("handler_failed")) >= 3


async def test_trouble_that_is_not_told_yet_is_told_at_the_stop(
    broker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcing, "QUIET_SECONDS", 3600.0)

    async def hanging(event: Event) -> None:
        await asyncio.Event().wait()

    async with managing(broker_url, idle, stopping_grace_period=0.05) as (manager, heard):
        manager.register_async_handler("queue.hanging", hanging)
        for _ in range(1500):
            manager._announcer.announce("queue")
        (statistics,) = manager.handler_statistics()
        assert statistics.dropped == 500, "its queue is bounded"
    (statistics,) = manager.handler_statistics()
    assert statistics.dropped == 1500
    assert sum(counts(heard, "handler_dropped")) == 1500
    assert len(counts(heard, "handler_dropped")) == 2


async def test_an_async_handler_sees_the_run_as_it_was_at_the_event(broker_url: str) -> None:
    seen: list[tuple[str, TaskState, bool]] = []
    over, drained = asyncio.Event(), asyncio.Event()

    async def late(event: Event) -> None:
        await over.wait()
        assert event.run is not None
        seen.append((event.name, event.run.state, event.run.end is None))
        if len(seen) == 3:
            drained.set()

    async with consuming(broker_url, idle) as (consumer, heard):
        for name in ("queue", "start", "end"):
            consumer.register_async_handler(f"{name}.late", late)
        run = await consumer.queue(idle)
        await heard.wait_for("success", run.id)
        over.set()
        await drained.wait()
    assert sorted(seen) == [
        ("end", TaskState.success, False),
        ("queue", TaskState.init, True),
        ("start", TaskState.running, True),
    ]


async def test_async_handlers_of_one_event_share_one_snapshot(broker_url: str) -> None:
    runs: list[TaskRun[Any] | None] = []

    async def keep(event: Event) -> None:
        runs.append(event.run)

    async with managing(broker_url, idle) as (manager, _):
        manager.register_async_handler("queued.one", keep)
        manager.register_async_handler("queued.two", keep)
        live = await manager.queue(idle)
        await eventually(lambda: len(runs) == 2, "both handlers")
    assert runs[0] is runs[1]
    assert runs[0] is not live


async def test_what_async_handlers_have_not_seen_is_delivered_before_the_stop(broker_url: str) -> None:
    gate, seen = Gate(), []

    async def slow(event: Event) -> None:
        await gate.wait()
        seen.append(event.name)

    async with consuming(broker_url, idle) as (consumer, heard):
        consumer.register_async_handler("end.slow", slow)
        await consumer.queue_many(idle, [{}] * 3)
        await heard.wait_for("success", count=3)
        await gate.wait_for()
        assert seen == []
        consumer.dispatcher.register_handler("consumer_stopping.opens", lambda _: gate.open())
    assert seen == ["end"] * 3


async def test_many_handlers_can_hear_one_event_by_names_of_their_own(broker_url: str) -> None:
    async def handler(event: Event) -> None: ...

    manager = TaskManager(broker_url=broker_url)
    manager.register_async_handler("failure.pager", handler)
    manager.register_async_handler("failure.mail", handler)
    with pytest.raises(DuplicateHandlerError):
        manager.register_async_handler("failure.mail", handler)
    with pytest.raises(UnknownEventError, match="did you mean 'failure'"):
        manager.register_async_handler("failures", handler)
    assert manager.unregister_async_handler("failure.mail") is handler
    assert manager.unregister_async_handler("failure.mail") is None


async def test_an_event_of_no_run_is_told_with_facts(broker_url: str) -> None:
    heard = Recorder()
    async with consuming(broker_url, idle) as (consumer, own):
        consumer.dispatcher.register_handler("consumer_stopping", heard)
        consumer.dispatcher.register_handler("consumer_stopped", heard)
        name = consumer.consumer_name
        (started,) = own.of("consumer_started")
    assert started.facts == {"consumer": name}
    assert [(event.name, event.facts["consumer"]) for event in heard.events] == [
        ("consumer_stopping", name),
        ("consumer_stopped", name),
    ]
