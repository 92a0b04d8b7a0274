"""A broker URL, read and checked: which queue, and the place where its broker is found."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, NoReturn, Self
from urllib.parse import unquote

from fluid.errors import ConfigurationError
from fluid.scheduler.brokers.places import Cluster, Embedded, Endpoint, Fixed, Node, Place, Sentinels

__all__ = ["Address", "Endpoint"]

REDIS_PORT = 6379
SENTINEL_PORT = 26379
QUEUE_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
HOST_AND_PORT = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\s\[\]:%]+))(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True, repr=False)
class Address:
    """Where a broker is, by its URL. Shown as the URL, with `***` for each password."""

    scheme: str
    queue: str
    masked: str
    place: Place

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read a broker URL; an empty one is `embedded://`. Raises `ConfigurationError`."""
        words = Words.read(url.strip() or "embedded://")
        return cls(words.scheme, words.queue, words.masked, words.rule.place(words))

    def resolve(self, *, start: bool = True) -> Endpoint:
        """Where to connect now: ask again before each connection.

        May block while a cluster or sentinels are asked, or an embedded server starts; `start=False` only
        joins one. Raises `BrokerUnavailableError` when nobody could tell, `NoEmbeddedServerError`.
        """
        return self.place.resolve(start=start)

    def close(self) -> None:
        """Stop the embedded servers that were started here."""
        self.place.close()

    def __repr__(self) -> str:
        return f"Address({self.masked!r})"

    def __str__(self) -> str:
        return self.masked


@dataclass(frozen=True)
class Words:
    """The parts of a URL. A fault is told without the words that may hold a password."""

    scheme: str
    login: str = field(repr=False)
    hosts: str
    path: str
    query: dict[str, str] = field(repr=False)

    @classmethod
    def read(cls, url: str) -> Words:
        """Take a URL apart and check what is common to all schemes."""
        scheme, separator, rest = url.partition("://")
        scheme = scheme.lower()
        if not separator or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
            refuse("it has no scheme", f"write one like {SCHEMES['redis'].example}")
        if scheme not in SCHEMES:
            refuse(f"unknown scheme {scheme!r}", one_of(scheme, SCHEMES))
        before_query, _, query = rest.partition("?")
        authority, _, path = before_query.partition("/")
        login, _, hosts = authority.rpartition("@")
        if "#" in rest or "@" in path + query:
            refuse(
                "a '#', or an '@' after the host",
                "write / ? # @ as %2F %3F %23 %40 in a name, password or path",
            )
        if login and ":" not in login:
            refuse("a user without a password", "write :password@host, or user:password@host")
        return cls(scheme, login, hosts, path, read_query(query, SCHEMES[scheme].query))

    @property
    def rule(self) -> Scheme:
        return SCHEMES[self.scheme]

    @property
    def queue(self) -> str:
        """The name of the queue."""
        name = self.query.get("name", "fluid")
        if not QUEUE_NAME.fullmatch(name):
            refuse(
                f"queue name {name!r}",
                "1 to 64 letters, digits, '-', '_' and '.' are expected, like ?name=orders",
            )
        return name

    @property
    def masked(self) -> str:
        login = f"{self.login.partition(':')[0]}:***@" if self.login else ""
        path = f"/{self.path}" if self.path else ""
        query = "&".join(
            f"{name}={'***' if 'password' in name else said}" for name, said in self.query.items()
        )
        return f"{self.scheme}://{login}{self.hosts}{path}{'?' if query else ''}{query}"

    @property
    def credentials(self) -> dict[str, Any]:
        """The user and the password, where they were given."""
        user, _, password = self.login.partition(":")
        given = {"username": unquote(user), "password": unquote(password)}
        return {name: word for name, word in given.items() if word}

    def endpoint(self, **kwargs: Any) -> Endpoint:
        """A connection over TCP, or TLS where the scheme says so."""
        if not self.rule.tls:
            return Endpoint("tcp", kwargs)
        tls = {name: TLS_WORDS[name](said) for name, said in self.query.items() if name in TLS_WORDS}
        return Endpoint("ssl", kwargs | tls)

    def nodes(self, port: int) -> tuple[Node, ...]:
        """The hosts, with their own port or this one."""
        return tuple(read_node(text.strip(), port) for text in self.hosts.split(","))

    def database(self, in_path: str) -> int:
        """The number of the database, which stands in the path or in the query."""
        if in_path and "db" in self.query:
            refuse("a database both in the path and as ?db=", "say it once")
        said = in_path or self.query.get("db", "0")
        if not re.fullmatch(r"[0-9]{1,9}", said):
            refuse(f"database {said!r}", "a number is expected, like /2 or ?db=2")
        return int(said)

    def directory(self, what: str) -> str:
        """The absolute path after the three slashes."""
        if self.hosts:
            refuse(f"a host where {what} is expected", f"write three slashes: {self.rule.example}")
        return f"/{unquote(self.path)}" if self.path else ""


# -- a place for each scheme ---------------------------------------------------------------


def server_place(words: Words) -> Place:
    if "," in words.hosts:
        refuse("several hosts", "they are for redis+cluster:// and redis+sentinel://; name one")
    [node] = words.nodes(REDIS_PORT) if words.hosts else [Node("localhost", REDIS_PORT)]
    return Fixed(words.endpoint(db=words.database(words.path.rstrip("/")), **words.credentials).at(node))


def socket_place(words: Words) -> Place:
    path = words.directory("a socket")
    if not path:
        refuse("no socket", f"write {words.rule.example}")
    return Fixed(Endpoint("unix", {"path": path, "db": words.database("")} | words.credentials))


def cluster_place(words: Words) -> Place:
    if words.database(words.path.rstrip("/")) != 0:
        refuse("a database other than 0", "a cluster has only that one; tell queues apart with ?name=")
    return Cluster(words.queue, words.endpoint(**words.credentials), words.nodes(REDIS_PORT))


def sentinel_place(words: Words) -> Place:
    service, _, database = words.path.rstrip("/").partition("/")
    if not service:
        refuse("no service", f"name the one that the sentinels watch: {words.rule.example}")
    asked = words.query.get("sentinel_password")
    return Sentinels(
        service=unquote(service),
        login=words.endpoint(db=words.database(database), **words.credentials),
        sentinel_login=words.endpoint(**({"password": asked} if asked else {})),
        sentinels=words.nodes(SENTINEL_PORT),
    )


def embedded_place(words: Words) -> Place:
    if words.login:
        refuse("a password", "the embedded server has none: its socket is yours alone")
    return Embedded(words.directory("a directory"))


# -- what may be said ----------------------------------------------------------------------


def one_word_of(name: str, meanings: Mapping[str, Any]) -> Callable[[str], Any]:
    """What a query value means, where only a few words can be said."""

    def read(said: str) -> Any:
        if said not in meanings:
            refuse(f"{name}={said!r}", one_of(said, meanings))
        return meanings[said]

    return read


TLS_WORDS: dict[str, Callable[[str], Any]] = {
    "ssl_ca_certs": str,
    "ssl_certfile": str,
    "ssl_keyfile": str,
    "ssl_cert_reqs": one_word_of("ssl_cert_reqs", {word: word for word in ("required", "optional", "none")}),
    "ssl_check_hostname": one_word_of("ssl_check_hostname", {"true": True, "false": False}),
}


@dataclass(frozen=True)
class Scheme:
    """What a URL of this scheme names, and what may be asked in its query beside the queue's name."""

    place: Callable[[Words], Place]
    example: str
    query: tuple[str, ...] = ("name",)
    tls: bool = False


def secure(scheme: Scheme) -> Scheme:
    """The same over TLS."""
    return Scheme(
        scheme.place, scheme.example.replace("redis", "rediss"), (*scheme.query, *TLS_WORDS), tls=True
    )


SERVER = Scheme(server_place, "redis://localhost:6379/0?name=orders", ("name", "db"))
CLUSTER = Scheme(cluster_place, "redis+cluster://one:6379,two:6379?name=orders", ("name", "db"))
SENTINEL = Scheme(
    sentinel_place, "redis+sentinel://one:26379,two:26379/service", ("name", "db", "sentinel_password")
)
SCHEMES = {
    "redis": SERVER,
    "rediss": secure(SERVER),
    "valkey": SERVER,
    "unix": Scheme(socket_place, "unix:///run/redis/redis.sock?db=0", ("name", "db")),
    "redis+cluster": CLUSTER,
    "rediss+cluster": secure(CLUSTER),
    "redis+sentinel": SENTINEL,
    "rediss+sentinel": secure(SENTINEL),
    "embedded": Scheme(embedded_place, "embedded:///some/directory"),
}


# -- reading -------------------------------------------------------------------------------


def read_node(text: str, port: int) -> Node:
    """A host, with its own port or this one."""
    found = HOST_AND_PORT.fullmatch(text)
    if not found or not 0 < int(found["port"] or port) < 65536:
        refuse(
            "a host or port that cannot be",
            "write host, host:port or [::1]:port, with a port from 1 to 65535",
        )
    host = found["v6"] or found["name"]
    try:
        host.encode("idna")
    except UnicodeError:
        refuse("a host that cannot be", "its parts between dots have 1 to 63 characters")
    return Node(host, int(found["port"] or port))


def read_query(query: str, known: Collection[str]) -> dict[str, str]:
    """The values by name, each once and of these names."""
    said: dict[str, str] = {}
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        if name not in known:
            refuse(f"unknown query name {name!r}", one_of(name, known))
        if name in said:
            refuse(f"?{name}= twice", "say it once")
        said[name] = unquote(value)
    return said


def one_of(said: str, known: Collection[str]) -> str:
    """What was expected, and which of it may have been meant."""
    near = get_close_matches(said, known, n=1)
    return f"expected one of {', '.join(known)}" + (f"; did you mean {near[0]!r}?" if near else "")


def refuse(fault: str, advice: str) -> NoReturn:
    """Say what is wrong with the URL and what to do."""
    raise ConfigurationError(f"broker URL: {fault}; {advice}")
