"""Processes of a contender: those that queue, and one that works, with the notes that its bodies leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fluid.clock import elapsed
from tests.bench import machine
from tests.bench.contenders import Contender
from tests.bench.environments import place_of, python_of, surroundings
from tests.bench.peers import stage
from tests.support.servers import RedisServer

PATIENCE = 300.0
LOOK = 0.01
STOP_SECONDS = 15.0
SHOWN = 3000


class BenchError(Exception):
    """A contender has not done what it was asked to."""


class Notes(NamedTuple):
    """What bodies have noted, over all processes."""

    begun: int
    last: float


@dataclass(frozen=True)
class Scene:
    """A contender beside an empty server of ours, with a directory for its notes."""

    contender: Contender
    server: RedisServer
    directory: Path
    settings: Mapping[str, str]

    def queue(self, what: str, runs: int) -> float | None:
        """The seconds that it took to queue so many runs; None when it has no such call."""
        done = subprocess.run(
            self._command(what, str(runs)),
            cwd=place_of(self.contender),
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if done.returncode:
            raise BenchError(
                f"{self.contender.name} could not {what}:\n{(done.stdout + done.stderr)[-SHOWN:]}"
            )
        seconds: float | None = json.loads(done.stdout.strip().splitlines()[-1])["seconds"]
        return seconds

    def empty(self) -> None:
        """Forget what was queued."""
        with self.server.client() as client:
            client.flushall()

    @contextmanager
    def working(self, number: int = 0) -> Iterator[Working]:
        """A working process, ended at the end; only the first has a side server at a known port."""
        said = self.directory / "worker.log"
        with said.open("ab") as log:
            process = subprocess.Popen(
                self._command("work"),
                cwd=place_of(self.contender),
                env=self._environment() | ({"BENCH_PORT": "0"} if number else {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        working = Working(process, self.directory, said)
        try:
            yield working
        finally:
            working.end()

    def latencies(self) -> list[float]:
        """The seconds from call to body that were noted so far."""
        noted = self.directory / "latency"
        return [float(line) for line in noted.read_text().split()] if noted.exists() else []

    def _command(self, *words: str) -> list[str]:
        return [python_of(self.contender), "-m", f"tests.bench.peers.{self.contender.room}", *words]

    def _environment(self) -> dict[str, str]:
        told = {
            "BENCH_URL": f"redis://127.0.0.1:{self.server.port}",
            "BENCH_MODE": self.contender.mode,
            "BENCH_NOTES": str(self.directory),
        }
        return surroundings(self.contender) | told | dict(self.contender.variables) | dict(self.settings)


class Working:
    """A working process and what its bodies have noted."""

    def __init__(self, process: subprocess.Popen[bytes], directory: Path, said: Path) -> None:
        self._process = process
        self._directory = directory
        self._said = said

    @property
    def pids(self) -> set[int]:
        """The process and those it has started."""
        return machine.tree(self._process.pid)

    def notes(self) -> Notes:
        """What bodies have noted so far, in all processes that leave their notes where this one does."""
        notes = [stage.NOTE.unpack(path.read_bytes()) for path in self._directory.glob("*.notes")]
        return Notes(sum(count for count, _ in notes), max((last for _, last in notes), default=0.0))

    def until(self, count: int) -> Notes:
        """The notes when so many bodies have begun."""
        deadline = elapsed() + PATIENCE
        while (notes := self.notes()).begun < count:
            if self._process.poll() is not None or elapsed() > deadline:
                said = self._said.read_text(errors="replace")[-SHOWN:]
                raise BenchError(f"{notes.begun} of {count} bodies have begun, then nothing:\n{said}")
            time.sleep(LOOK)
        return notes

    def end(self) -> None:
        """Ask it to end; then end what is left of the group that it leads."""
        self._process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def scene(contender: Contender, server: RedisServer, settings: Mapping[str, str]) -> Iterator[Scene]:
    """The contender on an empty server, with a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="fluid-bench-") as directory:
        made = Scene(contender, server, Path(directory), settings)
        made.empty()
        yield made
