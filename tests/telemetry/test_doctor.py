"""`fluid doctor` walks the whole road; with one hop broken, it names that one and no other."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from redis import Redis

from fluid.cli import examining, hops
from fluid.cli.examining import Walk, examine
from fluid.cli.hops import ROAD
from fluid.clock import elapsed, timestamp
from fluid.plugins import Finding, Mark
from fluid.scheduler import TaskConsumer, TaskManager, TaskPriority
from fluid.scheduler.brokers import inspection
from fluid.scheduler.brokers.keys import Keys
from fluid.scheduler.moves import Submission
from fluid.testing import Recorder
from telemetry import Telemetry, checks
from telemetry.checks import look
from telemetry.settings import TelemetrySettings
from tests.fluid.scheduler.consuming import eventually
from tests.support.certificates import certificate
from tests.support.lifeline import LOOPBACK, free_port
from tests.support.servers import RedisServer
from tests.support.waiting import poll
from tests.telemetry.conftest import greet, stumble
from tests.telemetry.tracing import own_opentelemetry


class Collector:
    """Takes what exporters send; answers as it is told to."""

    def __init__(self) -> None:
        self.answers = 200
        self.port = free_port()
        self.asked: list[tuple[str, str | None]] = []

    async def take(self, request: web.Request) -> web.Response:
        """An empty batch is a whole one, by the protocol."""
        kind = ExportLogsServiceRequest if "logs" in request.path else ExportTraceServiceRequest
        kind.FromString(await request.read())
        self.asked.append((request.path, request.headers.get("Authorization")))
        return web.Response(status=self.answers)

    @asynccontextmanager
    async def open(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[None]:
        """Listens."""
        application = web.Application()
        application.router.add_post("/{path:.*}", self.take)
        runner = web.AppRunner(application)
        await runner.setup()
        try:
            await web.TCPSite(runner, LOOPBACK, self.port, ssl_context=tls).start()
            yield
        finally:
            await runner.cleanup()


@dataclass
class Road:
    """Everything that a run passes, each hop of it for a test to break."""

    server: RedisServer
    client: Redis
    consumer: TaskConsumer
    telemetry: Telemetry
    collector: Collector

    async def walk(self) -> Walk:
        """What the doctor finds from here, with the settings of the environment."""
        manager = TaskManager(broker_url=self.server.queue_url())
        manager.register_task(greet)
        return await examine(manager)

    async def broken(self) -> list[str]:
        """The hops that the doctor names."""
        return (await self.walk()).broken


def findings_at(walk: Walk, hop: str) -> list[Finding]:
    """What was found at a hop."""
    return [found for found in walk.findings if found.hop == hop]


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server that keeps what it is given."""
    with RedisServer("valkey", appendonly=True) as server:
        yield server


@pytest.fixture(autouse=True)
def own_tracing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Some consumers are attached to while an endpoint is set."""
    with own_opentelemetry(monkeypatch):
        yield


@pytest.fixture
async def road(
    server: RedisServer, no_environment: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Road]:
    """A road that is open: a consumer with telemetry, and somewhere to export to."""
    collector = Collector()
    monkeypatch.setattr(examining, "BROKER_SECONDS", 1.0)
    monkeypatch.setenv("FLUID_TELEMETRY_PORT", str(free_port()))
    consumer = TaskConsumer(broker_url=server.queue_url())
    consumer.register_task(greet)
    telemetry = Telemetry()
    telemetry.attach(consumer)
    with server.client() as client:
        async with collector.open(), consumer:
            await consumer.queue_and_wait("greet", timeout=20)
            # only now: the consumer itself is not to export
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://me:secret@{LOOPBACK}:{collector.port}")
            yield Road(server, client, consumer, telemetry, collector)


async def test_an_open_road_is_fine_at_every_hop(road: Road) -> None:
    walk = await road.walk()
    assert [(found.hop, found.mark) for found in walk.in_order] == [(hop, Mark.fine) for hop in ROAD]
    assert walk.broken == []
    assert {path for path, _ in road.collector.asked} == {"/v1/traces", "/v1/logs"}
    assert "secret" not in str(walk.findings)


# -- broker --------------------------------------------------------------------------------


async def test_a_broker_that_has_gone(road: Road) -> None:
    road.server.kill()
    walk = await road.walk()
    assert walk.broken == ["broker"]
    assert {found.hop for found in walk.findings if found.mark is Mark.skipped} == {
        "consumer",
        "books",
        "clock",
        "persistence",
    }
    (told,) = findings_at(walk, "broker")
    assert "Connect" in told.told
    assert "FLUID_BROKER_URL" in told.advice


async def test_a_broker_that_does_not_answer(road: Road) -> None:
    road.server.pause()
    try:
        assert await road.broken() == ["broker"]
    finally:
        road.server.resume()


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"maxmemory": "500mb", "maxmemory-policy": "allkeys-lru"}, "noeviction"),
        ({"maxmemory": "1mb"}, "maxmemory"),
    ],
)
async def test_a_broker_that_may_lose_or_refuse_runs(
    road: Road, settings: dict[str, str], advice: str
) -> None:
    for name, value in settings.items():
        road.client.config_set(name, value)
    walk = await road.walk()
    assert walk.broken == ["broker"]
    assert advice in findings_at(walk, "broker")[0].advice


async def test_a_broker_that_is_a_replica(road: Road) -> None:
    with RedisServer("valkey", appendonly=True) as primary:
        road.client.replicaof(LOOPBACK, primary.port)

        async def link() -> str:
            return str(road.client.info("replication")["master_link_status"])

        await poll(link, lambda status: status == "up", "the replica to follow")
        walk = await road.walk()
        road.client.replicaof("NO", "ONE")
    assert walk.broken == ["broker"]
    assert "replica" in findings_at(walk, "broker")[0].told


async def test_a_broker_that_wants_a_password(road: Road) -> None:
    road.client.config_set("requirepass", "secret")
    walk = await road.walk()
    assert walk.broken == ["broker"]
    assert "uthentication" in findings_at(walk, "broker")[0].told


# -- consumer ------------------------------------------------------------------------------


async def test_no_consumer(road: Road) -> None:
    await road.consumer.shutdown()
    walk = await road.walk()
    assert walk.broken == ["consumer"]
    assert [found.mark for found in findings_at(walk, "scrape")] == [Mark.skipped]


async def test_a_consumer_that_shows_no_signs_of_life(road: Road) -> None:
    (one,) = await road.consumer.broker.consumers()
    manager = TaskManager(broker_url=road.server.queue_url(), lease_seconds=0.3)
    road.client.zadd(Keys("fluid")["seen"], {"frozen": 1})
    road.client.zrem(Keys("fluid")["seen"], one.name)
    walk = await examine(manager)
    assert walk.broken == ["consumer"]
    assert "frozen" in findings_at(walk, "consumer")[0].told


async def test_a_queue_that_is_paused(road: Road) -> None:
    await road.consumer.pause()
    walk = await road.walk()
    assert walk.broken == ["consumer"]
    assert findings_at(walk, "consumer")[0].advice == "fluid resume"


async def test_a_consumer_that_claims_nothing(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hops, "UNCLAIMED_AFTER", 0.0)
    await road.consumer.broker.stop_claiming(road.consumer.consumer_name)
    await road.consumer.queue("greet")
    walk = await road.walk()
    assert walk.broken == ["consumer"]
    assert "32 slots are free" in findings_at(walk, "consumer")[0].told


async def test_a_consumer_that_says_itself_that_it_is_not_ready(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(road.consumer), "claiming", property(lambda self: False))
    walk = await road.walk()
    assert walk.broken == ["consumer"]
    assert any("the claim loop does not run" in found.told for found in walk.findings)


async def test_a_task_that_no_consumer_knows(road: Road) -> None:
    manager = TaskManager(broker_url=road.server.queue_url())
    manager.register_from_dict({"greet": greet, "stumble": stumble})
    walk = await examine(manager)
    assert walk.broken == ["consumer"]
    assert "stumble" in findings_at(walk, "consumer")[0].told


async def test_a_paused_task_is_told_and_breaks_nothing(road: Road) -> None:
    await road.consumer.pause("greet")
    walk = await road.walk()
    assert walk.broken == []
    assert [found.mark for found in findings_at(walk, "consumer")] == [Mark.warning, Mark.fine]


# -- scrape --------------------------------------------------------------------------------


async def test_a_consumer_without_a_side_server(road: Road) -> None:
    road.telemetry.detach()
    await eventually(lambda: road.telemetry.url is None, "the side server to be gone")
    await nobody_listens(road.telemetry.settings.port)
    walk = await road.walk()
    assert walk.broken == ["scrape"]
    assert road.consumer.consumer_name in findings_at(walk, "scrape")[0].told


async def nobody_listens(port: int) -> None:
    """Return once the port is free again."""

    async def refused() -> bool:
        with socket.socket() as one:
            return one.connect_ex((LOOPBACK, port)) != 0

    await poll(refused, bool, f"port {port} to be free")


async def test_a_side_server_that_wants_a_token(
    road: Road, new_road: Callable[[TelemetrySettings], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    await new_road(TelemetrySettings(token="open sesame"))
    walk = await road.walk()
    assert walk.broken == ["scrape"]
    assert "FLUID_TELEMETRY_TOKEN" in findings_at(walk, "scrape")[0].advice
    monkeypatch.setenv("FLUID_TELEMETRY_TOKEN", "open sesame")
    assert await road.broken() == []


@pytest.fixture
def new_road(road: Road) -> Callable[[TelemetrySettings], Awaitable[None]]:
    """Telemetry of the consumer, anew, with other settings."""

    async def renew(settings: TelemetrySettings) -> None:
        road.telemetry.detach()
        await nobody_listens(settings.port)
        road.telemetry = Telemetry(settings)
        road.telemetry.attach(road.consumer)
        await eventually(lambda: road.telemetry.url is not None, "the new side server to listen")

    return renew


async def test_a_stranger_on_the_port_of_the_side_server(road: Road) -> None:
    road.telemetry.detach()
    port = road.telemetry.settings.port
    await nobody_listens(port)
    stranger = Collector()
    stranger.port = port
    async with stranger.open():
        walk = await road.walk()
    assert walk.broken == ["scrape"]
    assert "no side server" in findings_at(walk, "scrape")[0].told


async def test_consumers_on_other_machines_cannot_be_asked(no_environment: None) -> None:
    settings = TelemetrySettings(port=free_port())
    (told, _) = await look(settings, "fluid", ["elsewhere-17-abc"])
    assert (told.hop, told.mark) == ("scrape", Mark.skipped)


async def test_where_no_port_was_asked_for_the_next_ones_are_tried(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLUID_TELEMETRY_PORT", str(road.telemetry.settings.port - 1))
    assert await road.broken() == ["scrape"]
    monkeypatch.setattr(checks, "PORTS_TRIED", 2)
    monkeypatch.setattr(TelemetrySettings, "port_was_asked", property(lambda self: False))
    assert await road.broken() == []


# -- books, clock, persistence -------------------------------------------------------------


async def test_books_that_do_not_balance(road: Road) -> None:
    road.client.hincrby(Keys("fluid")["books"], "accepted", 3)
    walk = await road.walk()
    assert walk.broken == ["books"]
    assert findings_at(walk, "books")[0].told.startswith("3 of 4 accepted runs")


async def test_dead_runs_are_told_and_break_nothing(road: Road) -> None:
    heard = Recorder(road.consumer)
    garbage = Submission("1", "greet", TaskPriority.medium, message=b"{", version=1)
    await road.consumer.broker.enqueue([garbage], deadline=elapsed() + 20)
    await heard.wait_for("dead")
    walk = await road.walk()
    assert walk.broken == []
    assert [found.mark for found in findings_at(walk, "books")] == [Mark.fine, Mark.warning]
    assert "fluid runs ls --state dead" in findings_at(walk, "books")[1].advice


async def test_a_clock_that_is_off(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    right = timestamp
    monkeypatch.setattr(inspection, "timestamp", lambda: right() + 10)
    walk = await road.walk()
    assert walk.broken == ["clock"]
    assert "-10.0 s" in findings_at(walk, "clock")[0].told


async def test_a_broker_that_keeps_nothing_is_told_and_breaks_nothing(road: Road) -> None:
    road.client.config_set("appendonly", "no")
    walk = await road.walk()
    assert walk.broken == []
    assert {found.hop for found in walk.findings if found.mark is not Mark.fine} == {"persistence"}
    assert "appendonly yes" in findings_at(walk, "persistence")[0].advice


# -- exporter ------------------------------------------------------------------------------


async def test_a_collector_that_has_gone(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{LOOPBACK}:{free_port()}")
    assert await road.broken() == ["exporter"]


async def test_a_collector_that_refuses(road: Road) -> None:
    road.collector.answers = 401
    walk = await road.walk()
    assert walk.broken == ["exporter"]
    assert "answers 401" in findings_at(walk, "exporter")[0].told


async def test_the_standard_variables_say_where_and_with_what(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"http://{LOOPBACK}:{road.collector.port}/mine")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20me, x=1")
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
    assert await road.broken() == []
    assert road.collector.asked == [("/mine", "Bearer me")]


@pytest.mark.servers
async def test_a_collector_is_trusted_by_the_certificate_that_the_exporter_trusts(
    road: Road, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cert, key = certificate(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(cert, key)
    secure = Collector()
    async with secure.open(tls):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"https://{LOOPBACK}:{secure.port}")
        assert await road.broken() == ["exporter"]
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", cert)
        assert await road.broken() == []
    assert {path for path, _ in secure.asked} == {"/v1/traces", "/v1/logs"}


async def test_a_protocol_that_is_not_spoken_here(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    walk = await road.walk()
    assert walk.broken == ["exporter"]
    assert "grpc is not spoken here" in findings_at(walk, "exporter")[0].told


@pytest.mark.parametrize("variable", ["OTEL_SDK_DISABLED", "OTEL_EXPORTER_OTLP_ENDPOINT"])
async def test_what_is_not_exported_needs_no_collector(
    road: Road, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "true" if "DISABLED" in variable else "")
    walk = await road.walk()
    assert walk.broken == []
    assert [found.mark for found in findings_at(walk, "exporter")] == [Mark.skipped]
    assert road.collector.asked == []
