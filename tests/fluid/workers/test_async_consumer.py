"""Messages are handed to async handlers, and no handler harms the producer or another handler."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from fluid.breaker import Backoff
from fluid.dispatcher import HandlerName
from fluid.errors import DuplicateHandlerError, UnknownEventError
from fluid.testing import ManualClock
from fluid.workers import AsyncConsumer, Workers
from fluid.workers.handler_worker import HandlerStatistics, HandlerWorker
from tests.fluid.workers.people import Diary


def writing(diary: Diary, who: str = "") -> Callable[[str], Awaitable[None]]:
    async def handler(message: str) -> None:
        diary.write(f"{who}{message}")

    return handler


class Gate:
    """A handler that holds every message until the test opens the gate."""

    def __init__(self) -> None:
        self.diary = Diary()
        self._opened = asyncio.Event()

    def open(self) -> None:
        self._opened.set()

    async def __call__(self, message: str) -> None:
        self.diary.write(f"got {message}")
        await self._opened.wait()
        self.diary.write(message)


class Broken:
    """A handler that raises as long as `mended` is false."""

    def __init__(self) -> None:
        self.diary = Diary()
        self.mended = False

    async def __call__(self, message: str) -> None:
        self.diary.write(message)
        if not self.mended:
            raise ValueError(message)


def only(consumer: AsyncConsumer[str]) -> HandlerStatistics:
    (statistics,) = consumer.statistics()
    return statistics


# -- who is told ---------------------------------------------------------------------------


async def test_the_handlers_of_an_event_are_told_each_in_order() -> None:
    diary = Diary()
    consumer = AsyncConsumer[str]()
    consumer.register_handler("end.a", writing(diary, "a"))
    consumer.register_handler("end.b", writing(diary, "b"))
    consumer.register_handler("start", writing(diary, "start"))
    async with consumer:
        for message in "123":
            consumer.dispatch("end", message)
    assert [entry for entry in diary.entries if entry[0] == "a"] == ["a1", "a2", "a3"]
    assert [entry for entry in diary.entries if entry[0] == "b"] == ["b1", "b2", "b3"]
    assert len(diary.entries) == 6


async def test_a_handler_of_everything_hears_every_event() -> None:
    diary = Diary()
    consumer = AsyncConsumer[str](events=["start", "end"])
    consumer.register_handler("*.audit", writing(diary))
    async with consumer:
        consumer.dispatch("start", "1")
        consumer.dispatch("end", "2")
    assert diary.entries == ["1", "2"]


async def test_a_handler_can_be_left_out() -> None:
    diary = Diary()
    consumer = AsyncConsumer[str]()
    consumer.register_handler("*.troubled", writing(diary, "troubled "))
    consumer.register_handler("*.other", writing(diary, "other "))
    async with consumer:
        consumer.dispatch("handler_failed", "m", but_not=HandlerName("*", "troubled"))
    assert diary.entries == ["other m"]


async def test_an_event_is_wanted_when_a_handler_would_hear_it() -> None:
    consumer = AsyncConsumer[str]()
    assert not consumer.wants("end")
    consumer.register_handler("end.x", writing(Diary()))
    assert consumer.wants("end")
    assert not consumer.wants("start")


async def test_registrations_follow_the_rules_of_every_dispatcher() -> None:
    consumer = AsyncConsumer[str](events=["end"])
    consumer.register_handler("end.x", writing(Diary()))
    with pytest.raises(DuplicateHandlerError, match=r"'end'.*'x'"):
        consumer.register_handler("end.x", writing(Diary()))
    with pytest.raises(UnknownEventError):
        consumer.register_handler("ende", writing(Diary()))
    assert consumer.num_workers == 1


async def test_messages_dispatched_before_the_start_wait_for_it() -> None:
    diary = Diary()
    consumer = AsyncConsumer[str]()
    consumer.register_handler("end", writing(diary))
    consumer.dispatch("end", "early")
    assert only(consumer).queue_size == 1
    async with consumer:
        await diary.wait_for("early")


async def test_a_handler_registered_while_running_is_told_from_then_on() -> None:
    diary = Diary()
    async with AsyncConsumer[str]() as consumer:
        consumer.dispatch("end", "nobody listens")
        consumer.register_handler("end", writing(diary))
        consumer.dispatch("end", "heard")
        await diary.wait_for("heard")
    assert diary.entries == ["heard"]


async def test_an_unregistered_handler_finishes_its_call_and_hears_nothing_more() -> None:
    gate = Gate()
    dropped: list[tuple[str, str]] = []
    async with AsyncConsumer[str](on_dropped=lambda *handler: dropped.append(handler)) as consumer:
        consumer.register_handler("end.x", gate)
        consumer.dispatch("end", "1")
        consumer.dispatch("end", "2")
        await gate.diary.wait_for("got 1")
        assert consumer.unregister_handler("end.x") is gate
        consumer.dispatch("end", "3")
        gate.open()
        await gate.diary.wait_for("1")
    assert gate.diary.entries == ["got 1", "1"]
    assert dropped == [("end", "x")], "the one that waited"
    assert consumer.unregister_handler("end.x") is None


async def test_a_name_is_free_again_once_its_handler_is_unregistered() -> None:
    gate, diary = Gate(), Diary()
    async with AsyncConsumer[str]() as consumer:
        consumer.register_handler("end.x", gate)
        consumer.dispatch("end", "1")
        await gate.diary.wait_for("got 1")
        consumer.unregister_handler("end.x")
        consumer.register_handler("end.x", writing(diary))
        consumer.dispatch("end", "2")
        await diary.wait_for("2")
        gate.open()


# -- handlers in trouble -------------------------------------------------------------------


async def test_dispatching_returns_at_once_and_a_hanging_handler_harms_no_other() -> None:
    gate, diary = Gate(), Diary()
    consumer = AsyncConsumer[str](max_size=10)
    consumer.register_handler("end.hangs", gate)
    consumer.register_handler("end.works", writing(diary))
    async with consumer:
        for message in "123":
            consumer.dispatch("end", message)
        await diary.wait_for("3")
        assert gate.diary.entries == ["got 1"]
        gate.open()


async def test_a_raising_handler_is_counted_and_goes_on_with_the_next_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    handler = Broken()
    failed: list[tuple[str, str, BaseException, float]] = []
    consumer = AsyncConsumer[str](on_failed=lambda *failure: failed.append(failure), clock=ManualClock())
    consumer.register_handler("end.x", handler)
    async with consumer:
        consumer.dispatch("end", "1")
        await handler.diary.wait_for("1")
        handler.mended = True
        consumer.dispatch("end", "2")
    ((event, name, error, seconds),) = failed
    assert (event, name, str(error), seconds) == ("end", "x", "1", 0.0)
    assert (only(consumer).failures, only(consumer).handled) == (1, 1)
    assert "handler end.x raised ValueError('1')" in caplog.text


async def test_a_handler_that_takes_too_long_is_cancelled_and_counted() -> None:
    gate = Gate()
    failed: list[BaseException] = []
    consumer = AsyncConsumer[str](timeout=0.01, on_failed=lambda *failure: failed.append(failure[2]))
    consumer.register_handler("end.x", gate)
    async with consumer:
        consumer.dispatch("end", "1")
        consumer.dispatch("end", "2")
        await gate.diary.wait_for("got 2")
    assert [type(error) for error in failed] == [TimeoutError, TimeoutError]
    assert "took longer than 0.01 s" in str(failed[0])
    assert only(consumer).failures == 2


async def test_a_cancellation_that_a_handler_looked_at_is_its_failure() -> None:
    diary = Diary()

    async def handler(message: str) -> None:
        diary.write(message)
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    consumer = AsyncConsumer[str]()
    consumer.register_handler("end", handler)
    async with consumer:
        consumer.dispatch("end", "1")
        consumer.dispatch("end", "2")
        await diary.wait_for("2")
    assert only(consumer).failures == 2
    assert consumer.restarts == 0


async def test_a_flood_drops_the_oldest_and_counts_them() -> None:
    gate = Gate()
    dropped: list[tuple[str, str]] = []
    consumer = AsyncConsumer[str](max_size=2, on_dropped=lambda *handler: dropped.append(handler))
    consumer.register_handler("end.slow", gate)
    async with consumer:
        consumer.dispatch("end", "1")
        await gate.diary.wait_for("got 1")
        for message in "2345":
            consumer.dispatch("end", message)
        assert only(consumer).queue_size == 2
        gate.open()
    assert [entry for entry in gate.diary.entries if len(entry) == 1] == ["1", "4", "5"]
    assert dropped == [("end", "slow")] * 2
    assert only(consumer).dropped == 2


async def test_a_handler_that_never_awaits_leaves_the_loop_its_turns() -> None:
    turns: list[int] = []
    handled: list[str] = []

    async def handler(message: str) -> None:
        handled.append(message)

    async with AsyncConsumer[str]() as consumer:
        consumer.register_handler("end", handler)
        for number in range(100):
            consumer.dispatch("end", str(number))
        while len(handled) < 100:
            turns.append(len(handled))
            await asyncio.sleep(0)
    assert len(turns) > 10


async def test_callbacks_that_raise_harm_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def broken(*facts: object) -> None:
        raise RuntimeError("cannot count")

    diary = Diary()
    consumer = AsyncConsumer[str](max_size=1, on_handled=broken, on_failed=broken, on_dropped=broken)
    consumer.register_handler("end", writing(diary))
    consumer.register_handler("end.broken", Broken())
    async with consumer:
        consumer.dispatch("end", "1")
        consumer.dispatch("end", "2")
        await diary.wait_for("2")
    assert "cannot count" in caplog.text
    assert [(s.handled, s.failures, s.dropped) for s in consumer.statistics()] == [(1, 0, 1), (0, 1, 1)]


async def test_a_handled_message_is_told_with_its_seconds() -> None:
    clock = ManualClock()
    handled: list[tuple[str, str, float]] = []

    async def handler(message: str) -> None:
        clock.advance(1.5)

    consumer = AsyncConsumer[str](clock=clock, on_handled=lambda *fact: handled.append(fact))
    consumer.register_handler("end.x", handler)
    async with consumer:
        consumer.dispatch("end", "1")
        consumer.dispatch("end", "2")
    assert handled == [("end", "x", 1.5)] * 2
    assert consumer.statistics() == [HandlerStatistics("end", "x", 0, 2, 0, 0, 3.0)]


# -- the breaker ---------------------------------------------------------------------------


class Pauses:
    """Stands in for the pauses of handlers: writes down their seconds, and holds them until let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds: list[float] = []
        self.diary = Diary()
        self._let_go = asyncio.Semaphore(0)
        really = HandlerWorker.wait_for_stop

        async def wait_for_stop(worker: HandlerWorker[str], timeout: float | None = None) -> bool:
            if not timeout:
                return await really(worker, timeout)
            self.seconds.append(timeout)
            self.diary.write("paused")
            await self._let_go.acquire()
            return worker.is_stopping()

        monkeypatch.setattr(HandlerWorker, "wait_for_stop", wait_for_stop)

    def let_go(self) -> None:
        self._let_go.release()


async def test_a_handler_that_keeps_failing_is_paused_longer_and_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses, handler = Pauses(monkeypatch), Broken()
    consumer = AsyncConsumer[str]()
    consumer.register_handler("end", handler)
    async with consumer:
        for number in range(20):
            consumer.dispatch("end", str(number))
        await pauses.diary.wait_for("paused")
        assert len(handler.diary.entries) == 5, "five failures in a row"
        for count in range(2, 9):
            pauses.let_go()
            await pauses.diary.wait_for("paused", count)
        assert pauses.seconds == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
        assert len(handler.diary.entries) == 12, "one call after each pause"
        handler.mended = True
        pauses.let_go()
        await handler.diary.wait_for("19")
    assert (only(consumer).failures, only(consumer).handled) == (12, 8)


async def test_one_success_forgives_the_failures_before(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses, handler = Pauses(monkeypatch), Broken()
    consumer = AsyncConsumer[str](failures_before_pause=2)
    consumer.register_handler("end", handler)
    async with consumer:
        for mended in (False, True, False, True, False):
            handler.mended = mended
            consumer.dispatch("end", str(mended))
            calls = len(handler.diary.entries)
            await handler.diary.wait_for(str(mended), handler.diary.entries.count(str(mended)) + 1)
            assert len(handler.diary.entries) == calls + 1
    assert pauses.seconds == []


async def test_messages_for_a_paused_handler_wait_and_the_oldest_are_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses, handler = Pauses(monkeypatch), Broken()
    consumer = AsyncConsumer[str](max_size=2, failures_before_pause=1)
    consumer.register_handler("end", handler)
    async with consumer:
        consumer.dispatch("end", "bad")
        await pauses.diary.wait_for("paused")
        for message in "123":
            consumer.dispatch("end", message)
        assert (only(consumer).queue_size, only(consumer).dropped) == (2, 1)
        handler.mended = True
        pauses.let_go()
        await handler.diary.wait_for("3")
    assert handler.diary.entries == ["bad", "2", "3"]


async def test_a_stop_ends_the_pause_and_delivers_what_waits() -> None:
    handler = Broken()
    consumer = AsyncConsumer[str](failures_before_pause=1, pause=Backoff(first=3600.0, longest=3600.0))
    consumer.register_handler("end", handler)
    async with consumer:
        consumer.dispatch("end", "bad")
        await handler.diary.wait_for("bad")
        handler.mended = True
        consumer.dispatch("end", "good")
    assert handler.diary.entries == ["bad", "good"]


async def test_a_handler_is_told_of_as_paused_until_it_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses, handler = Pauses(monkeypatch), Broken()
    consumer = AsyncConsumer[str](failures_before_pause=2)
    consumer.register_handler("end", handler)
    async with consumer:
        consumer.dispatch("end", "1")
        await handler.diary.wait_for("1")
        assert not only(consumer).paused
        consumer.dispatch("end", "2")
        await pauses.diary.wait_for("paused")
        assert only(consumer).paused
        handler.mended = True
        consumer.dispatch("end", "3")
        pauses.let_go()
        await handler.diary.wait_for("3")
    assert not only(consumer).paused


async def test_a_paused_handler_that_fails_once_more_does_not_hold_up_the_stop() -> None:
    handler = Broken()
    consumer = AsyncConsumer[str](failures_before_pause=2, pause=Backoff(first=3600.0, longest=3600.0))
    consumer.register_handler("end", handler)
    async with consumer:
        for number in range(100):
            consumer.dispatch("end", str(number))
        await handler.diary.wait_for("1")
    assert len(handler.diary.entries) == 3
    assert (only(consumer).failures, only(consumer).dropped, only(consumer).queue_size) == (3, 97, 0)


async def test_a_handler_that_keeps_the_loop_to_itself_for_too_long_has_failed_all_the_same() -> None:
    clock, failed = ManualClock(), list[BaseException]()

    async def blocking(message: str) -> None:
        clock.advance(31.0)

    consumer = AsyncConsumer[str](clock=clock, on_failed=lambda *failure: failed.append(failure[2]))
    consumer.register_handler("end", blocking)
    async with consumer:
        consumer.dispatch("end", "1")
    assert [str(error) for error in failed] == ["took longer than 30 s"]
    assert (only(consumer).failures, only(consumer).handled) == (1, 0)


# -- stopping ------------------------------------------------------------------------------


async def test_what_is_queued_is_delivered_before_the_end() -> None:
    diary = Diary()
    consumer = AsyncConsumer[str]()
    consumer.register_handler("end", writing(diary))
    async with consumer:
        for number in range(500):
            consumer.dispatch("end", str(number))
    assert len(diary.entries) == 500
    assert only(consumer).handled == 500


async def test_what_the_grace_period_does_not_deliver_is_counted_as_dropped() -> None:
    gate = Gate()
    consumer = AsyncConsumer[str](stopping_grace_period=0.01)
    consumer.register_handler("end", gate)
    async with consumer:
        for message in "123":
            consumer.dispatch("end", message)
        await gate.diary.wait_for("got 1")
    assert gate.diary.entries == ["got 1"]
    assert (only(consumer).dropped, only(consumer).queue_size, only(consumer).handled) == (3, 0, 0)


async def test_every_handler_has_the_whole_grace_period() -> None:
    consumer = AsyncConsumer[str](stopping_grace_period=3600.0)
    consumer.register_handler("end", writing(Diary()))
    assert [worker.stopping_grace_period for worker in consumer.workers] == [3600.0]


async def test_what_comes_after_the_end_is_counted_as_dropped() -> None:
    diary = Diary()
    consumer = AsyncConsumer[str]()
    consumer.register_handler("end", writing(diary))
    async with consumer:
        pass
    consumer.dispatch("end", "late")
    assert (only(consumer).dropped, only(consumer).queue_size) == (1, 0)
    async with consumer:
        consumer.dispatch("end", "again")
    assert diary.entries == ["again"], "a new life takes messages again"


async def test_a_handler_that_ignores_its_cancellation_does_not_hold_up_the_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(HandlerWorker, "abandon_after", 0.01)
    diary, let_go = Diary(), asyncio.Event()

    async def deaf(message: str) -> None:
        while not let_go.is_set():
            try:
                diary.write("hears nothing")
                await let_go.wait()
            except asyncio.CancelledError:
                diary.write("ignores")
        diary.write("ends")

    consumer = AsyncConsumer[str](stopping_grace_period=0.01)
    consumer.register_handler("end", deaf)
    async with consumer:
        consumer.dispatch("end", "1")
        consumer.dispatch("end", "2")
        await diary.wait_for("hears nothing")
    assert consumer.state.is_stopped
    assert only(consumer).dropped == 1
    let_go.set()
    await diary.wait_for("ends")


async def test_it_is_a_worker_that_its_group_can_do_without() -> None:
    diary = Diary()
    consumer = AsyncConsumer[str](name="handlers")
    consumer.register_handler("end.x", writing(diary))
    async with Workers(consumer) as group:
        consumer.dispatch("end", "m")
        await diary.wait_for("m")
        status = await group.status()
    assert not consumer.critical
    assert isinstance(status["handlers"], dict)
    assert status["handlers"]["end.x"]["queue_size"] == 0
