"""A server of the tests' own: one process on loopback, known by its pid, gone at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

import pytest

from fluid.clock import elapsed
from tests.support import lifeline

START_SECONDS = 20.0
STOP_SECONDS = 10.0


class ServerError(AssertionError):
    """A server did not start, or was used while it was not running."""


def missing(what: str) -> NoReturn:
    """Skip the test for want of a server, loudly; where servers are required, fail it."""
    if os.environ.get("FLUID_TEST_REQUIRE_SERVERS") == "1" or os.environ.get("CI") == "true":
        pytest.fail(f"A SERVER IS MISSING and required here: {what}", pytrace=False)
    pytest.skip(f"A SERVER IS MISSING, nothing was tested: {what}")


class ServerProcess(ABC):
    """Started with `with`; within it, it can be stopped, killed, paused and started at will.

    It keeps its port and its directory through all of that. Everything here blocks, so that a server
    belongs to no event loop and one can serve a whole session. Without a `directory` it makes a short one
    (a unix socket's path has little room) and removes it in the end.
    """

    def __init__(self, binary: str, directory: Path | None = None) -> None:
        self._binary = binary
        self._own_directory = None
        if directory is None:
            self._own_directory = tempfile.TemporaryDirectory(prefix="fluid-test-")
            directory = Path(self._own_directory.name)
        self.directory = directory
        self.port = lifeline.free_port()
        self._log_path = directory / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: lifeline.Lifeline | None = None

    @abstractmethod
    def arguments(self) -> Sequence[str]:
        """The command line, after the binary."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it serves already."""

    @property
    def running(self) -> bool:
        """Whether its process lives, paused or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process; ServerError when there is none."""
        if self._process is None or not self.running:
            raise ServerError(f"{self._binary} is not running\n{self.log}")
        return self._process.pid

    @property
    def log(self) -> str:
        """The end of what it has written so far."""
        return self._log_path.read_text(errors="replace")[-4000:] if self._log_path.exists() else ""

    def start(self) -> Self:
        """Start it and return when it serves; ServerError with its log if it will not."""
        if self.running:
            raise ServerError(f"{self._binary} is already running, as process {self.pid}")
        self.kill()  # lets go of one that ended by itself
        with self._log_path.open("ab") as log:
            process = subprocess.Popen(
                [self._binary, *self.arguments()],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._process, self._lifeline = process, lifeline.Lifeline(process.pid)
        deadline = elapsed() + START_SECONDS
        while not self.answers():
            if process.poll() is not None or elapsed() > deadline:
                self.kill()
                raise ServerError(f"{self._binary} did not start:\n{self.log}")
            time.sleep(0.005)
        return self

    def stop(self) -> None:
        """Ask it to end (SIGTERM), make it end if it will not; nothing to do when it has ended."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop it and start it again, on the same port and directory."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        lifeline.pause(self.pid)

    def resume(self) -> None:
        """SIGCONT."""
        lifeline.resume(self.pid)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None or self._lifeline is None:
            return
        self._process.send_signal(how)
        self._process.send_signal(signal.SIGCONT)
        try:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        finally:
            self._process.kill()
            self._process.wait()
            self._lifeline.let_go()
            self._process = self._lifeline = None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.kill()
            self._remove_directory()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._remove_directory()

    def _remove_directory(self) -> None:
        if self._own_directory is not None:
            self._own_directory.cleanup()
