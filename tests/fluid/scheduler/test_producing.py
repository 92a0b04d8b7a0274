"""Calls that come together are sent together, and each is answered for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from fluid.clock import elapsed
from fluid.errors import BrokerError, BrokerUnavailableError, FluidError, QueueUncertainError
from fluid.scheduler.batches import MAX_BYTES, MAX_RUNS
from fluid.scheduler.broker import TaskBroker
from fluid.scheduler.moves import Acceptance, Refusal, Submission
from fluid.scheduler.producing import Call, Producer, parts, refusal_of
from fluid.scheduler.states import TaskPriority
from fluid.testing.waiting import Watch
from tests.support.waiting import poll

PATIENCE = 20.0


class AwayError(BrokerUnavailableError):
    def __init__(self, *, sent: bool) -> None:
        self.sent = sent
        super().__init__("the broker is away")


class Counter:
    """A broker's counter where submissions are handed in; it can be out of reach, be closed, and break."""

    url = "counter://"

    def __init__(self) -> None:
        self.flushes: list[list[str]] = []
        self.deadlines: list[float] = []
        self.near = asyncio.Event()
        self.near.set()
        self.open = asyncio.Event()
        self.open.set()
        self.breaks: list[Exception] = []
        self.refuses: set[str] = set()
        self.watch = Watch()

    async def reach(self) -> None:
        await self.near.wait()

    async def enqueue(self, runs: Sequence[Submission], *, deadline: float) -> Acceptance:
        self.flushes.append([run.id for run in runs])
        self.deadlines.append(deadline)
        self.watch.changed()
        await self.open.wait()
        if self.breaks:
            raise self.breaks.pop(0)
        return Acceptance(
            1000.0,
            [Refusal("unique", "owner") if run.id in self.refuses else None for run in runs],
            [run.delay > 0 for run in runs],
        )

    async def wait_for_flush(self, count: int = 1) -> None:
        await self.watch.until(lambda: len(self.flushes) >= count, lambda: f"flush {count}: {self.flushes}")


def submission(run_id: str, size: int = 1) -> Submission:
    return Submission(id=run_id, task="greet", priority=TaskPriority.medium, message=b"x" * size, version=1)


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
def producer(counter: Counter) -> Producer:
    return Producer(cast("TaskBroker", counter))


async def submit(producer: Producer, *run_ids: str, timeout: float = PATIENCE, **how: bool) -> Acceptance:
    runs = [submission(run_id) for run_id in run_ids]
    return await producer.send(runs, timeout=timeout, **how).answer


async def test_what_comes_while_a_flush_is_under_way_goes_together(
    producer: Producer, counter: Counter
) -> None:
    counter.open.clear()
    first = asyncio.create_task(submit(producer, "a"))
    await counter.wait_for_flush()
    later = [asyncio.create_task(submit(producer, *names)) for names in ("b", "cd", "e")]

    async def waiting() -> int:
        return producer.waiting

    await poll(waiting, lambda count: count == 3, "three calls to wait")
    counter.open.set()
    answers = await asyncio.gather(first, *later)
    assert counter.flushes == [["a"], ["b", "c", "d", "e"]]
    assert [len(answer.verdicts) for answer in answers] == [1, 1, 2, 1]


async def test_each_caller_hears_of_its_own_runs(producer: Producer, counter: Counter) -> None:
    counter.refuses = {"b", "d"}
    answers = await asyncio.gather(*(submit(producer, *names) for names in ("ab", "c", "d")))
    owner = Refusal("unique", "owner")
    assert [answer.verdicts for answer in answers] == [[None, owner], [None], [owner]]


async def test_a_flush_is_bounded_in_runs_and_one_call_is_never_torn(
    producer: Producer, counter: Counter
) -> None:
    many = [f"run-{n}" for n in range(MAX_RUNS)]
    await asyncio.gather(
        submit(producer, *many[:-1]), submit(producer, "x", "y"), submit(producer, *many, "z")
    )
    assert [len(flush) for flush in counter.flushes] == [MAX_RUNS - 1, 2, MAX_RUNS + 1]


async def test_a_flush_is_bounded_in_bytes(producer: Producer, counter: Counter) -> None:
    big = MAX_BYTES // 2 + 1
    await asyncio.gather(
        *(producer.send([submission(name, big)], timeout=PATIENCE).answer for name in ("a", "b", "c"))
    )
    assert counter.flushes == [["a"], ["b"], ["c"]]


async def test_a_flush_has_until_the_last_deadline_of_its_callers(
    producer: Producer, counter: Counter
) -> None:
    before = elapsed()
    await asyncio.gather(submit(producer, "a", timeout=10), submit(producer, "b", timeout=1000))
    assert before + 1000 <= counter.deadlines[0] <= elapsed() + 1000


async def test_a_caller_whose_flush_is_under_way_too_long_is_left_uncertain(
    producer: Producer, counter: Counter
) -> None:
    counter.open.clear()
    with pytest.raises(QueueUncertainError) as uncertain:
        await submit(producer, "a", timeout=-0.49)
    assert uncertain.value.run_id == "a"
    counter.open.set()
    await producer.close(elapsed() + PATIENCE)


async def test_a_caller_that_no_flush_took_up_in_time_was_not_sent(
    producer: Producer, counter: Counter
) -> None:
    counter.open.clear()
    first = asyncio.create_task(submit(producer, "a"))
    await counter.wait_for_flush()
    with pytest.raises(BrokerUnavailableError, match="not sent"):
        await submit(producer, "b", timeout=-0.49)
    counter.open.set()
    await first
    await producer.close(elapsed() + PATIENCE)
    assert counter.flushes == [["a"]]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (AwayError(sent=True), QueueUncertainError),
        (BrokerError("refused"), BrokerError),
        (ValueError("a fault of ours"), ValueError),
    ],
)
async def test_every_caller_of_a_broken_flush_hears_of_it_and_the_next_one_goes(
    producer: Producer, counter: Counter, error: Exception, told: type[Exception]
) -> None:
    counter.breaks = [error]
    answers = await asyncio.gather(submit(producer, "a"), submit(producer, "b"), return_exceptions=True)
    assert [type(answer) for answer in answers] == [told, told]
    assert (await submit(producer, "c")).verdicts == [None]


async def test_an_uncertain_caller_is_told_of_its_own_run(producer: Producer, counter: Counter) -> None:
    counter.breaks = [AwayError(sent=True)]
    answers = await asyncio.gather(submit(producer, "a"), submit(producer, "b", "c"), return_exceptions=True)
    told = [answer for answer in answers if isinstance(answer, QueueUncertainError)]
    assert [(error.run_id, error.run_ids) for error in told] == [("a", ("a",)), ("b", ("b", "c"))]


async def test_what_was_not_sent_is_sent_again_for_those_who_have_the_time(
    producer: Producer, counter: Counter
) -> None:
    counter.breaks = [AwayError(sent=False)]
    hasty, patient = await asyncio.gather(
        submit(producer, "a", timeout=0), submit(producer, "b"), return_exceptions=True
    )
    assert isinstance(hasty, BrokerUnavailableError)
    assert isinstance(patient, Acceptance)
    assert counter.flushes == [["a", "b"], ["b"]]


async def test_who_gives_up_before_there_is_a_connection_was_not_sent_and_never_will_be(
    producer: Producer, counter: Counter
) -> None:
    counter.near.clear()
    patient = asyncio.create_task(submit(producer, "b"))
    with pytest.raises(BrokerUnavailableError, match="not sent"):
        await submit(producer, "a", timeout=-0.49)
    counter.near.set()
    assert (await patient).verdicts == [None]
    assert counter.flushes == [["b"]]


async def test_who_is_told_that_nothing_was_sent_while_another_try_is_due_is_not_sent_with_it(
    producer: Producer, counter: Counter
) -> None:
    counter.open.clear()
    counter.breaks = [AwayError(sent=False)]
    patient = asyncio.create_task(submit(producer, "b"))
    with pytest.raises(QueueUncertainError):
        await submit(producer, "a", timeout=-0.49)
    counter.open.set()
    assert (await patient).verdicts == [None]
    assert counter.flushes == [["a", "b"], ["b"]]


async def test_a_call_that_is_cancelled_while_it_waits_is_never_sent(
    producer: Producer, counter: Counter
) -> None:
    counter.open.clear()
    first = asyncio.create_task(submit(producer, "a"))
    await counter.wait_for_flush()
    second, third = (asyncio.create_task(submit(producer, name)) for name in "bc")

    async def waiting() -> int:
        return producer.waiting

    await poll(waiting, lambda count: count == 2, "two calls to wait")
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    counter.open.set()
    await asyncio.gather(first, third)
    assert counter.flushes == [["a"], ["c"]]


async def test_a_caller_that_leaves_does_not_disturb_the_others(producer: Producer, counter: Counter) -> None:
    counter.open.clear()
    leaving = asyncio.create_task(submit(producer, "a"))
    await counter.wait_for_flush()
    leaving.cancel()
    staying = asyncio.create_task(submit(producer, "b"))
    counter.open.set()
    assert (await staying).verdicts == [None]
    with pytest.raises(asyncio.CancelledError):
        await leaving


def forsake(call: Call) -> list[Acceptance | BaseException]:
    """What its caller is told after it was cancelled."""
    told: list[Acceptance | BaseException] = []
    call.answer.cancel()
    call.forsake(told.append)
    return told


async def test_what_became_of_a_forsaken_call_is_told_when_its_flush_knows(
    producer: Producer, counter: Counter
) -> None:
    counter.open.clear()
    sent = producer.send([submission("a")], timeout=PATIENCE)
    await counter.wait_for_flush()
    told = forsake(sent)
    counter.open.set()
    await producer.close(elapsed() + PATIENCE)
    assert [type(known) for known in told] == [Acceptance]


async def test_a_forsaken_call_that_did_not_leave_is_told_so_and_never_does(
    producer: Producer, counter: Counter
) -> None:
    counter.open.clear()
    counter.breaks = [AwayError(sent=False)]
    first = producer.send([submission("a")], timeout=PATIENCE)
    await counter.wait_for_flush()
    told = [forsake(first), forsake(producer.send([submission("b")], timeout=PATIENCE))]
    staying = asyncio.create_task(submit(producer, "c"))
    counter.open.set()
    assert (await staying).verdicts == [None]
    assert counter.flushes == [["a"], ["c"]]
    for (known,) in told:
        assert isinstance(known, BrokerUnavailableError)
        assert refusal_of(known) == "cancelled"


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        (
            [1] * (2 * MAX_RUNS + 1),
            [(0, MAX_RUNS), (MAX_RUNS, 2 * MAX_RUNS), (2 * MAX_RUNS, 2 * MAX_RUNS + 1)],
        ),
        ([MAX_BYTES // 4] * 9, [(0, 4), (4, 8), (8, 9)]),
        ([MAX_BYTES + 1, 1, MAX_BYTES, 1], [(0, 1), (1, 2), (2, 3), (3, 4)]),
    ],
    ids=["nothing", "many", "large", "too large by itself"],
)
def test_the_parts_of_a_batch_are_bounded_in_runs_and_in_bytes(
    sizes: list[int], expected: list[tuple[int, int]]
) -> None:
    assert [*parts([submission(str(at), size) for at, size in enumerate(sizes)])] == expected


async def test_closing_sends_what_waits_and_takes_no_more(producer: Producer, counter: Counter) -> None:
    counter.open.clear()
    waiting = [asyncio.create_task(submit(producer, name)) for name in ("a", "b")]
    await counter.wait_for_flush()
    closing = asyncio.create_task(producer.close(elapsed() + PATIENCE))
    counter.open.set()
    await closing
    assert [name for flush in counter.flushes for name in flush] == ["a", "b"]
    assert [(await task).verdicts for task in waiting] == [[None], [None]]
    with pytest.raises(FluidError, match="closed"):
        await submit(producer, "c")
