"""An address finds its broker on real servers, and finds it again when it has moved."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any, NoReturn

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from fluid.clock import elapsed
from fluid.errors import BrokerUnavailableError
from fluid.scheduler.brokers.address import Address, Endpoint
from fluid.scheduler.brokers.connecting import Connecting
from fluid.scheduler.brokers.keys import Keys

LOOPBACK = "127.0.0.1"
SLOTS = 16384

pytestmark = [pytest.mark.servers, pytest.mark.timeout(60)]


# -- servers of this file's own ------------------------------------------------------------


def missing(what: str) -> NoReturn:
    """Skip, loudly; fail where servers are required."""
    if os.environ.get("FLUID_TEST_REQUIRE_SERVERS") == "1" or os.environ.get("CI") == "true":
        pytest.fail(f"{what} is required here and was not found on PATH", pytrace=False)
    pytest.skip(f"{what} was not found on PATH: nothing of this was tested")


def program(name: str) -> str:
    return shutil.which(name) or missing(name)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    deadline = elapsed() + seconds
    while not holds():
        assert elapsed() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)


@dataclass
class Server:
    """A redis-server on loopback, and a client that asks it once."""

    port: int
    client: Any

    def ask(self, *command: str | int) -> Any:
        return self.client.execute_command(*command)

    def answers(self) -> bool:
        with suppress(redis.ConnectionError, redis.TimeoutError):
            return bool(self.client.ping())
        return False


@contextmanager
def running(
    *configuration: str, port: int | None = None, sentinel: bool = False, **client: Any
) -> Iterator[Server]:
    """A server with these lines of configuration, from ready until the end of the block."""
    binary = program("redis-server")
    port = port or free_port()
    lines = (f"bind {LOOPBACK}", f"port {port}", *configuration)
    retry = Retry(NoBackoff(), 0)
    with tempfile.TemporaryDirectory(prefix="fluid-") as directory:
        settings = Path(directory, "server.conf")
        settings.write_text("\n".join((*lines, f"dir {directory}", "")))
        process = subprocess.Popen(
            [binary, str(settings), *(["--sentinel"] if sentinel else [])], stdout=subprocess.DEVNULL
        )
        try:
            with redis.Redis(LOOPBACK, port, socket_timeout=5, retry=retry, **client) as asking:
                server = Server(port, asking)
                wait_until(server.answers, f"the server on port {port} answers")
                yield server
        finally:
            process.kill()
            process.wait()


def unused() -> str:
    """A host and port where nobody listens."""
    return f"{LOOPBACK}:{free_port()}"


def at(server: Server) -> str:
    return f"{LOOPBACK}:{server.port}"


def ping(endpoint: Endpoint) -> Any:
    connection: Any = endpoint.sync_connection(socket_timeout=5)
    try:
        connection.connect()
        connection.send_command("PING")
        return connection.read_response()
    finally:
        connection.disconnect()


async def async_ping(endpoint: Endpoint) -> Any:
    connection: Any = endpoint.connection(socket_timeout=5)
    try:
        await connection.connect()
        await connection.send_command("PING")
        return await connection.read_response()
    finally:
        await connection.disconnect()


# -- one server ----------------------------------------------------------------------------


def commands_seen(server: Server) -> set[str]:
    return {name.removeprefix("cmdstat_") for name in server.client.info("commandstats")}


async def test_a_connection_says_no_more_than_it_must_when_it_connects() -> None:
    with running("save ''", "user ann on >secret ~* +@all") as server:
        endpoint = Address.parse(f"redis://ann:secret@{at(server)}/3").resolve()
        server.ask("CONFIG", "RESETSTAT")

        assert ping(endpoint) == await async_ping(endpoint) == b"PONG"

        assert commands_seen(server) == {"config|resetstat", "auth", "client|setname", "select", "ping"}
        assert server.client.info("errorstats") == {}


async def test_a_unix_socket_is_connected_to() -> None:
    with tempfile.TemporaryDirectory(prefix="fluid-") as directory:
        path = f"{directory}/redis.sock"
        with running("save ''", f"unixsocket {path}"):
            endpoint = Address.parse(f"unix://{path}?db=2").resolve()

            assert ping(endpoint) == await async_ping(endpoint) == b"PONG"


def certificate(directory: Path, name: str = f"IP:{LOOPBACK}") -> tuple[Path, Path]:
    """A self-signed certificate for this name, and its key."""
    certificate, key = directory / "server.crt", directory / "server.key"
    subprocess.run(
        [
            *(
                program("openssl"),
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
            ),
            *("-nodes", "-days", "1", "-subj", "/CN=localhost", "-addext", f"subjectAltName={name}"),
            *("-out", str(certificate), "-keyout", str(key)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


async def test_a_tls_server_is_connected_to_when_its_authority_is_named(tmp_path: Path) -> None:
    crt, key = certificate(tmp_path)
    port = free_port()
    tls = (f"tls-port {port}", f"tls-cert-file {crt}", f"tls-key-file {key}", "tls-auth-clients no")
    with running("save ''", *tls, f"tls-ca-cert-file {crt}"):
        trusting = Address.parse(f"rediss://{LOOPBACK}:{port}?ssl_ca_certs={crt}").resolve()
        trusting_nobody = Address.parse(f"rediss://{LOOPBACK}:{port}").resolve()

        assert ping(trusting) == await async_ping(trusting) == b"PONG"
        assert [await async_ping(found) for found in trusting.addresses()] == [b"PONG"]
        with pytest.raises(redis.ConnectionError, match="certificate verify failed"):
            ping(trusting_nobody)


async def test_a_certificate_is_held_to_the_name_and_not_to_the_address_it_led_to(tmp_path: Path) -> None:
    crt, key = certificate(tmp_path, "DNS:localhost")
    port = free_port()
    tls = (f"tls-port {port}", f"tls-cert-file {crt}", f"tls-key-file {key}", "tls-auth-clients no")
    with running("save ''", *tls, f"tls-ca-cert-file {crt}"):
        named = Address.parse(f"rediss://localhost:{port}?ssl_ca_certs={crt}")
        connection: Any = await Connecting(named, start=False).connect()
        await connection.send_command("PING")
        assert await connection.read_response() == b"PONG"
        await connection.disconnect()
        with pytest.raises(redis.ConnectionError, match="certificate verify failed"):
            await Connecting(
                Address.parse(f"rediss://{LOOPBACK}:{port}?ssl_ca_certs={crt}"), start=False
            ).connect()


# -- a cluster -----------------------------------------------------------------------------


def cluster_node(password: str) -> tuple[str, ...]:
    return (
        "save ''",
        "cluster-enabled yes",
        f"cluster-port {free_port()}",
        "cluster-require-full-coverage no",
        f"requirepass {password}",
        f"masterauth {password}",
    )


def is_whole(nodes: list[Server], masters: int) -> bool:
    """Every node can work, and knows the owner of every slot."""
    seen = [node.ask("CLUSTER INFO") for node in nodes]
    whole = {"cluster_state": "ok", "cluster_slots_ok": str(SLOTS), "cluster_size": str(masters)}
    return all(whole.items() <= each.items() for each in seen)


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[Server]]:
    """Three masters that share the slots; a test that moves one moves it back."""
    with ExitStack() as stack:
        nodes = [stack.enter_context(running(*cluster_node("secret"), password="secret")) for _ in range(3)]
        share = SLOTS // 3
        for number, node in enumerate(nodes):
            last = SLOTS - 1 if node is nodes[-1] else (number + 1) * share - 1
            node.ask("CLUSTER ADDSLOTSRANGE", number * share, last)
            # Nodes of one epoch would first have to settle who is the newer.
            node.ask("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for node, other in permutations(nodes, 2):
            bus = other.ask("CONFIG GET", "cluster-port")["cluster-port"]
            node.ask("CLUSTER MEET", LOOPBACK, other.port, bus)
        wait_until(lambda: is_whole(nodes, masters=3), "the cluster is whole")
        yield nodes


def slot_of(queue: str, node: Server) -> int:
    """The slot, as the cluster itself computes it."""
    return int(node.ask("CLUSTER KEYSLOT", Keys(queue)["bell"]))


def give(slot: int, owner: Server, nodes: list[Server]) -> None:
    """Make an empty slot another node's."""
    new = owner.ask("CLUSTER MYID")
    for node in (owner, *nodes):
        node.ask("CLUSTER SETSLOT", slot, "NODE", new)


@pytest.mark.parametrize("queue", ["fluid", "orders", "mail", "a.b-c_d"])
async def test_a_queue_of_a_cluster_is_found_at_the_owner_of_its_slot(
    cluster: list[Server], queue: str
) -> None:
    endpoint = Address.parse(f"redis+cluster://:secret@{at(cluster[0])}?name={queue}").resolve()
    connection: Any = endpoint.connection(socket_timeout=5)
    try:
        await connection.connect()
        # Any other node would answer MOVED.
        await connection.send_command("EXISTS", Keys(queue)["bell"])
        assert await connection.read_response() == 0
    finally:
        await connection.disconnect()

    share = SLOTS // 3
    owner = cluster[min(slot_of(queue, cluster[0]) // share, 2)]
    assert endpoint == Endpoint("tcp", {"password": "secret", "host": LOOPBACK, "port": owner.port})


def test_a_queue_is_found_again_when_its_slot_has_moved(cluster: list[Server]) -> None:
    address = Address.parse(f"redis+cluster://:secret@{at(cluster[0])}?name=moving")
    before = address.resolve().kwargs["port"]
    old = next(node for node in cluster if node.port == before)
    new = next(node for node in cluster if node.port != before)
    slot = slot_of("moving", old)

    give(slot, new, cluster)
    try:
        assert address.resolve().kwargs["port"] == new.port
    finally:
        give(slot, old, cluster)


def test_a_seed_that_is_away_is_passed_over(cluster: list[Server]) -> None:
    direct = Address.parse(f"redis+cluster://:secret@{at(cluster[1])}").resolve()

    assert Address.parse(f"redis+cluster://:secret@{unused()},{at(cluster[1])}").resolve() == direct


def test_a_node_cut_off_from_the_cluster_is_not_believed(cluster: list[Server]) -> None:
    direct = Address.parse(f"redis+cluster://:secret@{at(cluster[1])}").resolve()
    with running(*cluster_node("secret"), password="secret") as alone:
        with pytest.raises(BrokerUnavailableError, match=rf"{at(alone)}: its cluster_state is not ok"):
            Address.parse(f"redis+cluster://:secret@{at(alone)}").resolve()

        assert Address.parse(f"redis+cluster://:secret@{at(alone)},{at(cluster[1])}").resolve() == direct


def test_a_cluster_is_found_through_its_other_nodes_when_every_seed_has_gone() -> None:
    port = free_port()
    with ExitStack() as stack:
        seed = stack.enter_context(running("save ''", "cluster-enabled yes", f"cluster-port {port}"))
        with running("save ''", "cluster-enabled yes", f"cluster-port {free_port()}") as owner:
            owner.ask("CLUSTER ADDSLOTSRANGE", 0, SLOTS - 1)
            owner.ask("CLUSTER MEET", LOOPBACK, seed.port, port)
            wait_until(lambda: is_whole([seed, owner], masters=1), "both know the owner")
            address = Address.parse(f"redis+cluster://{at(seed)}")
            found = address.resolve()
            stack.close()

            assert not seed.answers()
            assert address.resolve() == found
            assert found.kwargs["port"] == owner.port


def test_a_cluster_that_nobody_can_reach_is_unavailable_and_names_whom_it_asked() -> None:
    first, second = unused(), unused()

    with pytest.raises(BrokerUnavailableError) as fault:
        Address.parse(f"redis+cluster://ann:secret@{first},{second}?name=orders").resolve()

    assert "'orders'" in str(fault.value)
    assert first in str(fault.value)
    assert second in str(fault.value)
    assert "secret" not in str(fault.value)


def test_a_server_that_is_no_cluster_is_told_apart() -> None:
    with (
        running("save ''") as server,
        pytest.raises(BrokerUnavailableError, match="cluster support disabled"),
    ):
        Address.parse(f"redis+cluster://{at(server)}").resolve()


# -- sentinels -----------------------------------------------------------------------------


@contextmanager
def watching(master: Server, *configuration: str, **client: Any) -> Iterator[Server]:
    """A sentinel that watches the master as `primary`."""
    monitor = f"sentinel monitor primary {LOOPBACK} {master.port} 1"
    with running(monitor, *configuration, sentinel=True, **client) as sentinel:
        yield sentinel


async def test_a_master_is_found_through_its_sentinel() -> None:
    with running("save ''", "requirepass secret", password="secret") as master, watching(master) as sentinel:
        endpoint = Address.parse(f"redis+sentinel://:secret@{at(sentinel)}/primary/2").resolve()

        assert endpoint == Endpoint(
            "tcp", {"db": 2, "password": "secret", "host": LOOPBACK, "port": master.port}
        )
        assert ping(endpoint) == await async_ping(endpoint) == b"PONG"


def test_a_master_is_found_again_when_the_sentinels_name_another() -> None:
    with running("save ''") as old, running("save ''") as new, watching(old) as sentinel:
        address = Address.parse(f"redis+sentinel://{at(sentinel)}/primary")
        before = address.resolve().kwargs["port"]
        sentinel.ask("SENTINEL", "REMOVE", "primary")
        sentinel.ask("SENTINEL", "MONITOR", "primary", LOOPBACK, new.port, 1)

        assert (before, address.resolve().kwargs["port"]) == (old.port, new.port)


def test_a_sentinel_that_is_away_or_knows_nothing_is_passed_over() -> None:
    with running("save ''") as master, watching(master) as sentinel, running(sentinel=True) as ignorant:
        url = f"redis+sentinel://{unused()},{at(ignorant)},{at(sentinel)}/primary"

        assert Address.parse(url).resolve().kwargs["port"] == master.port


def test_a_service_that_no_sentinel_watches_is_unavailable() -> None:
    with running("save ''") as master, watching(master) as sentinel:
        address = Address.parse(f"redis+sentinel://{at(sentinel)}/elsewhere")

        with pytest.raises(
            BrokerUnavailableError, match=rf"'elsewhere' \(asked {at(sentinel)}: it watches no"
        ):
            address.resolve()


def test_a_sentinel_is_told_its_own_password() -> None:
    with (
        running("save ''") as master,
        watching(master, "requirepass hidden", password="hidden") as sentinel,
    ):
        url = f"redis+sentinel://{at(sentinel)}/primary"

        assert Address.parse(f"{url}?sentinel_password=hidden").resolve().kwargs["port"] == master.port
        with pytest.raises(BrokerUnavailableError, match="Authentication required"):
            Address.parse(url).resolve()
        with pytest.raises(BrokerUnavailableError) as fault:
            Address.parse(f"{url}?sentinel_password=secret").resolve()
        assert "secret" not in str(fault.value)
