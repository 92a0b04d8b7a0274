"""The one private server of a project directory: started or joined, gone with the process that started it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import quote

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from fluid.clock import elapsed
from fluid.errors import NoEmbeddedServerError
from fluid.scheduler.brokers.binaries import find_server
from fluid.scheduler.brokers.homes import Home

logger = logging.getLogger("fluid")

READY_WITHIN = 10.0
ANSWER_WITHIN = 1.0
POLL_SECONDS = 0.01

ENDS_WITHIN = 8.0
"""Seconds; by then the launcher has killed a server that hears no signal."""

# Stdin is the leash: its other end is held by our process alone, so it ends with us, however we end.
# Stdout is the lock, which the server alone keeps. The server gets neither end of the leash.
LAUNCHER = """\
exec 3<&0
umask 077
"$@" 3<&- </dev/null & server=$!
exec >/dev/null
{ read -r _ <&3; kill "$server"; sleep 5; kill -9 "$server"; } 2>/dev/null & watcher=$!
wait "$server"; status=$?
kill "$watcher"; exit "$status"
"""

_leashes: set[IO[bytes]] = set()
_said: set[tuple[Path, int]] = set()
"""The servers, by socket and process, that this process has told of."""
_launching: set[Path] = set()
"""Sockets of servers that a thread of ours starts now; another one may find them answering first."""


def _drop_leashes() -> None:
    """A forked child must not keep its parent's servers alive."""
    while _leashes:
        _leashes.pop().close()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_drop_leashes)


@dataclass(frozen=True, slots=True)
class Leashed:
    """What holds a server that this process started: its launcher, and the leash that ends both."""

    launcher: subprocess.Popen[bytes]
    leash: IO[bytes]

    def end(self) -> None:
        """Returns when the server has ended. Does nothing the second time, or in a forked child."""
        if not self.leash.closed:
            _leashes.discard(self.leash)
            self.leash.close()
            try:
                self.launcher.wait(ENDS_WITHIN)
            except subprocess.TimeoutExpired:
                logger.warning("the embedded server has not ended within %g s: it is killed", ENDS_WITHIN)
                os.killpg(self.launcher.pid, signal.SIGKILL)
                self.launcher.wait()


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A server that answers. The process that started it takes it along when it ends, in whatever way."""

    socket: Path
    version: str
    """Product and version, such as `valkey 9.1.2`."""
    pid: int
    persistent: bool
    """Whether it writes an append-only file, so that runs outlive it."""
    leashed: Leashed | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self.socket))}"

    @property
    def started_here(self) -> bool:
        return self.leashed is not None

    def close(self) -> None:
        """End the server if this process started it; one that was joined is left alone."""
        if self.leashed:
            self.leashed.end()


def start_or_join(
    place: str = "",
    *,
    start: bool = True,
    project_dir: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> EmbeddedServer:
    """The private server of the project directory, or of the `place` named, which then keeps its data there.

    Blocks until the server answers, at most some 10 s. With `start=False` one that runs is joined and none
    is ever started. When the process that started it ends, those who joined call this again.
    Raises `NoEmbeddedServerError`.
    """
    if sys.platform == "win32":
        raise NoEmbeddedServerError("embedded:// does not work on Windows: set FLUID_BROKER_URL to a server")
    environ = os.environ if environ is None else environ
    project = (project_dir or Path.cwd()).resolve()
    home = Home.of(place, project, environ)
    deadline = elapsed() + READY_WITHIN
    while elapsed() < deadline:
        if joined := _answering(home):
            _say("started" if home.socket in _launching else "joined", joined, home)
            return joined
        if start:
            with home.claim() as lock:
                if lock is not None:
                    _launching.add(home.socket)
                    try:
                        return _launch(home, find_server(environ), lock)
                    finally:
                        _launching.discard(home.socket)
        elif not home.is_held():
            raise NoEmbeddedServerError(
                f"no embedded server is running for {home.directory if place else project}, and this never "
                "starts one. Start a consumer there (`fluid run module:consumer`, or `make run`), or set "
                "FLUID_BROKER_URL to a server that runs"
            )
        # Someone holds the lock: their server is about to answer, or about to end.
        time.sleep(POLL_SECONDS)
    raise NoEmbeddedServerError(
        f"an embedded server holds {home.lock} but has not answered within {READY_WITHIN:g} s: "
        f"{home.log_tail()}"
    )


def _say(how: str, server: EmbeddedServer, home: Home) -> None:
    """Once for each server: every connection asks for it again."""
    if (server.socket, server.pid) not in _said:
        _said.add((server.socket, server.pid))
        logger.info("embedded broker: %s %s %s", how, server.version, home)


def _launch(home: Home, binary: Path, lock: int) -> EmbeddedServer:
    if home.log.exists():
        home.log.replace(home.log.with_suffix(".log.old"))
    leashed = _leash([str(binary), *_options(home)], home, lock)
    deadline = elapsed() + READY_WITHIN
    while leashed.launcher.poll() is None and elapsed() < deadline:
        if server := _answering(home, leashed):
            _say("started", server, home)
            return server
        time.sleep(POLL_SECONDS)
    status = leashed.launcher.returncode
    leashed.end()
    fault = f"has not answered within {READY_WITHIN:g} s" if status is None else f"ended with status {status}"
    raise NoEmbeddedServerError(f"the embedded server {binary} {fault}: {home.log_tail()}")


def _leash(command: list[str], home: Home, lock: int) -> Leashed:
    """Start the command under the launcher."""
    home.log.touch(mode=0o600)
    launchers_end, our_end = os.pipe()
    leash = os.fdopen(our_end, "wb")
    _leashes.add(leash)
    with os.fdopen(launchers_end, "rb") as stdin, home.log.open("ab") as log:
        launcher = subprocess.Popen(
            ["/bin/sh", "-c", LAUNCHER, "fluid-embedded", *command],
            stdin=stdin,
            stdout=lock,
            stderr=log,
            cwd=home.directory,
            start_new_session=True,  # Ctrl-C is for us; the server is needed until we have drained
        )
    return Leashed(launcher, leash)


def _options(home: Home) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(home.socket),
        "unixsocketperm": "700",
        "dir": str(home.directory),
        "logfile": str(home.log),
        "daemonize": "no",
        "maxmemory-policy": "noeviction",
        "save": "",
        "appendonly": "yes" if home.persistent else "no",
        "appendfsync": "everysec",
    }
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def _answering(home: Home, leashed: Leashed | None = None) -> EmbeddedServer | None:
    """The server behind the socket, if it answers. INFO does so even while the data is being loaded."""
    if not home.socket.exists():
        return None
    client = Redis(
        unix_socket_path=str(home.socket),
        socket_timeout=ANSWER_WITHIN,
        socket_connect_timeout=ANSWER_WITHIN,
        retry=Retry(NoBackoff(), 0),
    )
    with closing(client):
        try:
            info = client.info("server")
        except RedisError:
            return None
    product = "valkey" if "valkey_version" in info else "redis"
    version = f"{product} {info[f'{product}_version']}"
    return EmbeddedServer(home.socket, version, info["process_id"], home.persistent, leashed)
