"""The cutting proxy: unnoticed until it is told otherwise, and then exactly as told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.support.lifeline import LOOPBACK
from tests.support.proxy import CuttingProxy
from tests.support.queues import OwnQueue
from tests.support.resp import command_name
from tests.support.servers import RedisServer
from tests.support.waiting import poll


async def wait_for_an_item(client: Redis, key: str) -> None:
    await client.blpop([key], timeout=0)


def connect(port: int, *, socket_timeout: float = 20, protocol: int = 3) -> Redis:
    return Redis(
        host=LOOPBACK,
        port=port,
        socket_timeout=socket_timeout,
        protocol=protocol,
        retry=Retry(NoBackoff(), 0),
    )


@asynccontextmanager
async def wire(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        yield reader, writer
    finally:
        writer.close()


@pytest.fixture
def key(broker_queue: OwnQueue) -> str:
    return f"{{{broker_queue.name}}}:probe"


async def test_traffic_passes_and_every_command_is_counted(proxy: CuttingProxy, key: str) -> None:
    async with connect(proxy.port) as client, client.pipeline(transaction=False) as pipe:
        for number in range(100):
            pipe.rpush(key, number)
        pipe.llen(key)
        assert (await pipe.execute())[-1] == 100
    assert proxy.commands["RPUSH"] == 100
    assert proxy.commands["LLEN"] == 1
    assert proxy.connections == 1


async def test_large_values_pass_unchanged(proxy: CuttingProxy, key: str) -> None:
    value = bytes(range(256)) * 8192
    async with connect(proxy.port) as client:
        await client.set(key, value)
        assert await client.get(key) == value


@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_cut_answer_is_lost_though_the_server_executed(
    proxy: CuttingProxy, broker_queue: OwnQueue, key: str, protocol: int
) -> None:
    async with connect(proxy.port, protocol=protocol) as client:
        await client.ping()
        proxy.cut_next_answer(b"INCR")
        with pytest.raises(redis.ConnectionError):
            await client.incr(key)
        await proxy.wait_for_cut()
        assert proxy.cuts == 1
    with broker_queue.server.client() as direct:
        assert direct.get(key) == b"1"
    async with connect(proxy.port) as client:
        assert await client.incr(key) == 2


async def test_in_a_pipeline_earlier_answers_arrive_and_later_requests_do_not(
    proxy: CuttingProxy, broker_queue: OwnQueue, key: str
) -> None:
    proxy.cut_next_answer(lambda request: b"second" in request)
    async with wire(proxy.port) as (reader, writer):
        for value in ("first", "second", "third"):
            writer.write(f"RPUSH {key} {value}\r\n".encode())
        assert await reader.read() == b":1\r\n"
    with broker_queue.server.client() as direct:
        assert direct.lrange(key, 0, -1) == [b"first", b"second"]
    assert proxy.commands["RPUSH"] == 2


async def test_a_cut_waits_until_the_script_is_there_to_be_executed(
    proxy: CuttingProxy, broker_queue: OwnQueue, key: str
) -> None:
    async with connect(proxy.port) as client:
        script = client.register_script(f"return redis.call('INCR', KEYS[1]) -- {broker_queue.name}")
        proxy.cut_next_answer(script.sha.encode())
        with pytest.raises(redis.ConnectionError):
            await script(keys=[key])
    assert proxy.commands["EVALSHA"] == 2
    assert proxy.cuts == 1
    with broker_queue.server.client() as direct:
        assert direct.get(key) == b"1"


async def test_each_cut_is_made_once_in_the_order_of_requests(proxy: CuttingProxy, key: str) -> None:
    proxy.cut_next_answer(lambda request: command_name(request) == "SET")
    proxy.cut_next_answer(lambda request: command_name(request) == "GET")
    async with connect(proxy.port) as client:
        with pytest.raises(redis.ConnectionError):
            await client.get(key)
        assert proxy.cuts == 1
        with pytest.raises(redis.ConnectionError):
            await client.set(key, "1")
    await proxy.wait_for_cut(2)
    async with connect(proxy.port) as client:
        assert await client.get(key) == b"1"


async def test_pushed_messages_are_not_taken_for_answers(
    proxy: CuttingProxy, broker_queue: OwnQueue, key: str
) -> None:
    async with wire(proxy.port) as (reader, writer):
        writer.write(b"HELLO 3\r\nCLIENT TRACKING ON BCAST\r\n")
        await reader.readuntil(b"+OK\r\n")
        with broker_queue.server.client() as direct:
            direct.set(key, "changed")
        await reader.readuntil(b"invalidate\r\n")
        proxy.cut_next_answer(b"INCR")
        writer.write(f"ECHO before\r\nINCR {key}:n\r\n".encode())
        rest = await reader.read()
        assert rest.endswith(b"$6\r\nbefore\r\n")
    with broker_queue.server.client() as direct:
        assert direct.get(f"{key}:n") == b"1"


async def test_a_frozen_proxy_passes_nothing_on_until_it_thaws(
    proxy: CuttingProxy, broker_queue: OwnQueue, key: str
) -> None:
    async with connect(proxy.port, socket_timeout=0.1) as client:
        await client.ping()
        proxy.freeze()
        with pytest.raises(redis.TimeoutError):
            await client.set(key, "late")
    with broker_queue.server.client() as direct:
        assert direct.get(key) is None

        proxy.thaw()
        await proxy.wait_for_command("set")

        async def look() -> object:
            return direct.get(key)

        assert await poll(look, bool, "the request that was held up") == b"late"


async def test_a_frozen_proxy_takes_connections_and_serves_them_when_it_thaws(proxy: CuttingProxy) -> None:
    proxy.freeze()
    async with wire(proxy.port) as (reader, writer):
        writer.write(b"PING\r\n")
        await writer.drain()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await reader.read(1)
        assert proxy.connections == 1
        assert not proxy.commands
        proxy.thaw()
        assert await reader.readline() == b"+PONG\r\n"


async def test_a_frozen_proxy_still_drops_connections(proxy: CuttingProxy) -> None:
    async with wire(proxy.port) as (reader, writer):
        writer.write(b"PING\r\n")
        await reader.readline()
        proxy.freeze()
        proxy.drop_all()
        assert await reader.read() == b""


async def test_dropped_clients_may_come_back(proxy: CuttingProxy, key: str) -> None:
    async with connect(proxy.port) as client:
        waiting = asyncio.create_task(wait_for_an_item(client, key))
        await proxy.wait_for_command("BLPOP")
        proxy.drop_all()
        with pytest.raises(redis.ConnectionError):
            await waiting
        assert await client.ping()
    assert proxy.connections == 2


async def test_a_refusing_proxy_closes_and_refuses_until_it_accepts(proxy: CuttingProxy, key: str) -> None:
    async with connect(proxy.port) as client:
        waiting = asyncio.create_task(wait_for_an_item(client, key))
        await proxy.wait_for_command("BLPOP")
        proxy.refuse()
        with pytest.raises(redis.ConnectionError):
            await waiting
        with pytest.raises(redis.ConnectionError, match="Connect call failed"):
            await client.ping()
        await proxy.accept()
        assert await client.ping()


async def test_clients_learn_that_the_server_has_gone_and_come_back() -> None:
    with RedisServer() as server:
        async with CuttingProxy(server.port) as proxy, connect(proxy.port) as client:
            await client.ping()
            server.kill()
            for _ in range(2):
                with pytest.raises(redis.ConnectionError):
                    await client.ping()
            server.start()
            assert await client.ping()


async def test_a_blocking_client_in_another_thread_is_served(
    proxy: CuttingProxy, broker_queue: OwnQueue, key: str
) -> None:
    def work() -> int:
        with redis.Redis(host=LOOPBACK, port=proxy.port) as client:
            return int(client.incrby(key, 5))

    assert await asyncio.to_thread(work) == 5


async def test_clients_may_come_through_a_unix_socket(broker_queue: OwnQueue, tmp_path: Path) -> None:
    socket = tmp_path / "proxy.sock"
    async with CuttingProxy(broker_queue.server.port, socket=socket) as proxy:
        async with Redis(unix_socket_path=str(socket)) as client:
            assert await client.ping()
        assert proxy.commands["PING"] == 1
        proxy.refuse()
        with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
            await asyncio.open_unix_connection(socket)
        await proxy.accept()
        async with Redis(unix_socket_path=str(socket)) as client:
            assert await client.ping()


async def test_what_goes_wrong_in_the_proxy_itself_is_told(broker_queue: OwnQueue) -> None:
    def broken(request: bytes) -> bool:
        raise ZeroDivisionError

    proxy = await CuttingProxy(broker_queue.server.port).__aenter__()
    proxy.cut_next_answer(broken)
    async with wire(proxy.port) as (reader, writer):
        writer.write(b"PING\r\n")
        assert await reader.read() == b""
    with pytest.raises(ExceptionGroup, match="the proxy itself") as told:
        await proxy.__aexit__(None, None, None)
    assert told.group_contains(ZeroDivisionError)
