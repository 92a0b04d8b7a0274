"""A broker URL says which queue and where; what it says wrongly is told, its passwords never."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fluid.errors import ConfigurationError, NoEmbeddedServerError
from fluid.scheduler.brokers.address import Address, Endpoint
from fluid.scheduler.brokers.places import Cluster, Embedded, Node, Place, Sentinels

LOCAL = {"host": "localhost", "port": 6379, "db": 0}


def tcp(**kwargs: Any) -> Endpoint:
    return Endpoint("tcp", LOCAL | kwargs)


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("redis://", tcp()),
        ("redis://redis.internal", tcp(host="redis.internal")),
        ("REDIS://redis.internal:7000/", tcp(host="redis.internal", port=7000)),
        ("  redis://localhost:6379/2\n", tcp(db=2)),
        ("redis://localhost?db=2", tcp(db=2)),
        ("redis://[::1]:7000/3", tcp(host="::1", port=7000, db=3)),
        ("redis://:secret@localhost", tcp(password="secret")),
        ("redis://ann:s%2Fe%40t@localhost", tcp(username="ann", password="s/e@t")),
        ("redis://ann:se:cr@et@localhost", tcp(username="ann", password="se:cr@et")),
        ("redis://ann:@localhost", tcp(username="ann")),
        ("valkey://localhost/1", tcp(db=1)),
        ("rediss://localhost", Endpoint("ssl", LOCAL)),
        (
            "rediss://localhost?ssl_ca_certs=/etc/ca.pem&ssl_cert_reqs=none&ssl_check_hostname=false",
            Endpoint(
                "ssl",
                LOCAL | {"ssl_ca_certs": "/etc/ca.pem", "ssl_cert_reqs": "none", "ssl_check_hostname": False},
            ),
        ),
        ("unix:///run/a%40b.sock?db=4", Endpoint("unix", {"path": "/run/a@b.sock", "db": 4})),
        (
            "unix://:secret@/run/r.sock",
            Endpoint("unix", {"path": "/run/r.sock", "db": 0, "password": "secret"}),
        ),
    ],
)
def test_a_url_of_one_server_says_where_to_connect(url: str, endpoint: Endpoint) -> None:
    assert Address.parse(url).resolve() == endpoint


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("", Embedded("")),
        ("embedded://", Embedded("")),
        ("embedded:///var/lib/my%20orders", Embedded("/var/lib/my orders")),
        (
            "redis+cluster://ann:secret@one,two:7000?name=orders",
            Cluster(
                "orders",
                Endpoint("tcp", {"username": "ann", "password": "secret"}),
                (Node("one", 6379), Node("two", 7000)),
            ),
        ),
        (
            "rediss+cluster://[::1]:7000,[::2]/0?ssl_cert_reqs=required",
            Cluster(
                "fluid",
                Endpoint("ssl", {"ssl_cert_reqs": "required"}),
                (Node("::1", 7000), Node("::2", 6379)),
            ),
        ),
        (
            "redis+sentinel://:secret@one,two:7000/primary/3?sentinel_password=hidden",
            Sentinels(
                "primary",
                Endpoint("tcp", {"db": 3, "password": "secret"}),
                Endpoint("tcp", {"password": "hidden"}),
                (Node("one", 26379), Node("two", 7000)),
            ),
        ),
        (
            "rediss+sentinel://one/primary?db=3",
            Sentinels("primary", Endpoint("ssl", {"db": 3}), Endpoint("ssl", {}), (Node("one", 26379),)),
        ),
    ],
)
def test_a_url_of_a_place_that_moves_says_whom_to_ask(url: str, place: Place) -> None:
    assert Address.parse(url).place == place


@pytest.mark.parametrize(
    ("url", "queue"),
    [
        ("", "fluid"),
        ("embedded://?name=orders", "orders"),
        ("redis://localhost?name=Orders_2.eu-west", "Orders_2.eu-west"),
        ("unix:///run/r.sock?db=1&name=orders", "orders"),
        (f"redis://localhost?name={'q' * 64}", "q" * 64),
    ],
)
def test_a_url_names_the_queue(url: str, queue: str) -> None:
    assert Address.parse(url).queue == queue


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("localhost:6379", "no scheme; write one like redis://"),
        (
            "reddis://localhost",
            "unknown scheme 'reddis'; expected one of redis, rediss, .* did you mean 'redis'",
        ),
        ("memory://", "unknown scheme 'memory'; expected one of redis, "),
        (
            "redis://localhost?nmae=orders",
            "unknown query name 'nmae'; expected one of name, db; did you mean 'name'",
        ),
        ("redis://localhost?ssl_ca_certs=/ca.pem", "unknown query name 'ssl_ca_certs'"),
        ("redis://localhost?name=a&name=b", r"\?name= twice; say it once"),
        ("redis://localhost?name=", "queue name ''; 1 to 64 letters"),
        ("redis://localhost?name={orders}", "queue name '{orders}'; 1 to 64 letters"),
        ("redis://localhost?name=or%3Aders", "queue name 'or:ders'; 1 to 64 letters"),
        (f"redis://localhost?name={'q' * 65}", "queue name 'q{65}'; 1 to 64 letters"),
        ("redis://localhost?name=%C3%BCber", "queue name 'über'; 1 to 64 letters"),
        ("redis://localhost/orders", "database 'orders'; a number is expected"),
        ("redis://localhost?db=-1", "database '-1'; a number is expected"),
        ("redis://localhost/1?db=1", "a database both in the path and as .db=; say it once"),
        ("redis://localhost:0", "host or port that cannot be; .* from 1 to 65535"),
        ("redis://localhost:65536", "host or port that cannot be"),
        ("redis://local host", "host or port that cannot be"),
        ("redis://[::1", "host or port that cannot be"),
        ("redis://redis..internal", "a host that cannot be; its parts"),
        ("redis://one,two", r"several hosts; they are for redis\+cluster:// and redis\+sentinel://"),
        (
            "rediss://localhost?ssl_cert_reqs=never",
            "ssl_cert_reqs='never'; expected one of required, optional, none",
        ),
        ("rediss://localhost?ssl_check_hostname=False", "did you mean 'false'"),
        ("unix://run/redis.sock", "a host where a socket is expected; write three slashes: unix:///"),
        ("unix://", "no socket; write unix:///"),
        ("unix:///run/r.sock?db=x", "database 'x'"),
        ("redis+cluster://one/1", "a database other than 0; a cluster has only that one"),
        ("redis+cluster://one?db=1", "a database other than 0"),
        ("redis+cluster://", "host or port that cannot be"),
        ("redis+cluster://one,,two", "host or port that cannot be"),
        ("redis+cluster://one?sentinel_password=x", "unknown query name 'sentinel_password'"),
        ("redis+sentinel://one", r"no service; name the one that the sentinels watch: redis\+sentinel://"),
        ("redis+sentinel:///primary", "host or port that cannot be"),
        ("redis+sentinel://one/primary/x", "database 'x'"),
        ("embedded://data", "a host where a directory is expected; write three slashes: embedded:///"),
        ("embedded://?db=1", "unknown query name 'db'; expected one of name"),
    ],
)
def test_a_url_that_cannot_work_is_refused_with_what_to_do(url: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        Address.parse(url)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("", "embedded://"),
        ("redis://localhost:6379/2?name=orders", "redis://localhost:6379/2?name=orders"),
        ("redis://:secret@localhost", "redis://:***@localhost"),
        ("redis://ann:secret@localhost", "redis://ann:***@localhost"),
        ("redis://ann:se@secret@localhost", "redis://ann:***@localhost"),
        ("unix://:secret@/run/r.sock?db=1", "unix://:***@/run/r.sock?db=1"),
        ("redis+cluster://:secret@one:1,two:2", "redis+cluster://:***@one:1,two:2"),
        (
            "redis+sentinel://:secret@one/primary?sentinel_password=secret&name=orders",
            "redis+sentinel://:***@one/primary?sentinel_password=***&name=orders",
        ),
    ],
)
def test_an_address_is_shown_without_its_passwords(url: str, masked: str) -> None:
    address = Address.parse(url)

    assert address.masked == str(address) == masked
    assert repr(address) == f"Address({masked!r})"
    assert "secret" not in repr(address.place)


def test_an_endpoint_is_shown_without_its_password() -> None:
    endpoint = Address.parse("redis://ann:secret@localhost:7000").resolve()

    assert endpoint.kwargs["password"] == "secret"
    assert "secret" not in f"{endpoint} {endpoint!r}"
    assert "localhost" in repr(endpoint)


@pytest.mark.parametrize(
    "url",
    [
        "ann:secret@localhost:6379",
        ":secret@localhost/?then=redis://",
        "reddis://:secret@localhost",
        "redis://secret@localhost",
        "redis://:secret",
        "redis://ann:secret",
        "redis://:a/secret@localhost",
        "redis://:a?secret@localhost",
        "redis://:a#secret@localhost",
        "redis://:secret@localhost:port",
        "redis://:secret@localhost/x",
        "redis://:secret@localhost?name={}",
        "redis://localhost?password=secret",
        "redis+sentinel://one/primary?sentinel_password=a@secret",
        "embedded://:secret@",
    ],
)
def test_a_refusal_shows_no_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        Address.parse(url)

    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("url", ["redis://localhost", "rediss://localhost", "unix:///run/r.sock"])
def test_a_connection_never_retries_nor_checks_by_itself(url: str) -> None:
    endpoint = Address.parse(url).resolve()
    made: list[Any] = [
        make(socket_timeout=6, socket_connect_timeout=3)
        for make in (endpoint.connection, endpoint.sync_connection)
    ]

    for connection in made:
        assert connection.retry.get_retries() == 0
        assert connection.health_check_interval == 0
        assert connection.protocol == 2
        assert not connection.encoder.decode_responses
        assert (connection.socket_timeout, connection.socket_connect_timeout) == (6, 3)
        assert not connection.is_connected


def test_a_connection_keeps_a_silent_peer_from_going_unnoticed() -> None:
    endpoint: Any = Address.parse("redis://localhost").resolve()

    assert endpoint.connection().socket_keepalive
    assert endpoint.sync_connection().socket_keepalive


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory with a path short enough for a socket in it."""
    made = Path(tempfile.mkdtemp(prefix="fluid-"))
    yield made
    shutil.rmtree(made)


def test_the_embedded_server_is_started_joined_and_closed(directory: Path) -> None:
    address, other = Address.parse(f"embedded://{directory}"), Address.parse(f"embedded://{directory}")
    try:
        started = address.resolve()
        joined = other.resolve(start=False)
        again = address.resolve()
        other.close()
        after_the_joiner_left: Any = joined.sync_connection(socket_timeout=5)
        after_the_joiner_left.connect()
        after_the_joiner_left.disconnect()
    finally:
        address.close()

    assert started == joined == again
    assert started.kind == "unix"
    with pytest.raises(NoEmbeddedServerError):
        other.resolve(start=False)


def test_a_closed_address_may_be_asked_again(directory: Path) -> None:
    address = Address.parse(f"embedded://{directory}")
    try:
        before = address.resolve()
        address.close()
        assert address.resolve() == before
    finally:
        address.close()
