"""Python processes that a test starts, listens to and ends, gently or not."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from fluid.testing.waiting import Watch
from tests.support import lifeline

ROOT = Path(__file__).parents[2]
LONGEST_LINE = 1 << 24
ORPHAN_SECONDS = 10.0
"""How long what a process has started may outlive it."""


class PythonProcess:
    """`python *arguments` in the checkout, as `async with`: `PythonProcess("-m", "fluid", output=path)`.

    Both its streams go to the file `output`, and are heard line by line. `env` comes on top of ours. What
    it started itself is killed with it in the end.
    """

    def __init__(self, *arguments: str | Path, output: Path, env: Mapping[str, str] | None = None) -> None:
        self._arguments = [str(argument) for argument in arguments]
        self._output = output
        self._env = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)} | dict(env or {})
        self._lines: list[str] = []
        self._watch = Watch()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it lives; minus the signal when one ended it."""
        return self._process.poll()

    @property
    def output(self) -> str:
        """All that it has said so far."""
        return "".join(self._lines)

    async def wait_for_line(self, pattern: str, count: int = 1) -> re.Match[str]:
        """The `count`th line it says, from its start on, in which the pattern is found.

        AssertionError with all it said when it has ended without.
        """
        matches: list[re.Match[str]] = []
        read = 0

        def found() -> bool:
            nonlocal read
            matches.extend(match for line in self._lines[read:] if (match := re.search(pattern, line)))
            read = len(self._lines)
            return len(matches) >= count or self._listening.done()

        await self._watch.until(found, lambda: f"{pattern!r} in what {self._arguments} said:\n{self.output}")
        if len(matches) < count:
            raise AssertionError(
                f"{self._arguments} ended ({await self.wait()}) and never said {pattern!r}:\n{self.output}"
            )
        return matches[count - 1]

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        return await asyncio.to_thread(self._process.wait)

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def interrupt(self) -> None:
        """SIGINT, as Ctrl-C sends it."""
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """kill -9, of itself alone."""
        self._process.kill()

    def pause(self) -> None:
        """SIGSTOP; returns when it stands."""
        lifeline.pause(self.pid)

    def resume(self) -> None:
        """SIGCONT."""
        lifeline.resume(self.pid)

    async def __aenter__(self) -> Self:
        self._start()
        said = asyncio.StreamReader(limit=LONGEST_LINE)
        self._pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(said), self._process.stdout
        )
        self._listening = asyncio.create_task(self._listen(said))
        self._listening.add_done_callback(lambda _: self._watch.changed())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lifeline.let_go()
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        await self.wait()
        _, unheard = await asyncio.wait([self._listening], timeout=ORPHAN_SECONDS)
        self._pipe.close()
        await self._listening
        if unheard:
            raise AssertionError(f"{self._arguments} left behind a process that still holds its output")

    def _start(self) -> None:
        # Not asyncio's: its `wait` waits for whoever else has inherited the output as well.
        self._process = subprocess.Popen(
            [sys.executable, *self._arguments],
            cwd=ROOT,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,
        )
        self._lifeline = lifeline.Lifeline(self.pid)

    async def _listen(self, said: asyncio.StreamReader) -> None:
        with self._output.open("ab", buffering=0) as file:
            async for line in said:
                file.write(line)
                self._lines.append(line.decode(errors="replace"))
                self._watch.changed()
