"""Where a broker is found: one server, a cluster's owner of a slot, a sentinel's master, the embedded one.

A place is asked again before each connection, for what it names may have moved. No text of this room
shows a password.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from redis.asyncio import connection as asynchronous
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.crc import key_slot
from redis.exceptions import RedisError
from redis.retry import Retry

from fluid.errors import BrokerUnavailableError
from fluid.scheduler.brokers.embedded import EmbeddedServer, start_or_join
from fluid.scheduler.brokers.keys import Keys

ASK_TIMEOUT = 2.0
"""Seconds that a node of a cluster, or a sentinel, has to accept a connection, and for each answer."""

Kind = Literal["tcp", "ssl", "unix"]

ASYNC_CONNECTIONS: dict[Kind, Callable[..., asynchronous.AbstractConnection]] = {
    "tcp": asynchronous.Connection,
    "ssl": asynchronous.SSLConnection,
    "unix": asynchronous.UnixDomainSocketConnection,
}
SYNC_CONNECTIONS: dict[Kind, Callable[..., AbstractConnection]] = {
    "tcp": Connection,
    "ssl": SSLConnection,
    "unix": UnixDomainSocketConnection,
}
PLAIN: dict[str, Any] = {
    "protocol": 2,
    "decode_responses": False,
    "health_check_interval": 0,
    "client_name": "fluid",
    # None leaves out the two CLIENT SETINFO of every connect.
    "driver_info": None,
}
"""What every connection is: RESP2 bytes, named, and nothing sent that was not asked for."""


class NamedSSLConnection(asynchronous.SSLConnection):
    """Connects to an address, and holds the certificate to the name by which that was found."""

    def __init__(self, *, server_name: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.server_name = server_name

    def _connection_arguments(self) -> dict[str, Any]:
        return {**super()._connection_arguments(), "server_hostname": self.server_name}


class Node(NamedTuple):
    """A host and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, repr=False)
class Endpoint:
    """Where to connect: the kind of connection, and redis-py's keywords for it."""

    kind: Kind
    kwargs: dict[str, Any]

    def connection(self, **kwargs: Any) -> asynchronous.AbstractConnection:
        """A connection for an event loop, not connected yet; `kwargs` are redis-py's, such as timeouts."""
        kind = NamedSSLConnection if "server_name" in self.kwargs else ASYNC_CONNECTIONS[self.kind]
        return kind(retry=AsyncRetry(NoBackoff(), 0), **self._keywords(kwargs))

    def sync_connection(self, **kwargs: Any) -> AbstractConnection:
        """A connection for a thread, not connected yet; `kwargs` are redis-py's, such as timeouts."""
        return SYNC_CONNECTIONS[self.kind](retry=Retry(NoBackoff(), 0), **self._keywords(kwargs))

    def at(self, node: Node) -> Endpoint:
        """The same connection, to another node."""
        return Endpoint(self.kind, self.kwargs | {"host": node.host, "port": node.port})

    def addresses(self) -> list[Endpoint]:
        """The same, at each address of its host. May block while the name is looked up; raises `OSError`."""
        if self.kind == "unix":
            return [self]
        host, port = self.kwargs["host"], self.kwargs["port"]
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        named = {"server_name": host} if self.kind == "ssl" else {}
        addresses = dict.fromkeys(str(at[0]) for *_, at in found)
        return [Endpoint(self.kind, self.kwargs | {"host": address} | named) for address in addresses]

    def _keywords(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        keepalive = {} if self.kind == "unix" else {"socket_keepalive": True}
        return PLAIN | keepalive | self.kwargs | kwargs

    def __repr__(self) -> str:
        shown = {name: "***" if name == "password" else value for name, value in self.kwargs.items()}
        return f"Endpoint({self.kind!r}, {shown!r})"


class Place(Protocol):
    """What a broker URL names, and how it is found."""

    def resolve(self, *, start: bool) -> Endpoint:
        """Where to connect now; `start` is whether a server may be started."""

    def close(self) -> None:
        """Stop what was started here."""


class Settled(ABC):
    """A place where nothing is ever started."""

    def resolve(self, *, start: bool) -> Endpoint:  # noqa: ARG002 - there is nothing to start
        return self.find()

    @abstractmethod
    def find(self) -> Endpoint:
        """Where to connect now."""

    def close(self) -> None:  # noqa: B027 - there is nothing to stop
        """Nothing was started."""


@dataclass(frozen=True)
class Fixed(Settled):
    """One server that stays where it is."""

    endpoint: Endpoint

    def find(self) -> Endpoint:
        return self.endpoint


@dataclass(frozen=True)
class Cluster(Settled):
    """The node of a cluster that owns the one slot in which all keys of a queue are."""

    queue: str
    login: Endpoint
    seeds: tuple[Node, ...]
    members: list[Node] = field(default_factory=list, compare=False)
    """The nodes as last told; they are asked when no seed answers."""

    def find(self) -> Endpoint:
        nodes = dict.fromkeys((*self.seeds, *self.members))
        return first_answer(
            nodes, self._owner, f"no node of the cluster tells the owner of queue {self.queue!r}"
        )

    def _owner(self, node: Node) -> Endpoint:
        state, slots = ask(self.login.at(node), ("CLUSTER", "INFO"), ("CLUSTER", "SLOTS"))
        if b"cluster_state:ok" not in state:
            # A node that is cut off from the majority still names the owner of before a failover.
            raise BrokerUnavailableError("its cluster_state is not ok")
        self.members[:] = [told(member, node) for _, _, *members in slots for member in members]
        slot = key_slot(Keys(self.queue).prefix.encode())
        for first, last, owner, *_ in slots:
            if first <= slot <= last:
                return self.login.at(told(owner, node))
        raise BrokerUnavailableError(f"no node owns slot {slot}")


@dataclass(frozen=True)
class Sentinels(Settled):
    """The master of a service, as its sentinels see it."""

    service: str
    login: Endpoint
    sentinel_login: Endpoint
    sentinels: tuple[Node, ...]

    def find(self) -> Endpoint:
        return first_answer(self.sentinels, self._master, f"no sentinel tells the master of {self.service!r}")

    def _master(self, sentinel: Node) -> Endpoint:
        question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
        [master] = ask(self.sentinel_login.at(sentinel), question)
        if master is None:
            raise BrokerUnavailableError("it watches no master of this name")
        return self.login.at(told(master, sentinel))


@dataclass(frozen=True)
class Embedded:
    """The private server of this project directory, or of the directory that is named."""

    directory: str
    started: list[EmbeddedServer] = field(default_factory=list, compare=False)

    def resolve(self, *, start: bool) -> Endpoint:
        server = start_or_join(self.directory, start=start)
        if server.started_here:
            self.started.append(server)
        return Endpoint("unix", {"path": str(server.socket)})

    def close(self) -> None:
        while self.started:
            self.started.pop().close()


def first_answer(nodes: Iterable[Node], question: Callable[[Node], Endpoint], otherwise: str) -> Endpoint:
    """Ask one node after the other until one answers."""
    faults = []
    for node in nodes:
        try:
            return question(node)
        except (RedisError, OSError) as fault:
            faults.append(f"{node}: {fault}")
    raise BrokerUnavailableError(f"{otherwise} (asked {'; '.join(faults)})")


def ask(endpoint: Endpoint, *commands: tuple[str, ...]) -> list[Any]:
    """The answers to a few commands, on a connection of their own."""
    connection: Any = endpoint.sync_connection(socket_timeout=ASK_TIMEOUT, socket_connect_timeout=ASK_TIMEOUT)
    try:
        connection.connect()
        answers = []
        for command in commands:
            connection.send_command(*command)
            answers.append(connection.read_response())
        return answers
    finally:
        connection.disconnect()


def told(member: Sequence[Any], teller: Node) -> Node:
    """The node of an answer, which begins with host and port; without a host it is the teller's own."""
    host, port, *_ = member
    return Node(teller.host if host in (None, b"", b"?") else host.decode(), int(port))
