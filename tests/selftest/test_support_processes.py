"""Processes of a test: heard line by line, ended as told, gone in the end."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.processes import PythonProcess

PATIENT = "import signal; print('here', flush=True); signal.pause()"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output"


async def test_lines_are_awaited_and_kept_in_the_file(output: Path) -> None:
    program = "import sys; print('one 1'); print('two 2', file=sys.stderr); print('one 3')"
    async with PythonProcess("-c", program, output=output) as process:
        assert (await process.wait_for_line(r"two (\d)"))[1] == "2"
        assert (await process.wait_for_line(r"one (\d)"))[1] == "1"
        assert (await process.wait_for_line(r"one (\d)", count=2))[1] == "3"
        assert await process.wait() == 0
    assert process.output == "one 1\ntwo 2\none 3\n"
    assert await asyncio.to_thread(output.read_text) == process.output


async def test_a_script_finds_the_project_and_its_environment(tmp_path: Path, output: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import os, fluid.errors; print(fluid.errors.FluidError.reason, os.environ['PROBE'])\n")
    async with PythonProcess(script, output=output, env={"PROBE": "seen"}) as process:
        await process.wait_for_line("error seen")


async def test_a_process_that_ends_without_the_line_fails_with_what_it_said(output: Path) -> None:
    async with PythonProcess("-c", "print('sorry'); exit(3)", output=output) as process:
        with pytest.raises(AssertionError, match=r"(?s)ended \(3\) and never said 'welcome'.*sorry"):
            await process.wait_for_line("welcome")


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (PythonProcess.kill, -signal.SIGKILL),
        (PythonProcess.terminate, -signal.SIGTERM),
        (PythonProcess.interrupt, -signal.SIGINT),
    ],
)
async def test_a_process_ends_by_the_signal_it_was_sent(output: Path, end: object, code: int) -> None:
    assert callable(end)
    async with PythonProcess("-c", PATIENT, output=output) as process:
        await process.wait_for_line("here")
        assert process.returncode is None
        end(process)
        assert await process.wait() == code
    assert process.returncode == code


async def test_a_paused_process_stands_until_it_is_resumed(output: Path) -> None:
    program = (
        "import signal\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('told'))\n"
        "print('here')\n"
        "signal.pause()\n"
    )
    async with PythonProcess("-c", program, output=output) as process:
        await process.wait_for_line("here")
        process.pause()
        process.terminate()
        hearing = asyncio.create_task(process.wait_for_line("told"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await asyncio.shield(hearing)
        process.resume()
        await hearing


async def test_a_process_and_what_it_started_are_gone_in_the_end(output: Path) -> None:
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {PATIENT!r}])"
    async with PythonProcess("-c", program, output=output) as process:
        await process.wait_for_line("here")
    assert process.returncode == -signal.SIGKILL
    assert process.output == "here\n"


async def test_a_process_that_escapes_is_told_of(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "ORPHAN_SECONDS", 0.05)
    program = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {PATIENT!r}], start_new_session=True)\n"
        "print('child', child.pid)\n"
        "child.wait()\n"
    )
    process = await PythonProcess("-c", program, output=output).__aenter__()
    escaped = int((await process.wait_for_line(r"child (\d+)"))[1])
    try:
        with pytest.raises(AssertionError, match="left behind a process"):
            await process.__aexit__(None, None, None)
    finally:
        os.kill(escaped, signal.SIGKILL)


async def test_a_very_long_line_is_heard_whole(output: Path) -> None:
    async with PythonProcess("-c", "print('x' * 300_000 + 'end')", output=output) as process:
        assert len((await process.wait_for_line("x+end"))[0]) == 300_003


async def test_a_paused_process_is_gone_in_the_end(output: Path) -> None:
    async with PythonProcess("-c", PATIENT, output=output) as process:
        await process.wait_for_line("here")
        process.pause()
    assert process.returncode == -signal.SIGKILL
