"""Two releases of one app at work at once: each run is done by one that can read it, and by no other."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from msgspec import Struct
from pydantic import BaseModel

from fluid.errors import RunDeadError
from fluid.scheduler import Task, TaskConsumer, TaskManager, TaskRun, TaskState, task
from fluid.scheduler.codec import fingerprint
from fluid.testing import Recorder
from tests.fluid.scheduler.consuming import consuming, managing, reasons
from tests.support.queues import OwnQueue
from tests.support.waiting import poll

pytestmark = pytest.mark.usefixtures("key_leaks")


class Release:
    """One release of an app: a task `ship` with a parameters model of its own, and what it did."""

    def __init__(self, model: type[BaseModel]) -> None:
        self.done: list[str] = []

        async def ship(ctx: TaskRun[Any]) -> None:
            assert type(ctx.params) is model
            self.done.append(ctx.id)

        self.task = Task("ship", ship, params_model=model)


class Parcel(BaseModel):
    """What the old release ships."""

    grams: int


class Letter(BaseModel):
    """What the new release ships."""

    stamp: str


async def known_to_broker(manager: TaskManager, count: int) -> None:
    """Until so many consumers have said that they are alive."""

    async def alive() -> int:
        return len([one for one in await manager.broker.consumers() if one.models])

    await poll(alive, lambda found: found == count, "consumers to be known")


async def queue_through(url: str, release: Release, count: int, **params: object) -> list[str]:
    async with managing(url, release.task) as (manager, _):
        return [run.id for run in await manager.queue_many("ship", [params] * count)]


def tried_in_vain(*heard: Recorder) -> Counter[str]:
    """How often each run was held because its parameters did not fit; nothing else went wrong."""
    tried: Counter[str] = Counter()
    for recorder in heard:
        for event in recorder.of("held"):
            assert event.reason == "invalid_params"
            assert event.run is not None
            tried[event.run.id] += 1
        assert recorder.of("dead") == recorder.of("lost") == recorder.of("retry") == []
    return tried


@pytest.mark.parametrize("old_first", [True, False])
async def test_a_mixed_fleet_ships_everything_and_tries_each_run_at_most_once_per_release(
    broker_queue: OwnQueue, old_first: bool
) -> None:
    old, new = Release(Parcel), Release(Letter)
    first, second = (old, new) if old_first else (new, old)
    url = broker_queue.url
    async with (
        consuming(url, first.task) as (one, heard_by_one),
        consuming(url, second.task) as (_, heard_by_other),
    ):
        await known_to_broker(one, 2)
        parcels = await queue_through(url, old, 50, grams=5)
        letters = await queue_through(url, new, 50, stamp="blue")
        for run_id in (*parcels, *letters):
            record = await one.broker.wait_end(run_id, None)
            assert record is not None
            assert (record.state, record.failures, record.losses) == (TaskState.success, 0, 0)
    assert sorted(old.done) == sorted(parcels)
    assert sorted(new.done) == sorted(letters)
    tried = tried_in_vain(heard_by_one, heard_by_other)
    assert tried, "no release ever met a run of the other"
    assert set(tried.values()) == {1}


async def test_what_no_release_can_read_is_dead_after_each_has_tried_it(broker_queue: OwnQueue) -> None:
    old, new = Release(Parcel), Release(Letter)
    url = broker_queue.url

    @task(name="ship")
    async def ship(ctx: TaskRun) -> None: ...

    async with (
        consuming(url, old.task) as (one, heard_by_one),
        consuming(url, new.task) as (_, heard_by_other),
    ):
        await known_to_broker(one, 2)
        async with managing(url, ship) as (manager, _):
            run = await manager.queue("ship", flowers=12)
            with pytest.raises(RunDeadError, match="parameters do not fit"):
                await run.result(timeout=30)
            held = heard_by_one.of("held") + heard_by_other.of("held")
            dead = heard_by_one.of("dead") + heard_by_other.of("dead")
            assert (reasons(held), reasons(dead)) == (["invalid_params"], ["invalid_params"])
            await manager.discard(run.id)
    assert old.done == new.done == []


async def test_a_rollback_takes_up_what_the_newer_release_could_not_read(broker_queue: OwnQueue) -> None:
    old, new = Release(Parcel), Release(Letter)
    url = broker_queue.url
    leaving = TaskConsumer(broker_url=url)
    leaving.register_task(old.task)
    async with consuming(url, new.task) as (one, heard):
        async with leaving:
            await known_to_broker(one, 2)
            await leaving.broker.stop_claiming(leaving.consumer_name)
            (run_id,) = await queue_through(url, old, 1, grams=5)
            await heard.wait_for("held")
        # the old release has gone with the run held; it comes again
        assert (await one.broker.snapshot()).held == 1
        async with consuming(url, old.task):
            record = await one.broker.wait_end(run_id, None)
            assert record is not None
            assert record.state is TaskState.success
    assert (old.done, new.done) == ([run_id], [])


# -- the fingerprint of a model ------------------------------------------------------------


def test_a_fingerprint_is_of_what_parameters_look_like_not_of_the_class() -> None:
    again = type("Parcel", (BaseModel,), {"__annotations__": {"grams": int}, "__doc__": Parcel.__doc__})
    assert fingerprint(Release(again).task) == fingerprint(Release(Parcel).task)
    assert fingerprint(Release(Letter).task) != fingerprint(Release(Parcel).task)


class Flat(Struct):
    """A model of the other kind."""

    grams: int


class Deep(Struct):
    """One with a model inside."""

    flat: Flat


def test_every_kind_of_model_has_a_fingerprint() -> None:
    class Odd:
        """A type without a schema."""

    class Strange(Struct):
        odd: Odd

    async def body(ctx: TaskRun) -> None: ...

    models: tuple[type[Any] | None, ...] = (None, Flat, Deep, Strange, Parcel)
    found = [fingerprint(Task("t", body, params_model=model)) for model in models]
    assert len(set(found)) == len(found)
    assert all(found)
