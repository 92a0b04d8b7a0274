"""A worker with a bounded queue in front of it."""

from __future__ import annotations

import asyncio

import pytest

from fluid.errors import WorkerError
from fluid.workers import QueueConsumer
from tests.fluid.workers.people import Diary


class Reader(QueueConsumer[str]):
    """Writes down what it is sent."""

    def __init__(self, *, max_size: int = 1000) -> None:
        super().__init__(max_size=max_size, name="reader")
        self.diary = Diary()
        self.lost: list[str] = []

    async def run(self) -> None:
        while (message := await self.get_message()) is not None:
            self.diary.write(message)

    def on_dropped(self, message: str) -> None:
        self.lost.append(message)


async def test_messages_come_in_the_order_they_were_sent() -> None:
    async with Reader() as reader:
        for message in "abc":
            reader.send(message)
        await reader.diary.wait_for("c")
    assert reader.diary.entries == ["a", "b", "c"]


async def test_a_message_wakes_a_waiting_reader() -> None:
    async with Reader() as reader:
        reader.send("a")
        await reader.diary.wait_for("a")
        reader.send("b")
        await reader.diary.wait_for("b")


async def test_messages_sent_before_the_start_wait_for_it() -> None:
    reader = Reader()
    reader.send("early")
    assert reader.queue_size() == 1
    async with reader:
        await reader.diary.wait_for("early")
    assert reader.queue_size() == 0


async def test_a_stop_lets_it_read_what_waits() -> None:
    reader = Reader()
    for message in "abc":
        reader.send(message)
    reader.gracefully_stop()
    await reader.safe_run()
    assert reader.diary.entries == ["a", "b", "c"]


async def test_a_stop_wakes_a_waiting_reader() -> None:
    reader = Reader()
    await reader.start_running()
    await reader.shutdown(grace=3600.0)
    assert reader.error is None
    assert await reader.get_message() is None


async def test_when_the_queue_is_full_the_oldest_is_dropped_and_counted() -> None:
    reader = Reader(max_size=2)
    for message in "abcd":
        reader.send(message)
    assert reader.queue_size() == 2
    assert reader.dropped == 2
    assert reader.lost == ["a", "b"]
    async with reader:
        await reader.diary.wait_for("d")
    assert reader.diary.entries == ["c", "d"]


async def test_a_message_may_come_from_another_thread_through_the_loop() -> None:
    loop = asyncio.get_running_loop()
    async with Reader() as reader:
        await asyncio.to_thread(loop.call_soon_threadsafe, reader.send, "from afar")
        await reader.diary.wait_for("from afar")


async def test_two_takers_share_the_messages() -> None:
    reader = Reader()
    takers = [asyncio.create_task(reader.get_message()) for _ in range(2)]
    await asyncio.sleep(0)
    reader.send("a")
    reader.send("b")
    assert set(await asyncio.gather(*takers)) == {"a", "b"}


def test_a_queue_that_holds_nothing_is_refused() -> None:
    with pytest.raises(WorkerError, match="max_size=0"):
        Reader(max_size=0)


async def test_the_status_tells_what_waits_and_what_was_dropped() -> None:
    reader = Reader(max_size=1)
    reader.send("a")
    reader.send("b")
    status = await reader.status()
    assert (status["queue_size"], status["dropped"], status["state"]) == (1, 1, "init")
