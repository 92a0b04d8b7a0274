"""The recorder keeps events in order, and wakes who waits for one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from tests.support import waiting
from tests.support.recorder import EventRecorder


@dataclass
class Run:
    id: str
    name: str = "pick"


@dataclass
class Message:
    name: str
    run: Run | None = None


@pytest.fixture
def recorder() -> EventRecorder[Message]:
    return EventRecorder()


def test_events_are_kept_in_order_by_run_and_by_name(recorder: EventRecorder[Message]) -> None:
    one, two = Run("1"), Run("2")
    for message in [
        Message("queue", one),
        Message("queue", two),
        Message("broker_lost"),
        Message("end", one),
    ]:
        recorder(message)
    assert recorder.names("1") == ["queue", "end"]
    assert recorder.names("2") == ["queue"]
    assert recorder.of("queue") == [Message("queue", one), Message("queue", two)]
    assert recorder.of("queue", run_id="2") == [Message("queue", two)]
    assert recorder.of("broker_lost") == [Message("broker_lost")]


async def test_who_waits_is_woken_by_the_event_of_the_run(recorder: EventRecorder[Message]) -> None:
    awaited = asyncio.create_task(recorder.wait_for("end", run_id="1"))
    await asyncio.sleep(0)
    recorder(Message("end", Run("2")))
    recorder(Message("start", Run("1")))
    await asyncio.sleep(0)
    assert not awaited.done()
    recorder(Message("end", Run("1")))
    assert await awaited == Message("end", Run("1"))


async def test_what_came_before_the_wait_counts(recorder: EventRecorder[Message]) -> None:
    recorder(Message("end", Run("1")))
    asyncio.get_running_loop().call_soon(recorder, Message("end", Run("2")))
    assert await recorder.wait_for("end", count=2) == Message("end", Run("2"))


async def test_waiting_in_vain_says_for_what_and_what_came(
    recorder: EventRecorder[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PATIENCE", 0.01)
    recorder(Message("start", Run("1")))
    with pytest.raises(AssertionError, match=r"in vain for 'end' number 1 of 1; came: .*start"):
        await recorder.wait_for("end", run_id="1")
