"""An outcome counts once, under the very token of the delivery that it is the outcome of."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from fluid.clock import elapsed
from fluid.scheduler.brokers import redis as room
from fluid.scheduler.moves import Claimed, Kind, Refusal, Renewal
from fluid.scheduler.states import TaskState
from tests.fluid.scheduler.brokers.desk import HIGH, LONG, Desk, desk_at, outcome, submission
from tests.support.proxy import CuttingProxy
from tests.support.queues import OwnQueue

FINAL = (Kind.success, Kind.failure, Kind.aborted)
STATES = {
    Kind.success: TaskState.success,
    Kind.failure: TaskState.failure,
    Kind.aborted: TaskState.aborted,
    Kind.retry: TaskState.scheduled,
    Kind.interrupted: TaskState.queued,
    Kind.held: TaskState.held,
    Kind.dead: TaskState.dead,
}


@pytest.mark.parametrize("kind", Kind)
async def test_an_outcome_moves_its_run_and_the_books_balance(desk: Desk, kind: Kind) -> None:
    await desk.queue("a", "bystander", priority=HIGH)
    run = await desk.take_one()
    assert await desk.settle(run, kind, reason="because", delay=LONG, outcome=b'{"task":"greet"}')
    record = await desk.broker.get_run("a")
    assert record is not None
    assert record.state is STATES[kind]
    assert (record.reason, record.outcome) == ("because", b'{"task":"greet"}')
    snapshot = await desk.balanced()
    counted = {
        "success": snapshot.books.success,
        "failure": snapshot.books.failure,
        "aborted": snapshot.books.aborted,
        "scheduled": snapshot.scheduled,
        "held": snapshot.held,
        "dead": snapshot.dead,
        "queued": snapshot.ready - 1,
    }
    assert counted == {name: int(name == STATES[kind]) for name in counted}
    assert snapshot.running == 0


async def test_a_success_leaves_one_string_and_is_known_by_it_to_every_move(desk: Desk) -> None:
    await desk.queue("a", unique="only")
    run = await desk.take_one()
    assert await desk.settle(run, ttl=LONG, outcome=b'{"task":"greet"}')
    with desk.own.server.client() as client:
        assert client.type(desk.keys.run("a")) == b"string"
        assert LONG - 60 < client.ttl(desk.keys.run("a")) <= LONG
    record = await desk.broker.get_run("a")
    assert record is not None
    assert (record.state, record.outcome) == (TaskState.success, b'{"task":"greet"}')
    assert await desk.settle(run), "the same outcome, told again"
    stranger = structs.replace(run, entry="1-1")
    assert not await desk.settle(stranger), "an outcome under another token"
    assert await desk.broker.cancel_many(["a"]) == ["over"]
    assert await desk.broker.replay_many(["a"]) == ["elsewhere"]
    assert await desk.broker.hasten(["a"]) == 0
    await desk.broker.report_progress("a", b"{}")
    again = await desk.submit(submission("a"), submission("b", unique="only", replays="a", once=True))
    assert again.verdicts == [Refusal("already_queued", "a"), None]
    assert (await desk.balanced()).books.success == 1


async def test_a_success_of_a_run_that_told_its_progress_keeps_that(desk: Desk) -> None:
    await desk.queue("a", "b")
    first, second = await desk.take(2)
    await desk.broker.report_progress("a", b'{"done":1}')
    assert await desk.settle(first)
    assert await desk.settle(second)
    record = await desk.broker.get_run("a")
    assert record is not None
    assert (record.state, record.progress) == (TaskState.success, b'{"done":1}')
    with desk.own.server.client() as client:
        assert client.zcard(desk.keys["reporting"]) == 0
        assert client.type(desk.keys.run("b")) == b"string"


@pytest.mark.parametrize("kind", [Kind.success, Kind.retry])
async def test_an_outcome_whose_answer_was_lost_stays_accepted_when_the_record_has_expired(
    broker_queue: OwnQueue, proxied_url: str, proxy: CuttingProxy, kind: Kind
) -> None:
    async with desk_at(proxied_url, broker_queue) as desk:
        await desk.queue("a")
        run = await desk.take_one()
        with broker_queue.server.client() as client:
            desk.broker.listeners.lost.append(lambda reason: client.delete(desk.keys.run("a")))
            proxy.cut_next_answer(run.entry.encode())
            assert await desk.settle(run, kind)
            assert proxy.cuts == 1
            (kept,) = client.scan_iter(match=f"{desk.keys['settled']}*", count=1000)
            assert client.ttl(kept) > 23 * 3600


@pytest.mark.parametrize("kind", Kind)
async def test_the_same_outcome_is_accepted_again_and_moves_nothing(desk: Desk, kind: Kind) -> None:
    await desk.queue("a")
    run = await desk.take_one()
    assert await desk.settle(run, kind, reason="unknown_task", delay=LONG)
    before = await desk.balanced()
    assert await desk.settle(run, kind, reason="unknown_task", delay=LONG)
    assert replace(await desk.balanced(), now=before.now, oldest_ready_age={}) == replace(
        before, oldest_ready_age={}
    )


async def test_an_outcome_counts_once_within_one_batch(desk: Desk) -> None:
    await desk.queue("a")
    run = await desk.take_one()
    told = await desk.broker.settle([outcome(run), outcome(run)])
    assert told.accepted == [True, True]
    assert (await desk.balanced()).books.success == 1


@pytest.mark.parametrize("kind", Kind)
async def test_a_wrong_token_is_refused(desk: Desk, kind: Kind) -> None:
    await desk.queue("a")
    run = await desk.take_one()
    for wrong in (structs.replace(run, entry="1-1"), structs.replace(run, code="rh")):
        assert not await desk.settle(wrong, kind)
    assert await desk.state("a") is TaskState.running
    assert (await desk.balanced()).running == 1
    assert await desk.settle(run)


@pytest.mark.parametrize("kind", Kind)
async def test_the_outcome_of_a_lost_attempt_is_refused(desk: Desk, kind: Kind) -> None:
    await desk.queue("a")
    first = await desk.take_one()
    await desk.lose(first)
    assert not await desk.settle(first, kind)
    second = await desk.take_one("ann")
    assert not await desk.settle(first, kind)
    assert await desk.settle(second)
    assert not await desk.settle(first, kind)
    assert (await desk.balanced()).books.success == 1


async def test_an_outcome_that_comes_after_the_lease_but_before_the_rescuer_counts(desk: Desk) -> None:
    await desk.queue("a")
    run = await desk.take_one()
    await desk.run_out(run)
    assert await desk.settle(run)
    assert await desk.rescue() == []


async def test_one_refusal_does_not_touch_its_neighbours(desk: Desk) -> None:
    await desk.queue("a", "b", "c")
    a, b, c = await desk.take(3)
    told = await desk.broker.settle(
        [outcome(a), outcome(structs.replace(b, entry="1-1")), outcome(c, Kind.failure)]
    )
    assert told.accepted == [True, False, True]
    snapshot = await desk.balanced()
    assert (snapshot.books.success, snapshot.books.failure, snapshot.running) == (1, 1, 1)


async def test_a_refused_outcome_leaves_the_wish_to_cancel_standing(desk: Desk) -> None:
    await desk.queue("a", "b")
    first, other = await desk.take(2)
    await desk.lose(first)
    second = await desk.take_one("bob")
    assert await desk.broker.cancel("a") == "asked"
    assert (await desk.broker.settle([outcome(first), outcome(other)])).accepted == [False, True]
    assert desk.renew(second, consumer="bob") == [Renewal.cancelled]


async def test_more_outcomes_than_one_script_takes_are_all_told(desk: Desk) -> None:
    names = [f"run-{n}" for n in range(1100)]
    await desk.queue(*names)
    runs: list[Claimed] = []
    while claimed := await desk.take(500):
        runs += claimed
    told = await desk.broker.settle([outcome(run) for run in runs])
    assert told.accepted == [True] * 1100
    assert (await desk.balanced()).books.success == 1100


# -- what each kind does to its run --------------------------------------------------------


async def test_a_retry_counts_a_failure_and_is_due_after_its_delay(desk: Desk) -> None:
    await desk.queue("a")
    told = await desk.broker.settle([outcome(await desk.take_one(), Kind.retry, delay=12.0)])
    record = await desk.broker.get_run("a")
    assert record is not None
    assert (record.failures, record.losses, record.ready) == (1, 0, told.now + 12000)
    assert (await desk.claim()).runs == []


@pytest.mark.parametrize("kind", [Kind.interrupted, Kind.held])
async def test_interrupted_and_held_count_as_no_attempt(desk: Desk, kind: Kind) -> None:
    await desk.queue("a")
    first = await desk.take_one()
    assert await desk.settle(first, kind, reason="unknown_task")
    again = await desk.take_one("bob", held=["greet"])
    assert (again.failures, again.losses) == (0, 0)
    assert (again.message, again.queued, again.ready) == (first.message, first.queued, first.ready)


async def test_failures_and_losses_are_counted_apart(desk: Desk) -> None:
    await desk.queue("a")
    assert await desk.settle(await desk.take_one(), Kind.retry)
    await desk.lose(await desk.take_one())
    assert await desk.settle(await desk.take_one(), Kind.retry)
    run = await desk.take_one()
    assert (run.failures, run.losses) == (2, 1)


@pytest.mark.parametrize("kind", [Kind.failure, Kind.dead])
async def test_what_failed_keeps_what_is_needed_to_look_at_it(desk: Desk, kind: Kind) -> None:
    await desk.queue("a", message=b"parcel", priority=HIGH)
    run = await desk.take_one()
    assert await desk.settle(run, kind, reason="error", outcome=b"words", ttl=LONG)
    record = await desk.broker.get_run("a")
    assert record is not None
    assert (record.message, record.task, record.priority) == (b"parcel", "greet", HIGH)
    assert (record.queued, record.outcome) == (run.queued, b"words")


# -- what is left --------------------------------------------------------------------------


@pytest.mark.usefixtures("key_leaks")
@pytest.mark.parametrize("kind", FINAL)
async def test_what_is_left_of_an_ended_run_expires(desk: Desk, kind: Kind) -> None:
    await desk.queue("a")
    assert await desk.settle(await desk.take_one(), Kind.retry)
    assert await desk.settle(await desk.take_one(), kind, ttl=LONG)
    with desk.own.server.client() as client:
        assert LONG - 60 < client.ttl(desk.keys.run("a")) <= LONG
        assert client.zcard(desk.keys["leases"]) == 0
        assert client.xlen(desk.keys["stream_rm"]) == 0


@pytest.mark.usefixtures("key_leaks")
async def test_many_ways_to_end_leave_nothing_that_stays_for_ever(desk: Desk) -> None:
    await desk.queue(*"abcdefg", unique="")
    a, b, c, d, e, f, g = await desk.take(7)
    await desk.broker.cancel("d")
    await desk.broker.settle(
        [
            outcome(a),
            outcome(b, Kind.failure),
            outcome(c, Kind.dead),
            outcome(d, Kind.aborted),
            outcome(e, Kind.held, reason="unknown_task"),
            outcome(f, Kind.retry, delay=LONG),
            outcome(g, Kind.interrupted),
        ]
    )
    for run_id in "cefg":
        assert await desk.broker.cancel(run_id) == "ended"
    snapshot = await desk.balanced()
    assert (snapshot.books.success, snapshot.books.failure, snapshot.books.aborted) == (1, 1, 5)
    with desk.own.server.client() as client:
        for name in ("leases", "cancelled", "unique", "waited"):
            assert not client.exists(desk.keys[name]), name


async def test_the_evidence_of_failures_is_bounded_and_the_oldest_goes_first(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "FAILURES_KEPT", 3)
    for name in "abcde":
        await desk.queue(name)
        assert await desk.settle(await desk.take_one(), Kind.failure, ttl=LONG)
    assert [await desk.state(name) for name in "ab"] == [None, None]
    assert [run.id for run in await desk.broker.list_runs(TaskState.failure)] == ["e", "d", "c"]
    assert (await desk.balanced()).books.failure == 5


async def test_making_room_for_evidence_never_takes_a_run_that_lives_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "FAILURES_KEPT", 1)
    await desk.queue("a")
    assert await desk.settle(await desk.take_one(), Kind.failure, ttl=0.001)
    await desk.expired("a")
    await desk.queue("a", delay=LONG)
    for name in "bc":
        await desk.queue(name)
        assert await desk.settle(await desk.take_one(), Kind.failure, ttl=LONG)
    assert await desk.state("a") is TaskState.scheduled


async def test_making_room_for_evidence_never_takes_that_of_a_later_run_with_the_same_id(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "FAILURES_KEPT", 2)
    await desk.queue("a")
    assert await desk.settle(await desk.take_one(), Kind.failure, ttl=0.001)
    await desk.expired("a")
    desk.date("failed", {"a": 1})
    with desk.own.server.client() as client:
        client.delete(desk.keys.run("a"))
    for name in "ab":
        await desk.queue(name)
        assert await desk.settle(await desk.take_one(), Kind.failure, ttl=LONG)
    assert [run.id for run in await desk.broker.list_runs(TaskState.failure)] == ["b", "a"]


async def test_a_run_that_is_waited_for_is_kept_for_a_minute_at_least(desk: Desk) -> None:
    await desk.queue("a")
    run = await desk.take_one()
    assert await desk.broker.wait_end("a", elapsed()) is None
    assert await desk.settle(run, ttl=0.001)
    with desk.own.server.client() as client:
        assert 50 < client.ttl(desk.keys.run("a")) <= 60


async def test_outcomes_that_are_settled_together_are_bounded_in_bytes_as_well(
    broker_queue: OwnQueue, proxied_url: str, proxy: CuttingProxy
) -> None:
    names = [f"large-{n:02}" for n in range(10)]
    async with desk_at(proxied_url, broker_queue) as desk:
        await desk.queue("first", *names)
        first, *large = await desk.take(1 + len(names))
        assert await desk.settle(first)
        before = proxy.commands["EVALSHA"]
        settled = await desk.broker.settle([outcome(run, outcome=b"%1000000d" % 1) for run in large])
        assert proxy.commands["EVALSHA"] - before == 3
        assert settled.accepted == [True] * len(names)
        assert (await desk.balanced()).books.success == 1 + len(names)
