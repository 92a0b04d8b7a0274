"""What the fixtures promise each test: a queue of its own, on both servers, that leaves nothing behind."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from fluid.scheduler.brokers.keys import Keys
from tests.support.lifeline import LOOPBACK
from tests.support.proxy import CuttingProxy
from tests.support.queues import OwnQueue, queue_of_its_own
from tests.support.servers import RedisServer

pytest_plugins = ["pytester"]


def test_the_url_leads_to_the_tests_own_queue(broker_url: str, broker_queue: OwnQueue) -> None:
    server = broker_queue.server
    assert broker_url == f"{server.flavour}://{LOOPBACK}:{server.port}?name={broker_queue.name}"
    with server.client() as client:
        assert broker_queue.keys(client) == []


async def test_the_proxied_url_leads_to_the_same_queue(
    proxied_url: str, broker_url: str, proxy: CuttingProxy, broker_queue: OwnQueue
) -> None:
    assert proxied_url == broker_url.replace(str(broker_queue.server.port), str(proxy.port))
    async with Redis(host=LOOPBACK, port=proxy.port) as client:
        assert await client.ping()


def test_a_queue_removes_its_own_keys_and_no_others(redis_server: RedisServer) -> None:
    with redis_server.client() as client, queue_of_its_own(redis_server) as other:
        client.set(Keys(other.name)["bell"], "stays")
        with queue_of_its_own(redis_server) as queue:
            assert queue.name != other.name
            client.set(Keys(queue.name).run("r1"), "goes")
            assert queue.keys(client) == [Keys(queue.name).run("r1")]
        assert queue.keys(client) == []
        assert other.keys(client) == [Keys(other.name)["bell"]]


def test_a_key_leaks_unless_it_expires_or_is_the_queues_own(valkey_server: RedisServer) -> None:
    with valkey_server.client() as client, queue_of_its_own(valkey_server) as queue:
        keys = Keys(queue.name)
        for key in keys.permanent():
            client.set(key, "stays")
        client.set(keys.run("ended"), "expires", ex=60)
        assert queue.leaks() == []
        client.set(keys.run("forgotten"), "stays")
        assert queue.leaks() == [keys.run("forgotten")]


def test_a_leak_is_told_after_the_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from fluid.scheduler.brokers.keys import Keys

        pytestmark = pytest.mark.usefixtures("key_leaks")

        @pytest.mark.parametrize("expiry", [None, 60])
        def test_leaving_a_record(broker_queue, expiry):
            with broker_queue.server.client() as client:
                client.set(Keys(broker_queue.name).run("r1"), "x", ex=expiry)

        def test_without_a_queue():
            pass
        """
    )
    result = pytester.runpytest_inprocess(
        "-p",
        "tests.support.fixtures",
        "-p",
        "no:randomly",
        "-o",
        "asyncio_default_fixture_loop_scope=function",
    )
    result.assert_outcomes(passed=5, errors=2)
    result.stdout.fnmatch_lines(["*keys that never expire: {test-*}:run:r1"])


def test_a_free_port_is_given(free_port: int) -> None:
    assert 1024 < free_port < 32_768
