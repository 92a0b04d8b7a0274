"""A broker that has gone back in time is known by what it told before, and each time is told once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fluid.clock import elapsed
from fluid.scheduler.brokers.channel import LostError
from fluid.scheduler.brokers.hindsight import SHORTER, Flush, Hindsight
from fluid.scheduler.moves import Rewound
from tests.fluid.scheduler.brokers.desk import Desk, submission

NOON = 1_800_000_000_000.0
KEPT = 600_000.0


class Listening(Hindsight):
    """With what it has told."""

    def __init__(self) -> None:
        self.told: list[Rewound] = []
        super().__init__([self.told.append])

    def answer(self, accepted: int, flush: Flush | None = None) -> None:
        """A question that is answered at once."""
        self.hear(self.known, accepted, flush)


def flush(count: int, *, of: str = "runs", later: float = 0.0) -> Flush:
    """The answer to a flush, so many milliseconds after noon."""
    return Flush(of, count, NOON + later, KEPT)


# -- the total -----------------------------------------------------------------------------


def test_totals_that_fell_are_told_once() -> None:
    hindsight = Listening()
    for accepted in (10, 7, 7):
        hindsight.answer(accepted)
    assert hindsight.told == [Rewound("runs", 10, 7)]


def test_a_server_that_is_empty_is_told_once() -> None:
    hindsight = Listening()
    for accepted in (10, 0, 0):
        hindsight.answer(accepted)
    assert hindsight.told == [Rewound("runs", 10, 0)]


def test_an_answer_that_was_overtaken_is_no_fall() -> None:
    hindsight = Listening()
    asked = hindsight.known
    hindsight.answer(10)
    hindsight.hear(asked, 9)
    assert hindsight.told == []
    hindsight.answer(9)
    assert hindsight.told == [Rewound("runs", 10, 9)]


def test_an_answer_that_was_under_way_when_totals_fell_tells_nothing_more() -> None:
    hindsight = Listening()
    hindsight.answer(10)
    asked = hindsight.known
    for accepted in (7, 7, 10):
        hindsight.hear(asked, accepted)
    hindsight.answer(7)
    assert hindsight.told == [Rewound("runs", 10, 7)]


# -- the flushes ---------------------------------------------------------------------------


def test_a_flush_that_is_not_counted_any_more_is_told_though_the_total_has_not_fallen() -> None:
    hindsight = Listening()
    for count, accepted in ((1, 10), (2, 12), (2, 40), (3, 41)):
        hindsight.answer(accepted, flush(count))
    assert hindsight.told == [Rewound("runs", 12, 40)]


def test_flushes_of_outcomes_are_counted_by_themselves() -> None:
    hindsight = Listening()
    hindsight.answer(10, flush(5))
    hindsight.answer(10, flush(1, of="outcomes"))
    assert hindsight.told == []
    hindsight.answer(10, flush(1, of="outcomes"))
    assert hindsight.told == [Rewound("outcomes", 10, 10)]


def test_runs_that_are_gone_matter_more_than_outcomes() -> None:
    hindsight = Listening()
    hindsight.answer(10, flush(4, of="outcomes"))
    hindsight.answer(7, flush(3, of="outcomes"))
    assert hindsight.told == [Rewound("runs", 10, 7)]


@pytest.mark.parametrize(("later", "told"), [(KEPT - SHORTER - 1, 1), (KEPT - SHORTER, 0), (KEPT * 9, 0)])
def test_a_count_that_may_have_been_forgotten_says_nothing(later: float, told: int) -> None:
    hindsight = Listening()
    hindsight.answer(10, flush(5))
    hindsight.answer(12, flush(1, later=later))
    assert len(hindsight.told) == told


def test_whatever_finds_it_first_a_broker_that_went_back_is_told_once() -> None:
    hindsight = Listening()
    hindsight.answer(10, flush(5))
    hindsight.answer(10, flush(5, of="outcomes"))
    under_way = hindsight.known
    hindsight.answer(11, flush(3))
    hindsight.hear(under_way, 11, flush(3, of="outcomes"))
    hindsight.answer(11, flush(4, of="outcomes"))
    hindsight.answer(12, flush(4))
    assert hindsight.told == [Rewound("runs", 10, 11)]


def test_each_time_that_it_goes_back_is_told() -> None:
    hindsight = Listening()
    for count in (5, 3, 4, 4):
        hindsight.answer(20, flush(count))
    assert hindsight.told == [Rewound("runs", 20, 20)] * 2


def test_a_flush_that_was_under_way_when_it_went_back_is_missed_the_next_time() -> None:
    hindsight = Listening()
    hindsight.answer(10, flush(5, of="outcomes"))
    under_way = hindsight.known
    hindsight.answer(7)
    hindsight.hear(under_way, 8, flush(6, of="outcomes"))
    assert hindsight.told == [Rewound("runs", 10, 7)]
    hindsight.answer(8, flush(6, of="outcomes"))
    assert hindsight.told == [Rewound("runs", 10, 7), Rewound("outcomes", 7, 8)]


def test_an_answer_of_before_that_is_told_again_after_it_went_back_is_no_second_time() -> None:
    hindsight = Listening()
    hindsight.answer(10)
    first = hindsight.known
    for accepted in (7, 9):
        hindsight.answer(accepted)
    hindsight.hear(hindsight.known.asked_again(first), 7, flush(1, of="outcomes"))
    assert hindsight.told == [Rewound("runs", 10, 7)]


# -- on a server ---------------------------------------------------------------------------


async def test_flushes_that_overtake_each_other_are_none(desk: Desk) -> None:
    told: list[Rewound] = []
    desk.broker.listeners.rewound.append(told.append)
    answers = 0

    async def lose_every_third(move: str, attempt: Callable[[], Awaitable[Any]]) -> Any:
        nonlocal answers
        answer = await attempt()
        answers += 1
        if answers % 3 == 0:
            raise LostError("its answer was lost", sent=True)
        return answer

    desk.broker.listeners.around.append(lose_every_third)
    for group in "abcde":
        await asyncio.gather(*(desk.submit(submission(f"{group}{number}")) for number in range(8)))
    assert answers > 40
    assert told == []


async def test_a_question_that_is_asked_again_is_held_against_what_was_told_meanwhile(desk: Desk) -> None:
    told: list[Rewound] = []
    desk.broker.listeners.rewound.append(told.append)
    asked, went_back = asyncio.Event(), asyncio.Event()

    async def cut_the_first(move: str, attempt: Callable[[], Awaitable[Any]]) -> Any:
        if move == "enqueue" and not asked.is_set():
            asked.set()
            await went_back.wait()
            raise LostError("its connection was cut", sent=True)
        return await attempt()

    desk.broker.listeners.around.append(cut_the_first)
    late = asyncio.create_task(desk.queue("late"))
    await asked.wait()
    await desk.queue("early")
    with desk.own.server.client() as client:
        for key in client.scan_iter(match=f"{desk.keys['flush']}*"):
            client.delete(key)
    went_back.set()
    await late
    assert [rewound.forgot for rewound in told] == ["runs"]


async def test_who_flushes_outcomes_is_told_of_a_total_that_fell_and_remembers_that_flush(desk: Desk) -> None:
    told: list[Rewound] = []
    desk.broker.listeners.rewound.append(told.append)
    await desk.queue("a", "b", "c")
    first, second = await desk.take(2)
    with desk.own.server.client() as client:
        client.hincrby(desk.keys["books"], "accepted", -1)
        await desk.settle(first)
        assert [rewound.forgot for rewound in told] == ["runs"]
        for key in client.scan_iter(match=f"{desk.keys['settled']}*"):
            client.delete(key)
    await desk.settle(second)
    assert [rewound.forgot for rewound in told] == ["runs", "outcomes"]


async def test_that_a_flush_is_not_counted_any_more_is_told_until_it_is_heard(desk: Desk) -> None:
    told: list[Rewound] = []
    desk.broker.listeners.rewound.append(told.append)
    await desk.queue("a")
    with desk.own.server.client() as client:
        for key in client.scan_iter(match=f"{desk.keys['flush']}*"):
            client.delete(key)

    async def lose(move: str, attempt: Callable[[], Awaitable[Any]]) -> Any:
        await attempt()
        raise LostError("its answer was lost", sent=True)

    desk.broker.listeners.around.append(lose)
    for run_id in "bc":
        with pytest.raises(LostError):
            await desk.broker.enqueue([submission(run_id)], deadline=elapsed())
    desk.broker.listeners.around.remove(lose)
    assert told == []
    for run_id in "de":
        await desk.queue(run_id)
    assert [rewound.forgot for rewound in told] == ["runs"]
