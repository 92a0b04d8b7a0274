"""The side server: metrics, health and status over HTTP, beside the workers and never in their way."""

from __future__ import annotations

import errno
import hmac
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import hdrs, web

from fluid.errors import ConfigurationError
from fluid.workers import Worker
from telemetry.exposition import Exposition
from telemetry.health import Health, Verdict
from telemetry.settings import TelemetrySettings

PORTS_TRIED = 100
"""How many ports, from the usual one up, are tried when none was asked for."""

LARGEST_BODY = 1024
"""Bytes: nothing here reads a body."""

LONGEST_LINE = 8190
"""Bytes of the request line and of a header."""

GOODBYE_SECONDS = 1.0
"""How long a stop waits for answers under way."""

_ADVICE = {errno.EACCES: "ask for a port from 1024 on with FLUID_TELEMETRY_PORT (0 for any)"}
"""What to do about a fault that is not the host's."""

logger = logging.getLogger("fluid")


@dataclass(frozen=True, slots=True)
class Sources:
    """What the server answers with."""

    expose: Callable[[str, str], Awaitable[Exposition]]
    """Asked with the `Accept` and `Accept-Encoding` headers."""
    status: Callable[[], Awaitable[dict[str, Any]]]
    health: Health


@dataclass(frozen=True, slots=True)
class Page:
    """Something that can be asked for."""

    path: str
    about: str
    answer: Callable[[web.Request], Awaitable[web.Response]]
    open: bool = False
    """Without a token."""


class SideServer(Worker):
    """Serves `sources`.

    An address that was asked for and cannot be had stops the start of its group: a host that is none of this
    machine's, or a busy port. Without a port, the next free one will do. Once it has listened, whatever
    happens to it, its group goes on.
    """

    def __init__(self, settings: TelemetrySettings, sources: Sources, *, may_stop_the_start: bool) -> None:
        super().__init__(
            name="telemetry", critical=may_stop_the_start and settings.place_was_asked, stage=-20
        )
        self._settings = settings
        self._sources = sources
        self._runner: web.AppRunner | None = None
        self._pages = (
            Page("/", "this list", self._index),
            Page("/metrics", "for Prometheus, as text or OpenMetrics", self._metrics),
            Page("/status", "what this process is and does, as JSON", self._status),
            Page("/livez", "200 while the event loop turns", self._probe(sources.health.livez), open=True),
            Page("/readyz", "200 while work is done here", self._probe(sources.health.readyz), open=True),
            Page("/startupz", "200 once the start is over", self._probe(sources.health.startupz), open=True),
        )
        self._open_paths = frozenset(page.path for page in self._pages if page.open)

    @property
    def url(self) -> str | None:
        """Where it listens; None while it does not."""
        if self._runner is None or not self._runner.addresses:
            return None
        host, port, *_ = self._runner.addresses[0]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def on_startup(self) -> None:
        """Listen. ConfigurationError when that cannot be done where it was asked for."""
        runner = web.AppRunner(
            self._application(),
            access_log=None,
            handle_signals=False,
            shutdown_timeout=GOODBYE_SECONDS,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
        )
        await runner.setup()
        try:
            await self._listen(runner)
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        self.critical = False
        logger.info("metrics, health and status are served at %s", self.url)

    async def run(self) -> None:
        """Serve until asked to stop."""
        await self.wait_for_stop()

    async def on_shutdown(self) -> None:
        """Listen no more."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    # -- listening -------------------------------------------------------------------------

    async def _listen(self, runner: web.AppRunner) -> None:
        asked = self._settings.port
        if self._settings.port_was_asked:
            if not await self._listen_on(runner, asked):
                raise ConfigurationError(
                    f"the side server cannot listen on {self._settings.host}:{asked} (it is busy): free the "
                    "port, or ask for another one with FLUID_TELEMETRY_PORT (0 for any)"
                )
            return
        for port in (*range(asked, asked + PORTS_TRIED), 0):
            if await self._listen_on(runner, port):
                if port != asked:
                    logger.warning("port %d is busy: the side server takes %d", asked, port)
                return

    async def _listen_on(self, runner: web.AppRunner, port: int) -> bool:
        """Whether it listens there now: a busy port it leaves alone."""
        site = web.TCPSite(runner, self._settings.host, port)
        try:
            await site.start()
        except OSError as error:
            await site.stop()
            if error.errno == errno.EADDRINUSE:
                return False
            advice = _ADVICE.get(
                error.errno or 0, "name an address of this machine with FLUID_TELEMETRY_HOST"
            )
            raise ConfigurationError(
                f"the side server cannot listen on {self._settings.host}:{port} ({error.strerror or error}): "
                f"{advice}"
            ) from error
        return True

    # -- answering -------------------------------------------------------------------------

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=LARGEST_BODY, middlewares=[self._check_token])
        application.on_response_prepare.append(_say_little)
        for page in self._pages:
            application.router.add_get(page.path, page.answer)
        return application

    @web.middleware
    async def _check_token(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        token = self._settings.token
        if token is not None and request.path not in self._open_paths:
            expected = f"Bearer {token.get_secret_value()}".encode()
            given = request.headers.get(hdrs.AUTHORIZATION, "").encode(errors="surrogateescape")
            if not hmac.compare_digest(given, expected):
                raise web.HTTPUnauthorized(headers={hdrs.WWW_AUTHENTICATE: "Bearer"})
        return await handler(request)

    async def _index(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return web.Response(text="".join(f"{page.path:<12}{page.about}\n" for page in self._pages))

    async def _metrics(self, request: web.Request) -> web.Response:
        exposition = await self._sources.expose(
            ",".join(request.headers.getall(hdrs.ACCEPT, ())),
            ",".join(request.headers.getall(hdrs.ACCEPT_ENCODING, ())),
        )
        # Its charset and escaping are more than aiohttp's own `content_type=` takes.
        headers = {hdrs.CONTENT_TYPE: exposition.content_type, hdrs.VARY: "Accept, Accept-Encoding"}
        if exposition.compressed:
            headers[hdrs.CONTENT_ENCODING] = "gzip"
        return web.Response(body=exposition.body, headers=headers)

    async def _status(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return web.json_response(await self._sources.status(), dumps=_as_json)

    @staticmethod
    def _probe(look: Callable[[], Verdict]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:  # noqa: ARG001
            verdict = look()
            return web.json_response(verdict.as_json(), status=200 if verdict.ok else 503)

        return answer


def _as_json(value: object) -> str:
    # A worker of the user's may tell of itself in values that JSON does not know.
    return json.dumps(value, default=str)


async def _say_little(request: web.Request, response: web.StreamResponse) -> None:  # noqa: ARG001
    """Neither say what serves here, nor let anyone keep an answer that is about now."""
    response.headers.pop(hdrs.SERVER, None)
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
