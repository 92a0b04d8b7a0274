"""The side server: what it answers, which port it takes, and that it never stops work."""

from __future__ import annotations

import asyncio
import gzip
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from fluid.errors import ConfigurationError, NoEmbeddedServerError
from fluid.scheduler import Event, TaskConsumer, TaskManager
from fluid.scheduler.brokers.embedded import start_or_join
from telemetry import Telemetry, names
from telemetry import server as server_room
from telemetry.settings import TelemetrySettings
from tests.support.lifeline import LOOPBACK
from tests.telemetry.scraping import OPENMETRICS, read


@contextmanager
def busy(port: int = 0) -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, port))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that shows bodies as they came."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


@pytest.fixture
async def url(consumer: TaskConsumer) -> AsyncIterator[str]:
    """Where the side server of a running consumer listens."""
    telemetry = Telemetry(port=0)
    telemetry.attach(consumer)
    async with consumer:
        await consumer.queue_and_wait("greet", timeout=10)
        assert telemetry.url is not None
        yield telemetry.url


# -- what it answers -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"),
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
            "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
        ),
    ],
)
async def test_metrics_come_in_the_format_that_is_asked_for(
    http: aiohttp.ClientSession, url: str, accept: str, content_type: str
) -> None:
    async with http.get(
        f"{url}/metrics", headers={"Accept": accept, "Accept-Encoding": "identity"}
    ) as answer:
        text = await answer.text()
    assert answer.status == 200
    assert answer.headers["Content-Type"] == content_type
    assert answer.headers["Vary"] == "Accept, Accept-Encoding"
    assert text.endswith("# EOF\n") == content_type.startswith("application/openmetrics-text")
    assert read(text).value(names.RUNS_ENDED, task="greet", state="success") == 1


async def test_metrics_are_compressed_for_those_who_take_it(http: aiohttp.ClientSession, url: str) -> None:
    async with http.get(f"{url}/metrics", headers={"Accept-Encoding": "gzip"}) as answer:
        packed = await answer.read()
    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(packed) == int(answer.headers["Content-Length"])
    assert len(packed) < len(gzip.decompress(packed)) / 5
    assert read(gzip.decompress(packed).decode()).value(names.BROKER_UP) == 1


@pytest.mark.parametrize("refusal", ["identity", "gzip;q=0", "br, gzip; q=0.0", "x-gzipped"])
async def test_metrics_come_plain_to_those_who_take_no_gzip(
    http: aiohttp.ClientSession, url: str, refusal: str
) -> None:
    async with http.get(f"{url}/metrics", headers={"Accept-Encoding": refusal}) as answer:
        assert "Content-Encoding" not in answer.headers
        assert read(await answer.text()).value(names.BROKER_UP) == 1


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/startupz"])
async def test_probes_answer_yes_in_json(http: aiohttp.ClientSession, url: str, path: str) -> None:
    async with http.get(url + path) as answer:
        told = await answer.json()
    assert (answer.status, told["ok"]) == (200, True)
    assert all(check["reason"] for check in told["checks"].values())


async def test_a_probe_answers_no_with_503_and_why(
    http: aiohttp.ClientSession, consumer: TaskConsumer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(consumer), "claiming", property(lambda self: False))
    async with http.get(f"{url}/readyz") as answer:
        told = await answer.json()
    assert (answer.status, told["ok"]) == (503, False)
    assert told["checks"]["claiming"] == {"ok": False, "reason": "the claim loop does not run"}


async def test_status_tells_what_it_is_and_does(
    http: aiohttp.ClientSession, consumer: TaskConsumer, url: str
) -> None:
    async with http.get(f"{url}/status") as answer:
        told = await answer.json()
    assert told["type"] == "task_consumer"
    assert told["state"] == "running"
    assert told["queue"] == consumer.broker.queue
    assert told["broker"] == {
        "url": consumer.broker.url,
        "up": True,
        "dangers": sorted(consumer.broker_dangers),
    }
    assert (told["slots"], told["busy"], told["claiming"]) == (32, 0, True)
    assert {one["name"]: one["schedule"] is not None for one in told["tasks"]} == {
        "greet": False,
        "stumble": False,
        "sweep": True,
    }
    assert told["snapshot"]["books"]["success"] == 1
    assert told["snapshot"]["books"]["unaccounted"] == 0
    assert [one["slots"] for one in told["consumers"]] == [32]
    assert "telemetry" in told["workers"]


async def test_the_index_lists_what_there_is(http: aiohttp.ClientSession, url: str) -> None:
    async with http.get(url) as answer:
        text = await answer.text()
    for path in (line.split()[0] for line in text.splitlines()):
        async with http.get(url + path) as answer:
            assert answer.status == 200


async def test_it_says_little_of_itself_and_nothing_is_kept(http: aiohttp.ClientSession, url: str) -> None:
    for path in ("/", "/metrics", "/livez", "/nowhere"):
        async with http.get(url + path) as answer:
            assert "Server" not in answer.headers
            assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/metrics", "/livez", "/status"])
async def test_it_is_read_only(http: aiohttp.ClientSession, url: str, path: str) -> None:
    async with http.head(url + path) as answer:
        assert (answer.status, await answer.read()) == (200, b"")
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        async with http.request(method, url + path, data=b"x") as answer:
            assert answer.status == 405


async def test_what_is_too_long_is_refused(http: aiohttp.ClientSession, url: str) -> None:
    async with http.get(f"{url}/livez", headers={"X-Long": "x" * 20_000}) as answer:
        assert answer.status == 400
    async with http.get(f"{url}/{'x' * 20_000}") as answer:
        assert answer.status in (400, 414)


async def test_a_token_guards_all_but_the_probes(consumer: TaskConsumer, http: aiohttp.ClientSession) -> None:
    telemetry = Telemetry(TelemetrySettings(port=0, token="sesame"))
    telemetry.attach(consumer)
    async with consumer:
        assert telemetry.url is not None
        for path in ("/", "/metrics", "/status", "/nowhere"):
            for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer sésame"}):
                async with http.get(telemetry.url + path, headers=given) as answer:
                    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        async with http.get(f"{telemetry.url}/metrics", headers={"Authorization": "Bearer sesame"}) as answer:
            assert answer.status == 200
        async with http.get(f"{telemetry.url}/livez") as answer:
            assert answer.status == 200


# -- which port it takes -------------------------------------------------------------------


def in_the_environment(port: int, monkeypatch: pytest.MonkeyPatch) -> Telemetry:
    monkeypatch.setenv("FLUID_TELEMETRY_PORT", str(port))
    return Telemetry()


def as_keyword(port: int, monkeypatch: pytest.MonkeyPatch) -> Telemetry:
    return Telemetry(port=port)


def in_settings(port: int, monkeypatch: pytest.MonkeyPatch) -> Telemetry:
    return Telemetry(TelemetrySettings(port=port))


Asking = Callable[[int, pytest.MonkeyPatch], Telemetry]


@pytest.mark.parametrize("ask", [in_the_environment, as_keyword, in_settings])
async def test_a_port_that_was_asked_for_and_is_busy_stops_the_start_before_anything_is_claimed(
    consumer: TaskConsumer, ask: Asking, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with busy() as port:
        telemetry = ask(port, monkeypatch)
        telemetry.attach(consumer)
        await consumer.queue("greet")
        with pytest.raises(ConfigurationError, match=rf"127\.0\.0\.1:{port} .*FLUID_TELEMETRY_PORT"):
            await consumer.start_running()
        assert not consumer.is_running()
        assert telemetry.url is None
        assert "cannot listen" not in caplog.text  # it is raised, and said once by whoever catches it
        assert (await consumer.broker.snapshot()).ready == 1


async def test_a_start_that_a_busy_port_stops_leaves_no_embedded_server_behind(tmp_path: Path) -> None:
    consumer = TaskConsumer(broker_url=f"embedded://{tmp_path}")
    with busy() as port:
        Telemetry(port=port).attach(consumer)
        with pytest.raises(ConfigurationError, match="FLUID_TELEMETRY_PORT"):
            await consumer.start_running()
    with pytest.raises(NoEmbeddedServerError, match="no embedded server is running"):
        start_or_join(str(tmp_path), start=False)


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
async def test_a_host_that_is_none_of_this_machine_stops_the_start_and_is_raised_without_a_line_in_the_log(
    consumer: TaskConsumer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, host: str
) -> None:
    monkeypatch.setenv("FLUID_TELEMETRY_HOST", host)
    Telemetry().attach(consumer)
    await consumer.queue("greet")
    with pytest.raises(ConfigurationError, match=rf"{host}:\d+ .*FLUID_TELEMETRY_HOST"):
        await consumer.start_running()
    assert not consumer.is_running()
    assert consumer.exit_code == 1
    assert "cannot listen" not in caplog.text
    assert (await consumer.broker.snapshot()).ready == 1


@pytest.mark.parametrize("ask", [in_the_environment, as_keyword, in_settings])
async def test_a_port_that_was_asked_for_is_taken(
    consumer: TaskConsumer, ask: Asking, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    telemetry = ask(free_port, monkeypatch)
    telemetry.attach(consumer)
    async with consumer:
        assert telemetry.url == f"http://{LOOPBACK}:{free_port}"


async def test_the_usual_port_gives_way_to_the_next_free_one_and_says_so(
    consumer: TaskConsumer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with busy() as port:
        telemetry = Telemetry()
        # Stands in for the usual port, which others on this machine may use.
        usual = TelemetrySettings.model_construct(_fields_set=set(), port=port)
        monkeypatch.setattr(telemetry, "_settings", usual)
        assert not telemetry.settings.port_was_asked
        telemetry.attach(consumer)
        with caplog.at_level(logging.WARNING, "fluid"):
            async with consumer:
                assert telemetry.url is not None
                taken = int(telemetry.url.rpartition(":")[2])
        assert port < taken < port + server_room.PORTS_TRIED
        assert [line for line in caplog.messages if f"port {port} is busy" in line] == [
            f"port {port} is busy: the side server takes {taken}"
        ]


async def test_a_host_that_cannot_be_had_while_work_is_done_stops_nothing(
    consumer: TaskConsumer, caplog: pytest.LogCaptureFixture
) -> None:
    async with consumer:
        late = Telemetry(host="192.0.2.1")
        late.attach(consumer)
        await consumer.queue_and_wait("greet", timeout=20)
        assert late.url is None
    said = [record for record in caplog.records if "cannot listen on 192.0.2.1:" in record.getMessage()]
    assert "FLUID_TELEMETRY_HOST" in said[0].getMessage()
    assert all(record.exc_info is None for record in said)


async def test_a_port_that_gets_busy_while_work_is_done_stops_nothing(
    consumer: TaskConsumer, http: aiohttp.ClientSession
) -> None:
    telemetry = Telemetry(port=0)
    async with consumer:
        with busy() as port:
            late = Telemetry(port=port)
            late.attach(consumer)
            run = await consumer.queue_and_wait("greet", timeout=10)
            assert run.is_done
            assert consumer.is_running()
            assert late.url is None
            late.detach()
        telemetry.attach(consumer)
        assert (await consumer.queue_and_wait("greet", timeout=10)).is_done


async def test_a_server_that_dies_takes_nobody_with_it(
    consumer: TaskConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    died, again = asyncio.Event(), asyncio.Event()

    async def die_once(server: server_room.SideServer) -> None:
        if not died.is_set():
            died.set()
            raise RuntimeError("the server dies")
        again.set()
        await server.wait_for_stop()

    monkeypatch.setattr(server_room.SideServer, "run", die_once)
    telemetry = Telemetry(port=0)
    telemetry.attach(consumer)
    async with consumer:
        await asyncio.wait_for(again.wait(), 30)
        assert (await consumer.queue_and_wait("greet", timeout=10)).is_done
        assert telemetry.url is not None
    assert consumer.exit_code == 0


async def test_it_serves_before_anything_is_claimed_and_until_all_has_stopped(
    consumer: TaskConsumer, http: aiohttp.ClientSession
) -> None:
    served: dict[str, str | None] = {}
    telemetry = Telemetry(port=0)
    telemetry.attach(consumer)

    def look(event: Event) -> None:
        served[event.name] = telemetry.url

    for event in ("consumer_started", "success", "consumer_stopping"):
        consumer.dispatcher.register_handler(f"{event}.test", look)
    async with consumer:
        await consumer.queue_and_wait("greet", timeout=10)
    assert list(served) == ["consumer_started", "success", "consumer_stopping"]
    assert all(served.values())
    assert telemetry.url is None


async def test_a_manager_serves_only_when_asked(queue_url: str, http: aiohttp.ClientSession) -> None:
    for serve in (None, True):
        manager = TaskManager(broker_url=queue_url)
        telemetry = Telemetry(server=serve, port=0)
        telemetry.attach(manager)
        async with manager:
            assert (telemetry.url is not None) is bool(serve)
            if telemetry.url:
                async with http.get(f"{telemetry.url}/readyz") as answer:
                    assert answer.status == 200


def test_an_address_that_cannot_work_is_refused_whole() -> None:
    with pytest.raises(ConfigurationError, match=r"(?s)FLUID_TELEMETRY_HOST.*FLUID_TELEMETRY_PORT"):
        TelemetrySettings(host="", port=70_000)
