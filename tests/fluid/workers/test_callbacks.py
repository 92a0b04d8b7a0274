"""Callbacks that a group calls later."""

from __future__ import annotations

import asyncio
import random

import pytest

from fluid.workers import Workers, callbacks
from tests.fluid.workers.people import Diary, Diligent


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_callback_is_called_once_sync_or_async(asynchronous: bool) -> None:
    diary = Diary()

    async def later() -> None:
        diary.write("called")

    async with Workers() as group:
        group.register_callback(later if asynchronous else lambda: diary.write("called"), 0.0)
        await diary.wait_for("called")
        for _ in range(5):
            await asyncio.sleep(0)
    assert diary.entries == ["called"]


async def test_a_callback_registered_before_the_start_is_kept_until_the_workers_run() -> None:
    diary = Diary()
    group = Workers(Diligent("w", diary=diary))
    group.register_callback(lambda: diary.write("called"), 0.0)
    assert diary.entries == []
    async with group:
        await diary.wait_for("called")
    assert diary.entries[:3] == ["w startup", "w run", "called"]


async def test_a_periodic_callback_is_called_again_and_again() -> None:
    diary = Diary()
    async with Workers() as group:
        group.register_callback(lambda: diary.write("called"), 0.0, periodic=True)
        await diary.wait_for("called", count=3)


async def test_a_callback_that_raises_is_logged_and_a_periodic_one_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    diary = Diary()

    def broken() -> None:
        diary.write("called")
        raise ValueError("out of ink")

    async with Workers() as group:
        group.register_callback(broken, 0.0, periodic=True)
        await diary.wait_for("called", count=2)
        assert group.running
    assert "out of ink" in caplog.text


async def test_the_stop_cancels_what_is_still_to_come_and_what_is_in_progress() -> None:
    diary = Diary()

    async def hanging() -> None:
        diary.write("hangs")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            diary.write("cancelled")
            raise

    async with Workers() as group:
        group.register_callback(lambda: diary.write("too late"), 3600.0)
        group.register_callback(hanging, 0.0)
        await diary.wait_for("hangs")
    await diary.wait_for("cancelled")
    assert diary.entries == ["hangs", "cancelled"]
    pending = asyncio.all_tasks() - {asyncio.current_task()}
    assert not pending


async def test_the_time_is_that_asked_for_and_up_to_the_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    sleep = asyncio.sleep

    async def no_sleep(seconds: float) -> None:
        waited.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", no_sleep)
    monkeypatch.setattr(random, "uniform", lambda _, most: most / 2)
    await callbacks.LaterCall(lambda: None, seconds=10.0, jitter=4.0, periodic=False).run()
    assert waited == [12.0]
