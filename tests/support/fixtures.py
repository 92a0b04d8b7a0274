"""The fixtures of every test. Servers live as long as the session, in each of its worker processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support import lifeline
from tests.support.proxy import CuttingProxy
from tests.support.queues import OwnQueue, queue_of_its_own
from tests.support.servers import Flavour, RedisServer, queue_url


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The session's Redis. A test that stops or pauses a server starts its own."""
    with RedisServer("redis") as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[RedisServer]:
    """The session's Valkey. A test that stops or pauses a server starts its own."""
    with RedisServer("valkey") as server:
        yield server


@pytest.fixture(params=[pytest.param("redis", marks=pytest.mark.servers), "valkey"])
def flavour(request: pytest.FixtureRequest) -> Flavour:
    """Each server that brokers run on, for a test that starts its own."""
    flavour: Flavour = request.param
    return flavour


@pytest.fixture
def broker_queue(request: pytest.FixtureRequest, flavour: Flavour) -> Iterator[OwnQueue]:
    """A queue of the test's own, once on Redis and once on Valkey."""
    server: RedisServer = request.getfixturevalue(f"{flavour}_server")
    with queue_of_its_own(server) as queue:
        yield queue


@pytest.fixture
def broker_url(broker_queue: OwnQueue) -> str:
    """Where the test's own queue is."""
    return broker_queue.url


@pytest.fixture
def key_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """After the test, no key of its queue stays for ever that should not: for tests that end their runs.

    For `pytest.mark.usefixtures`; it does nothing to a test without a `broker_queue`.
    """
    queue: OwnQueue | None = None
    if "broker_queue" in request.fixturenames:
        queue = request.getfixturevalue("broker_queue")
    yield
    if queue is not None and (leaks := queue.leaks()):
        pytest.fail(f"keys that never expire: {', '.join(leaks)}", pytrace=False)


@pytest.fixture
async def proxy(broker_queue: OwnQueue) -> AsyncIterator[CuttingProxy]:
    """A proxy in front of the server of the test's own queue."""
    async with CuttingProxy(broker_queue.server.port) as proxy:
        yield proxy


@pytest.fixture
def proxied_url(broker_queue: OwnQueue, proxy: CuttingProxy) -> str:
    """The test's own queue, through the proxy."""
    return queue_url(broker_queue.server.flavour, proxy.port, broker_queue.name)


@pytest.fixture
def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    return lifeline.free_port()
