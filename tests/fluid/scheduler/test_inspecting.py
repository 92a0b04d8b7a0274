"""The broker's server is looked at: what it keeps, what room it has, whose copy it is, what time it has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory

import pytest
from redis import Redis

from fluid.clock import elapsed, timestamp
from fluid.scheduler.announcing import Announcer
from fluid.scheduler.brokers import inspection
from fluid.scheduler.brokers.redis import RedisBroker
from fluid.scheduler.events import EVENTS
from fluid.scheduler.moves import BrokerReport, Durability
from fluid.scheduler.upkeep.inspector import CLOCK, MEMORY, Inspector, dangers_in
from fluid.testing import Recorder
from tests.fluid.scheduler.consuming import consuming
from tests.support.lifeline import LOOPBACK
from tests.support.servers import Flavour, RedisServer
from tests.support.waiting import poll

MEGABYTE = 1024 * 1024


@dataclass
class Looking:
    """A server of the test's own, a client that changes it, an inspector that looks when it is told to."""

    server: RedisServer
    client: Redis
    broker: RedisBroker
    inspector: Inspector
    heard: Recorder

    async def look(self) -> list[tuple[str, str]]:
        """What a look has announced."""
        before = len(self.heard.events)
        await self.inspector.once()
        return [(event.name, event.reason) for event in self.heard.events[before:]]

    async def report(self) -> BrokerReport:
        """What the server tells now."""
        return await self.broker.inspect()


@pytest.fixture
def server(flavour: Flavour) -> Iterator[RedisServer]:
    """A server whose settings are the test's."""
    with RedisServer(flavour, appendonly=True) as server:
        yield server


def inspecting(broker: RedisBroker) -> tuple[Inspector, Recorder]:
    """An inspector, and what it announces."""
    announcer = Announcer(stopping_grace_period=1.0)
    heard = Recorder()
    announcer.dispatcher.register_handler("*.test", heard)
    return Inspector(broker=broker, announcer=announcer), heard


@pytest.fixture
async def looking(server: RedisServer) -> AsyncIterator[Looking]:
    """On a server that is safe."""
    broker = RedisBroker(server.queue_url())
    inspector, heard = inspecting(broker)
    with server.client() as client:
        try:
            await broker.open(elapsed() + 20)
            yield Looking(server, client, broker, inspector, heard)
        finally:
            await broker.close()


# -- what the server tells -----------------------------------------------------------------


async def test_a_safe_broker_is_told_of_nothing(looking: Looking) -> None:
    assert await looking.look() == []
    assert looking.inspector.dangers == frozenset()
    report = looking.inspector.report
    assert report is not None
    assert (report.replica, report.evicts, report.memory_limit) == (False, False, 0)
    assert report.memory_used > 100_000
    assert abs(report.clock_offset) < CLOCK.fine


@pytest.mark.parametrize(
    ("settings", "durability"),
    [
        ({"appendonly": "no", "save": ""}, Durability.none),
        ({"appendonly": "no", "save": "3600 1"}, Durability.rdb),
        ({"appendonly": "yes", "appendfsync": "no"}, Durability.aof_no),
        ({"appendonly": "yes", "appendfsync": "everysec"}, Durability.aof_everysec),
        ({"appendonly": "yes", "appendfsync": "always"}, Durability.aof_always),
    ],
)
async def test_the_class_of_durability_in_force_is_known(
    looking: Looking, settings: dict[str, str], durability: Durability
) -> None:
    for name, value in settings.items():
        looking.client.config_set(name, value)
    assert (await looking.report()).durability is durability


@pytest.mark.parametrize(("appendonly", "least"), [("yes", Durability.aof_no), ("no", Durability.none)])
async def test_a_server_that_hides_its_configuration_is_believed_the_least_and_asked_once(
    looking: Looking, appendonly: str, least: Durability
) -> None:
    looking.client.config_set("save", "3600 1")
    looking.client.config_set("appendonly", appendonly)
    looking.client.acl_setuser("default", enabled=True, commands=["-config"])
    refused: list[str] = []
    looking.broker.listeners.command.append(lambda move, _, kind: refused.append(kind))
    for _ in range(2):
        assert (await looking.report()).durability is least
    assert refused.count("refused") == 1


async def test_the_clocks_difference_is_what_the_call_does_not_explain(
    looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ours, offset in ((-30.0, 30.0), (30.0, -30.0)):
        now = timestamp()
        monkeypatch.setattr(inspection, "timestamp", lambda now=now, ours=ours: now + ours)
        assert (await looking.report()).clock_offset == pytest.approx(offset, abs=5.0)
        monkeypatch.undo()
    hands = iter((timestamp() - 100, timestamp() + 100))
    monkeypatch.setattr(inspection, "timestamp", lambda: next(hands))
    assert (await looking.report()).clock_offset == 0.0


# -- what is told --------------------------------------------------------------------------


async def test_eviction_is_told_once_and_its_end_is_told(looking: Looking) -> None:
    looking.client.config_set("maxmemory", "500mb")
    looking.client.config_set("maxmemory-policy", "allkeys-lru")
    assert await looking.look() == [("broker_unsafe", "eviction")]
    assert await looking.look() == []
    looking.client.config_set("maxmemory-policy", "noeviction")
    assert await looking.look() == [("broker_safe", "eviction")]
    assert await looking.look() == []


async def test_a_broker_that_keeps_nothing_is_told_and_its_mending_too(looking: Looking) -> None:
    looking.client.config_set("appendonly", "no")
    assert await looking.look() == [("broker_unsafe", "not_durable")]
    looking.client.config_set("appendonly", "yes")
    assert await looking.look() == [("broker_safe", "not_durable")]


async def test_memory_that_is_nearly_full_is_told_and_that_there_is_room_again(looking: Looking) -> None:
    used = looking.client.info("memory")["used_memory"]
    for share, told in ((0.5, []), (0.97, ["broker_unsafe"]), (0.85, []), (0.5, ["broker_safe"])):
        looking.client.config_set("maxmemory", int((used + MEGABYTE) / share))
        looking.client.delete("filler")
        looking.client.setrange("filler", used + MEGABYTE - looking.client.info("memory")["used_memory"], "x")
        assert await looking.look() == [(event, "memory") for event in told], share
    report = await looking.report()
    assert 0 < report.memory_used < report.memory_limit


async def test_a_primary_that_became_a_replica_is_told_and_its_promotion_too(
    looking: Looking, flavour: Flavour
) -> None:
    with RedisServer(flavour, appendonly=True) as primary, primary.client() as other:
        looking.client.replicaof(LOOPBACK, primary.port)

        async def link() -> str:
            return str(looking.client.info("replication")["master_link_status"])

        await poll(link, lambda status: status == "up", "the replica to follow")
        # what it follows has no queue yet
        source = RedisBroker(primary.queue_url())
        await source.open(elapsed() + 20)
        await source.close()
        other.wait(1, 10_000)
        assert await looking.look() == [("broker_unsafe", "replica")]
        assert await looking.look() == []
        looking.client.replicaof("NO", "ONE")
        assert await looking.look() == [("broker_safe", "replica")]


SAFE = BrokerReport(
    durability=Durability.aof_always,
    evicts=False,
    replica=False,
    memory_used=1,
    memory_limit=0,
    clock_offset=0.0,
)


@pytest.mark.parametrize(
    ("offset", "before", "danger"),
    [(0.9, False, False), (1.1, False, True), (-1.1, False, True), (-0.6, True, True), (0.4, True, False)],
)
def test_a_clock_is_off_from_a_second_on_until_it_is_within_half_a_second(
    offset: float, before: bool, danger: bool
) -> None:
    known = frozenset({"clock_offset"} if before else ())
    assert dangers_in(replace(SAFE, clock_offset=offset), known) == frozenset(
        {"clock_offset"} if danger else ()
    )


def test_every_danger_is_published_and_no_other() -> None:
    worst = replace(
        SAFE,
        durability=Durability.none,
        evicts=True,
        replica=True,
        memory_used=100,
        memory_limit=100,
        clock_offset=CLOCK.most * 2,
    )
    assert dangers_in(worst, frozenset()) == set(EVENTS["broker_unsafe"].reasons)
    assert EVENTS["broker_safe"].reasons == EVENTS["broker_unsafe"].reasons
    assert 0 < MEMORY.fine < MEMORY.most < 1


async def test_an_embedded_broker_that_keeps_nothing_says_so_once_where_it_is_started(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with TemporaryDirectory(prefix="fluid-") as directory, caplog.at_level("INFO", "fluid"):
        monkeypatch.setenv("XDG_RUNTIME_DIR", directory)
        broker = RedisBroker("embedded://")
        inspector, heard = inspecting(broker)
        try:
            await broker.open(elapsed() + 20)
            await inspector.once()
        finally:
            await broker.close()
    assert inspector.report is not None
    assert inspector.report.durability is Durability.none
    assert inspector.dangers == frozenset()
    assert heard.events == []
    assert "no persistence: nothing outlives the server" in caplog.text
    assert "is unsafe" not in caplog.text


async def test_that_nothing_is_kept_is_no_danger_where_it_is_meant_and_the_rest_still_is(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with server.client() as client:
        client.config_set("appendonly", "no")
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
    async with consuming(server.queue_url(), broker_durable=False) as (consumer, heard):
        assert (await heard.wait_for("broker_unsafe")).reason == "eviction"
        assert consumer.broker_dangers == {"eviction"}
        assert consumer.broker_report is not None
        assert consumer.broker_report.durability is Durability.none
    assert {event.reason for event in heard.of("broker_unsafe")} == {"eviction"}
    assert "append-only" not in caplog.text


# -- in a consumer -------------------------------------------------------------------------


async def test_a_consumer_knows_what_its_last_look_told(server: RedisServer) -> None:
    with server.client() as client:
        client.config_set("appendonly", "no")
    async with consuming(server.queue_url()) as (consumer, heard):
        assert (await heard.wait_for("broker_unsafe")).reason == "not_durable"
        assert consumer.broker_dangers == {"not_durable"}
        assert consumer.broker_report is not None
        assert consumer.broker_report.durability is Durability.none
        status = await consumer.status()
        assert status["broker"] == {"url": consumer.broker.url, "up": True, "dangers": ["not_durable"]}
