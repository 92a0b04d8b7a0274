"""Notes: of many who replace one at once, one is told that it has."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from fluid.errors import BrokerError, BrokerUnavailableError, PayloadTooLargeError
from fluid.scheduler.brokers import notebook
from fluid.scheduler.brokers.redis import RedisBroker
from fluid.scheduler.notes import LARGEST_NOTE
from tests.fluid.scheduler.brokers.desk import LONG, Desk
from tests.support.lifeline import free_port
from tests.support.servers import Flavour, queue_url
from tests.support.waiting import poll


async def test_what_was_written_stands_until_it_is_replaced(desk: Desk) -> None:
    notes = desk.broker.notes
    assert await notes.write("who", b"ann \x00 \n", instead_of=None, ttl=LONG)
    first = (await notes.read()).notes["who"]
    assert first.value == b"ann \x00 \n"
    assert await notes.write("who", b"ben", instead_of=first, ttl=LONG)
    assert (await notes.read()).notes["who"].value == b"ben"


async def test_who_does_not_know_the_one_that_stands_does_not_replace_it(desk: Desk) -> None:
    notes = desk.broker.notes
    assert await notes.write("who", b"ann", instead_of=None, ttl=LONG)
    stands = (await notes.read()).notes["who"]
    for known in (None, replace(stands, version="another")):
        assert not await notes.write("who", b"ben", instead_of=known, ttl=LONG)
    assert not await notes.write("else", b"ben", instead_of=stands, ttl=LONG)
    assert (await notes.read()).notes == {"who": stands}


async def test_of_many_who_write_at_once_one_is_told_that_it_has(desk: Desk) -> None:
    brokers = [RedisBroker(desk.own.url) for _ in range(5)]
    try:
        told = await asyncio.gather(
            *(one.notes.write("who", b"%d" % n, instead_of=None, ttl=LONG) for n, one in enumerate(brokers))
        )
    finally:
        for one in brokers:
            await one.close()
    assert sorted(told) == [False] * 4 + [True]
    assert (await desk.broker.notes.read()).notes["who"].value == b"%d" % told.index(True)


async def test_a_note_expires_and_is_written_anew_by_who_knows_of_none(desk: Desk) -> None:
    notes = desk.broker.notes
    assert await notes.write("who", b"ann", instead_of=None, ttl=0.05)
    await poll(notes.read, lambda noted: not noted.notes, "a note to expire")
    assert await notes.write("who", b"ben", instead_of=None, ttl=LONG)


async def test_the_time_is_the_brokers(desk: Desk) -> None:
    assert (await desk.broker.notes.read()).now * 1000 == pytest.approx(
        (await desk.broker.snapshot()).now, abs=60_000
    )


async def test_notes_are_bounded_and_expired_ones_make_room(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebook, "MOST_NOTES", 2)
    notes = desk.broker.notes
    with pytest.raises(PayloadTooLargeError, match="note 'large'"):
        await notes.write("large", b"x" * (LARGEST_NOTE + 1), instead_of=None, ttl=LONG)
    assert await notes.write("passing", b"1", instead_of=None, ttl=0.05)
    assert await notes.write("lasting", b"2", instead_of=None, ttl=LONG)
    await poll(notes.read, lambda noted: "passing" not in noted.notes, "a note to expire")
    assert await notes.write("third", b"3", instead_of=None, ttl=LONG)
    with pytest.raises(BrokerError, match="'fourth' is one too many"):
        await notes.write("fourth", b"4", instead_of=None, ttl=LONG)
    assert set((await notes.read()).notes) == {"lasting", "third"}


async def test_while_the_broker_is_away_it_is_said(flavour: Flavour, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "PATIENCE", 0.1)
    broker = RedisBroker(queue_url(flavour, free_port(), "away"))
    try:
        with pytest.raises(BrokerUnavailableError):
            await broker.notes.read()
        with pytest.raises(BrokerUnavailableError):
            await broker.notes.write("who", b"ann", instead_of=None, ttl=LONG)
    finally:
        await broker.close()
