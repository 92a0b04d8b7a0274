"""Where an embedded server lives: an owner-only directory, and in it the lock that the server holds."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fluid.errors import NoEmbeddedServerError

if sys.platform != "win32":
    import fcntl

LONGEST_SOCKET_PATH = 103
"""Bytes; macOS. Linux has four more."""


@dataclass(frozen=True, slots=True)
class Home:
    """The directory of one embedded server, whether it is there or not."""

    directory: Path
    persistent: bool

    @classmethod
    def of(cls, place: str, project: Path, environ: Mapping[str, str]) -> Self:
        """The place named, where data is kept; else a runtime directory of the project's own."""
        if place:
            home = cls((project / place).resolve(), persistent=True)
        else:
            name = hashlib.sha256(os.fsencode(project)).hexdigest()[:16]
            home = cls(_runtime_directory(environ) / name, persistent=False)
        if len(os.fsencode(home.socket)) > LONGEST_SOCKET_PATH:
            raise NoEmbeddedServerError(
                f"{home.socket} is too long for a unix socket (at most {LONGEST_SOCKET_PATH} bytes): "
                "name a shorter directory, for example embedded:///var/tmp/orders"
            )
        return home

    @property
    def socket(self) -> Path:
        return self.directory / "broker.sock"

    @property
    def lock(self) -> Path:
        return self.directory / "broker.lock"

    @property
    def log(self) -> Path:
        return self.directory / "server.log"

    def __str__(self) -> str:
        kept = "append-only file" if self.persistent else "no persistence: nothing outlives the server"
        return f"({kept}) at {self.socket}"

    def is_held(self) -> bool:
        """Whether a server lives here, though it may not answer yet or any more."""
        if not self.lock.exists():
            return False
        with self._lock(os.O_RDWR, fcntl.LOCK_SH) as lock:
            return lock is None

    @contextmanager
    def claim(self) -> Iterator[int | None]:
        """The lock, for a server that inherits it and holds it as long as it lives; None while one does."""
        self._prepare()
        with self._lock(os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX) as lock:
            yield lock

    def log_tail(self) -> str:
        """The last words of the server, in one line."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except OSError as error:
            return f"its log cannot be read ({error})"
        return " | ".join(line for line in lines[-10:] if line.strip()) or "its log is empty"

    def _prepare(self) -> None:
        """Make the directory, owner-only; refuse one into which somebody else could put a socket."""
        for directory in [self.directory] if self.persistent else [self.directory.parent, self.directory]:
            try:
                directory.mkdir(mode=0o700, parents=self.persistent, exist_ok=True)
                danger = _danger(directory, others_may_read=self.persistent)
            except OSError as error:
                danger = str(error)
            if danger:
                raise NoEmbeddedServerError(
                    f"no server can run in {directory}: {danger}; expected a directory of your own that "
                    f"nobody else can write to (chmod 700 {directory})"
                )

    @contextmanager
    def _lock(self, flags: int, kind: int) -> Iterator[int | None]:
        # Never unlocked, only closed: a server that has inherited the lock keeps it.
        lock = os.open(self.lock, flags | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.flock(lock, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
            else:
                yield lock
        finally:
            os.close(lock)


def _runtime_directory(environ: Mapping[str, str]) -> Path:
    given = Path(environ.get("XDG_RUNTIME_DIR", ""))
    if given.is_absolute() and given.is_dir() and not _danger(given, others_may_read=False):
        return given / "fluid"
    return Path(tempfile.gettempdir()).resolve() / f"fluid-{os.geteuid()}"


def _danger(directory: Path, *, others_may_read: bool) -> str:
    """Why the directory is not safe from others; empty when it is. A link is not followed."""
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode):
        return "it is a link or a file"
    if status.st_uid != os.geteuid():
        return f"it belongs to user {status.st_uid}"
    if status.st_mode & (0o022 if others_may_read else 0o077):
        return f"others have access to it (mode {stat.S_IMODE(status.st_mode):o})"
    return ""
